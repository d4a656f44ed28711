//! cloudlink: the cloud half of "Authenticate" for plugins that run at home.

pub mod bus;
pub mod cluster;
pub mod domain;
pub mod flows;
pub mod provider;
pub mod relay;
pub mod store;
pub mod vault;
