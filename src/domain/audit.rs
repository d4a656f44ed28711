//! Who did what, from where: the words of the audit record.
//!
//! An [`Action`] is one of a fixed list and an [`Origin`] comes from an authenticated call, so nothing in the record
//! is text that a caller chose, and none of it is secret.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use super::{
    binding::ClientNetwork,
    flow::{UnknownWord, words},
    ids::DeviceId,
};

words! {
    /// What was done.
    Action {
        /// The owner logged in for a token.
        OwnerLogin = "owner.login",
        /// Somebody gave a wrong name or password for the owner, for a token or with a call.
        OwnerLoginFailed = "owner.login_failed",
        /// A device logged in by password.
        DeviceLogin = "device.login",
        /// Somebody gave a wrong password for a device, or a device that does not exist.
        DeviceLoginFailed = "device.login_failed",
        /// Somebody cancelled a sign-in from a terminal.
        LoginDenied = "login.denied",
        /// An access token was given back before its time.
        TokenRevoked = "token.revoked",
        /// A device was enrolled.
        DeviceEnrolled = "device.enrolled",
        /// A device was removed.
        DeviceRemoved = "device.removed",
        /// A device's password was changed.
        PasswordChanged = "password.changed",
        /// All access tokens of a device were revoked.
        TokensRevoked = "tokens.revoked",
        /// A one-time code for enrolment was made.
        EnrolmentCodeMade = "enrolment_code.made",
        /// A key is trusted.
        KeyAdded = "key.added",
        /// A key is no longer trusted.
        KeyRemoved = "key.removed",
        /// A plugin's configuration was stored.
        PluginPut = "plugin.put",
        /// A plugin was removed from the store.
        PluginDeleted = "plugin.deleted",
        /// A plugin's quarantine was lifted.
        PluginApproved = "plugin.approved",
        /// A plugin was installed in a slot, or its configuration copied anew.
        SlotInstalled = "slot.installed",
        /// A slot was removed.
        SlotRemoved = "slot.removed",
        /// A slot was unlinked: its tokens were erased.
        SlotUnlinked = "slot.unlinked",
        /// What web services must prove to reach a slot's plugin was changed.
        WebhookChanged = "webhook.changed",
        /// A command was brought to a hub.
        CommandSent = "command.sent",
        /// A plugin's own tokens were taken over.
        TokensImported = "tokens.imported",
        /// What was erased here was revoked at its provider too.
        GrantRevoked = "grant.revoked",
        /// What was erased here could not be revoked at its provider.
        RevocationFailed = "grant.revocation_failed",
        /// A flow linked its slot.
        FlowLinked = "flow.linked",
        /// A flow's person refused at the provider.
        FlowDenied = "flow.denied",
        /// A flow went wrong.
        FlowFailed = "flow.failed",
        /// A flow's person pressed Cancel.
        FlowCancelled = "flow.cancelled",
        /// Home Assistant was given the tokens of an account.
        AccountLinked = "account_link.linked",
        /// Home Assistant's attempt to link an account ended without tokens.
        AccountLinkEnded = "account_link.ended",
        /// A grant ended by itself: the user must link again.
        GrantEnded = "grant.ended",
        /// A provider began to refuse a slot's client or configuration.
        RefreshRefused = "refresh.refused",
        /// The key that signs access tokens was replaced.
        SigningKeyRotated = "signing_key.rotated",
        /// Everything was sealed anew with another vault key.
        VaultKeyRotated = "vault_key.rotated",
    }
}

/// Who did it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Actor {
    /// The owner.
    Owner,
    /// A device, by whichever of its credentials.
    Device(DeviceId),
    /// Somebody without a credential.
    Anyone,
    /// The browser of a flow.
    Browser,
    /// Who runs commands on the machine.
    Operator,
    /// The broker, by itself.
    Broker,
}

impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Owner => f.write_str("owner"),
            Self::Device(device) => write!(f, "device:{device}"),
            Self::Anyone => f.write_str("anyone"),
            Self::Browser => f.write_str("browser"),
            Self::Operator => f.write_str("operator"),
            Self::Broker => f.write_str("broker"),
        }
    }
}

/// Who calls, and from which network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Origin {
    /// Who.
    pub actor: Actor,
    /// From where; nothing for what did not come over the network.
    pub network: Option<ClientNetwork>,
}

impl Origin {
    /// A call over the network.
    pub fn of(actor: Actor, network: ClientNetwork) -> Self {
        Self { actor, network: Some(network) }
    }

    /// The network as it is written down.
    pub fn address(&self) -> Option<String> {
        self.network.map(|network| network.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_written_as_who_and_from_where() {
        let device = "6f1f6d1e-9a44-4b5e-8a39-0c3d1d4c2f10".parse().unwrap();
        let network = ClientNetwork::of("2001:db8::7".parse().unwrap());
        let origin = Origin::of(Actor::Device(device), network);
        assert_eq!(origin.actor.to_string(), format!("device:{device}"));
        assert_eq!(origin.address().as_deref(), Some("2001:db8::/64"));
        assert_eq!(Origin { actor: Actor::Operator, network: None }.address(), None);
    }
}
