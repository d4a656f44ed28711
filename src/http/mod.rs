//! HTTP: extract, call one thing of the layers below, render.
//!
//! The frame that all handlers live in: [`hardening::harden`] wraps every answer, [`extract`] holds every
//! way in which a request's parts become values, [`error`] every way in which a call can be refused. Who may
//! call what stands in [`caller`]; what a browser sees in [`pages`].

pub mod account_link;
mod audit;
pub mod browser;
pub mod caller;
mod commands;
mod connect;
pub mod connection;
mod console;
mod devices;
mod doctor;
mod enrolment;
pub mod error;
pub mod extract;
mod flows;
pub mod frame;
mod handshake;
pub mod hardening;
pub mod health;
pub mod load;
mod login;
pub mod oauth_error;
mod openid;
mod outcomes;
pub mod pages;
mod plugins;
mod redirect;
mod reference;
mod refresh_grant;
mod relay;
mod relay_door;
mod relay_head;
pub mod relay_listener;
mod revoke;
pub mod server;
mod sign_in;
mod slots;
pub mod span;
mod static_files;
mod terminal;
pub mod throttle;
mod token;
mod webhook;
pub mod webhook_bodies;
mod webhook_message;
mod webhook_settings;

use actix_web::web;

/// The routes of the public listener. They are tried in this order, so what is called most stands first.
pub fn public_routes(config: &mut web::ServiceConfig) {
    health::routes(config);
    flows::routes(config);
    connect::routes(config);
    redirect::routes(config);
    slots::routes(config);
    relay::routes(config);
    static_files::routes(config);
    plugins::routes(config);
    doctor::routes(config);
    login::routes(config);
    enrolment::routes(config);
    devices::routes(config);
    token::routes(config);
    revoke::routes(config);
    terminal::routes(config);
    sign_in::routes(config);
    openid::routes(config);
    refresh_grant::routes(config);
    audit::routes(config);
    reference::routes(config);
    account_link::routes(config);
    webhook::routes(config);
    webhook_settings::routes(config);
    commands::routes(config);
}

/// The routes of the operator's listener.
pub fn admin_routes(config: &mut web::ServiceConfig) {
    health::routes(config);
    static_files::routes(config);
    console::routes(config);
}
