//! Bounds on guessing, wrong passwords and wrong user codes, and on what anybody may start, by the caller's network.

use std::time::Duration;

use crate::flows::Throttle;

/// One bound for each thing that can be guessed.
#[derive(Debug)]
pub struct Throttles {
    /// The owner's password.
    pub logins: Throttle,
    /// Passwords of devices, whichever.
    pub device_logins: Throttle,
    /// Enrolments by who is not the owner.
    pub enrolments: Throttle,
    /// User codes typed at `/link`.
    pub user_codes: Throttle,
    /// Sign-ins that terminals start.
    pub sign_ins: Throttle,
    /// Tokens that are given back, which every replica must remember.
    pub revocations: Throttle,
    /// Examinations of plugins, each of which asks a provider; the owner's, from wherever.
    pub examinations: Throttle,
    /// Client secrets of slots.
    pub slot_clients: Throttle,
    /// Commands for one hub, each of which is in the audit record; by its device.
    pub commands: Throttle,
    /// Attempts of account link, started.
    pub account_links: Throttle,
    /// Refreshes for Home Assistant.
    pub account_refreshes: Throttle,
}

impl Default for Throttles {
    fn default() -> Self {
        Self {
            logins: Throttle::new(20, Duration::from_mins(1)),
            device_logins: Throttle::new(20, Duration::from_mins(1)),
            enrolments: Throttle::new(10, Duration::from_mins(10)),
            user_codes: Throttle::new(10, Duration::from_mins(10)),
            sign_ins: Throttle::new(30, Duration::from_mins(10)),
            revocations: Throttle::new(60, Duration::from_mins(10)),
            examinations: Throttle::new(10, Duration::from_mins(1)),
            slot_clients: Throttle::new(20, Duration::from_mins(1)),
            commands: Throttle::new(60, Duration::from_mins(1)),
            account_links: Throttle::new(30, Duration::from_mins(10)),
            account_refreshes: Throttle::new(120, Duration::from_mins(1)),
        }
    }
}

impl Throttles {
    /// All of them, by the names that metrics have for them.
    pub fn by_name(&self) -> [(&'static str, &Throttle); 11] {
        let Self {
            logins,
            device_logins,
            enrolments,
            user_codes,
            sign_ins,
            revocations,
            examinations,
            slot_clients,
            commands,
            account_links,
            account_refreshes,
        } = self;
        [
            ("logins", logins),
            ("device_logins", device_logins),
            ("enrolments", enrolments),
            ("user_codes", user_codes),
            ("sign_ins", sign_ins),
            ("revocations", revocations),
            ("examinations", examinations),
            ("slot_clients", slot_clients),
            ("commands", commands),
            ("account_links", account_links),
            ("account_refreshes", account_refreshes),
        ]
    }
}
