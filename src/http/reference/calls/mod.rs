//! Every call of the public listener, in the order in which a reader meets them.

mod account_link;
mod devices;
mod events;
mod pages;
mod plugins;
mod requests;
mod service;
mod signing_in;
mod slots;

use super::call::Group;

/// The table.
pub(super) const GROUPS: [Group; 9] = [
    Group { title: "Plugins", calls: plugins::CALLS },
    Group { title: "Signing in", calls: signing_in::CALLS },
    Group { title: "Devices", calls: devices::CALLS },
    Group { title: "Slots and flows", calls: slots::CALLS },
    Group { title: "Events", calls: events::CALLS },
    Group { title: "Home Assistant", calls: account_link::CALLS },
    Group { title: "Requests and commands", calls: requests::CALLS },
    Group { title: "What browsers open", calls: pages::CALLS },
    Group { title: "About the service", calls: service::CALLS },
];
