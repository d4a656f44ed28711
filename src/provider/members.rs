//! The members of a request: standard ones, the author's extra ones on top, each name once.

use std::collections::BTreeMap;

use crate::domain::secret::SecretValue;

/// What a configuration does to the standard members of a request.
pub(super) struct Customisation<'a> {
    /// The author's own members, rendered. They replace standard ones of the same name.
    pub(super) extra: Vec<(String, SecretValue)>,
    /// Names whose value is the broker's alone (A08). A configuration that sets one is refused when it is
    /// stored; this is the second lock.
    pub(super) fixed: &'a [&'a str],
    /// Standard name → the provider's, or `None` to leave the member out.
    pub(super) names: &'a BTreeMap<String, Option<String>>,
}

/// Puts a request's members together: no name twice, nothing empty.
pub(super) fn assemble(
    mut standard: Vec<(&'static str, SecretValue)>,
    customisation: Customisation<'_>,
) -> Vec<(String, SecretValue)> {
    let Customisation { extra, fixed, names } = customisation;
    let mut own = Vec::new();
    for (name, value) in extra {
        if fixed.contains(&name.as_str()) {
            continue;
        }
        match standard.iter_mut().find(|(known, _)| *known == name) {
            Some((_, standard_value)) => *standard_value = value,
            None => own.push((name, value)),
        }
    }
    let mut members: Vec<(String, SecretValue)> = Vec::with_capacity(standard.len() + own.len());
    let renamed = standard.into_iter().filter_map(|(name, value)| match names.get(name) {
        Some(other) => other.clone().map(|other| (other, value)),
        None => Some((name.to_owned(), value)),
    });
    for (name, value) in renamed.chain(own) {
        if !value.expose().is_empty() && !members.iter().any(|(known, _)| *known == name) {
            members.push((name, value));
        }
    }
    members
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(members: &[(String, SecretValue)]) -> Vec<(&str, &str)> {
        members.iter().map(|(name, value)| (name.as_str(), value.expose())).collect()
    }

    #[test]
    fn a08_an_extra_member_replaces_a_standard_one_but_never_a_fixed_one() {
        let extra = [("scope", "mine"), ("state", "evil"), ("prompt", "consent"), ("empty", "")];
        let members = assemble(
            vec![("scope", SecretValue::new("theirs")), ("state", SecretValue::new("ours"))],
            Customisation {
                extra: extra.iter().map(|(n, v)| ((*n).to_owned(), SecretValue::new(*v))).collect(),
                fixed: &["state"],
                names: &BTreeMap::new(),
            },
        );
        assert_eq!(texts(&members), [("scope", "mine"), ("state", "ours"), ("prompt", "consent")]);
    }

    #[test]
    fn a_member_is_renamed_or_left_out_and_no_name_stands_twice() {
        let names = BTreeMap::from([("client_id".into(), Some("client_key".into())), ("scope".into(), None)]);
        let members = assemble(
            vec![("client_id", SecretValue::new("id")), ("scope", SecretValue::new("s"))],
            Customisation {
                extra: vec![("client_key".into(), SecretValue::new("other"))],
                fixed: &[],
                names: &names,
            },
        );
        assert_eq!(texts(&members), [("client_key", "id")]);
    }
}
