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
mod account_link;
mod account_link_refresh;
mod assertions;
mod audit;
mod balancing;
mod bounds;
mod callback;
mod cluster;
mod command_line;
mod command_line_advice;
mod command_line_hub;
mod command_line_login;
mod commands;
mod confirm_code;
mod consent_page;
mod console;
mod console_doors;
mod console_text;
mod crashes;
mod database_faults;
mod device_custody;
mod devices;
mod doctor;
mod documented_providers;
mod documented_units;
mod enrolment;
mod every_answer;
mod first_start;
mod harness;
mod hostile_frames;
mod identity;
mod importing;
mod key_races;
mod key_removal;
mod killed_among_many;
mod knocks;
#[cfg(feature = "nats")]
mod knocks_over_nats;
mod layering;
mod limits;
mod linking;
mod mixing_up;
mod openid;
mod outages;
mod passing_on;
mod plugin_store;
mod polling;
mod provider_faults;
mod quarantine;
mod races;
mod reaping;
mod reconnect_storm;
mod redirect_back;
mod reference;
mod refresh_crashes;
mod refresh_faults;
mod refresh_outage;
mod refresh_races;
mod refreshing;
mod reinstalling;
mod relay_admission;
mod relay_delivery;
mod relay_listener;
mod resealing;
mod revoking;
mod revoking_at_provider;
mod rolling_restart;
mod rotation;
mod sealed_columns;
mod sealed_delivery;
mod secrets;
mod signing_in_browser;
mod signing_in_headless;
mod slot_races;
mod slot_settings;
mod slow_peers;
mod start;
mod starting;
mod statement_counts;
mod token_endpoint;
mod topics;
mod traces;
mod trusted_keys;
mod typing_a_code;
mod unlinking;
mod waiting;
mod webhook_bodies;
mod webhook_proof;
mod webhook_replicas;
mod webhooks;
