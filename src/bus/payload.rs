//! What a knock looks like between replicas: `device/slot/origin`, and nothing of what changed.

use std::sync::Arc;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};

use crate::domain::{
    clock::{Entropy, draw},
    ids::SlotAddress,
};

/// The name of this replica in what it sends, drawn at its start: it has told its own connections already.
#[derive(Clone)]
pub(super) struct Origin(Arc<str>);

impl Origin {
    pub(super) fn draw(entropy: &dyn Entropy) -> Self {
        Self(URL_SAFE_NO_PAD.encode(draw::<9>(entropy)).into())
    }

    /// The name by itself, which is no knock.
    pub(super) fn name(&self) -> &str {
        &self.0
    }

    /// A knock of ours.
    pub(super) fn knock(&self, address: &SlotAddress) -> String {
        format!("{address}/{}", self.0)
    }

    /// The address in somebody else's knock, with an origin or, from other programs, without.
    pub(super) fn heard(&self, payload: &str) -> Option<SlotAddress> {
        let mut parts = payload.split('/');
        let device = parts.next()?.parse().ok()?;
        let slot = parts.next()?.parse().ok()?;
        match (parts.next(), parts.next()) {
            (Some(sender), None) if sender == self.name() => None,
            (_, None) => Some(SlotAddress { device, slot }),
            (_, Some(_)) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{super::tests::Constant, *};

    #[test]
    fn a_replica_hears_others_and_not_itself() {
        let (me, other) = (Origin::draw(&Constant(1)), Origin::draw(&Constant(2)));
        let address = "00000000-0000-0000-0000-000000000001/ecobee";
        let knocked = me.heard(address).unwrap();
        assert_eq!(knocked.to_string(), address);
        assert_eq!(me.heard(&other.knock(&knocked)), Some(knocked.clone()));
        assert_eq!(me.heard(&me.knock(&knocked)), None);
    }

    #[test]
    fn what_is_no_knock_is_ignored() {
        let me = Origin::draw(&Constant(1));
        for payload in ["", "/", "x/y", "00000000-0000-0000-0000-000000000001/UPPER", "a/b/c/d", me.name()] {
            assert_eq!(me.heard(payload), None, "{payload:?}");
        }
    }
}
