//! What users and attackers do, told over HTTP to a really started service on a database of its own.
//! Files are named after what is done; a test that stands for a row of the attacker's list begins with its id.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a test says what is wrong by panicking"
)]

mod access;
mod assertions;
mod cluster;
mod devices;
mod harness;
mod layering;
mod linking;
mod plugin_store;
mod polling;
mod quarantine;
mod relay_admission;
mod relay_delivery;
mod slot_settings;
