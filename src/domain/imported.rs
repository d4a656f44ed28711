//! Tokens that a plugin already had, as it hands them over.
//!
//! Plugins keep what their provider answered, often for years and through several libraries. What says when the access
//! token ends is believed only where it can mean one moment: an `expiry` with a zone, an `expires_at` in Unix seconds,
//! else an `expires_in` that counts from now. An `expiry` without a zone is some clock's local time: it is believed
//! by nobody, and the tokens count as over where they can be refreshed.

use serde_json::Value;
use time::{Duration, OffsetDateTime, PrimitiveDateTime, format_description::well_known::Iso8601};

use super::{
    json::Object,
    plugin::FieldError,
    secret::RefreshToken,
    tokens::{LARGEST_TOKEN_OBJECT, LONGEST_LIFE, TokenSet},
};

/// What can be made of them.
#[derive(Debug)]
pub enum Imported {
    /// They can be used, or refreshed before that.
    Tokens(TokenSet),
    /// There is no access token: only a refresh brings one.
    RefreshTokenAlone {
        /// To refresh with.
        token: RefreshToken,
        /// What stood beside it.
        members: Object,
    },
}

/// When an imported access token ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    At(OffsetDateTime),
    Never,
    /// Nobody knows.
    Unclear,
}

impl Imported {
    /// Reads a token object, with everything that is wrong at once. `now` dates `expires_in`.
    pub fn read(mut members: Object, now: OffsetDateTime) -> Result<Self, Vec<FieldError>> {
        let mut errors = Vec::new();
        if serde_json::to_vec(&members).is_ok_and(|text| text.len() > LARGEST_TOKEN_OBJECT) {
            errors.push(wrong("", "a token object has at most 48 KiB"));
        }
        for name in ["access_token", "refresh_token", "token_type"] {
            match members.get(name) {
                Some(Value::Null) => drop(members.shift_remove(name)),
                Some(Value::String(text)) if text.is_empty() => drop(members.shift_remove(name)),
                Some(Value::String(_)) | None => {}
                Some(_) => errors.push(wrong(name, "must be a string")),
            }
        }
        let end = end(&members, now).unwrap_or_else(|error| {
            errors.push(error);
            End::Unclear
        });
        for name in ["expiry", "expires_at", "expires_in"] {
            members.shift_remove(name);
        }
        let text = |name: &str| members.get(name).and_then(Value::as_str);
        let refresh_token = text("refresh_token").map(RefreshToken::new);
        let has_access_token = text("access_token").is_some();
        if errors.is_empty() && refresh_token.is_none() {
            if !has_access_token {
                errors.push(wrong(
                    "access_token",
                    "is missing, and so is refresh_token: one of them is needed",
                ));
            } else if matches!(end, End::At(at) if at <= now) {
                errors.push(wrong("expiry", "is over, and without a refresh_token there is no way to go on"));
            }
        }
        if !errors.is_empty() {
            return Err(errors);
        }
        let expires_at = match (end, &refresh_token) {
            (End::At(at), _) => Some(at),
            // Over at once, so that it is refreshed at once.
            (End::Unclear, Some(_)) => Some(now),
            (End::Never, _) | (End::Unclear, None) => None,
        };
        match refresh_token.filter(|_| !has_access_token) {
            Some(token) => Ok(Self::RefreshTokenAlone { token, members }),
            None => TokenSet::new(members, expires_at)
                .map(Self::Tokens)
                .map_err(|_| vec![wrong("access_token", "is missing")]),
        }
    }
}

fn end(members: &Object, now: OffsetDateTime) -> Result<End, FieldError> {
    let longest = now + Duration::seconds(LONGEST_LIFE);
    match members.get("expiry") {
        None | Some(Value::Null) => {}
        Some(Value::String(text)) if text.is_empty() => {}
        Some(expiry) => {
            return match expiry.as_str().and_then(|text| moment(text.trim())) {
                Some(End::At(at)) => Ok(End::At(at.min(longest))),
                Some(end) => Ok(end),
                None => {
                    Err(wrong("expiry", "must be a date and a time as RFC 3339 writes them, with a zone"))
                }
            };
        }
    }
    if let Some(at) = members.get("expires_at").and_then(Value::as_f64)
        && let Some(at) = seconds_from(OffsetDateTime::UNIX_EPOCH, at)
    {
        return Ok(End::At(at.min(longest)));
    }
    let life = match members.get("expires_in") {
        None | Some(Value::Null) => return Ok(End::Never),
        Some(Value::Number(number)) => number.as_f64(),
        Some(Value::String(text)) if text.is_empty() => return Ok(End::Never),
        Some(Value::String(text)) => text.trim().parse().ok(),
        Some(Value::Bool(_) | Value::Array(_) | Value::Object(_)) => None,
    };
    let life = life.and_then(|life| seconds_from(now, life));
    life.map(|at| End::At(at.min(longest))).ok_or_else(|| wrong("expires_in", "must be a number of seconds"))
}

/// What lies beyond three centuries is no more than that.
fn seconds_from(start: OffsetDateTime, seconds: f64) -> Option<OffsetDateTime> {
    let seconds = seconds.is_finite().then(|| seconds.clamp(-1.0e10, 1.0e10))?;
    start.checked_add(Duration::seconds_f64(seconds))
}

/// RFC 3339, with `T` or a space; `None` where it is no date at all.
fn moment(text: &str) -> Option<End> {
    let text = text.replacen(' ', "T", 1);
    OffsetDateTime::parse(&text, &Iso8601::DEFAULT)
        .map(End::At)
        .or_else(|_| PrimitiveDateTime::parse(&text, &Iso8601::DEFAULT).map(|_| End::Unclear))
        .ok()
}

fn wrong(member: &str, detail: &str) -> FieldError {
    let field = if member.is_empty() { String::new() } else { format!("/{member}") };
    FieldError { field, detail: detail.to_owned() }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;
    use time::macros::datetime;

    use super::*;

    const NOW: OffsetDateTime = datetime!(2026-01-02 03:04:05 UTC);

    fn read(value: Value) -> Result<Imported, Vec<FieldError>> {
        let Value::Object(members) = value else { panic!("an object") };
        Imported::read(members, NOW)
    }

    fn ends(value: Value) -> Option<OffsetDateTime> {
        match read(value).unwrap() {
            Imported::Tokens(tokens) => tokens.expires_at(),
            Imported::RefreshTokenAlone { .. } => panic!("there is an access token"),
        }
    }

    fn fields(value: Value) -> Vec<String> {
        read(value).unwrap_err().into_iter().map(|error| error.field).collect()
    }

    #[test]
    fn an_expiry_with_a_zone_wins_over_everything() {
        let at = datetime!(2026-01-02 05:00:00 UTC);
        for expiry in
            ["2026-01-02T05:00:00Z", "2026-01-02T07:00:00+02:00", "2026-01-02 05:00:00.000000+00:00"]
        {
            let tokens = json!({"access_token": "A", "expiry": expiry, "expires_in": 9, "expires_at": 1});
            assert_eq!(ends(tokens), Some(at), "{expiry}");
        }
    }

    #[test]
    fn an_expiry_without_a_zone_counts_as_over_where_a_refresh_can_follow() {
        for expiry in ["2026-01-02T05:00:00", "2026-01-02T05:00:00.123456", "2027-01-02 05:00:00.5"] {
            let tokens =
                json!({"access_token": "A", "refresh_token": "R", "expiry": expiry, "expires_in": 3600});
            assert_eq!(ends(tokens), Some(NOW), "{expiry}");
            let lasting = json!({"access_token": "A", "expiry": expiry, "expires_in": 3600});
            assert_eq!(ends(lasting), None, "kept until it fails: {expiry}");
        }
    }

    #[test]
    fn expires_at_is_believed_before_expires_in_and_expires_in_counts_from_now() {
        let in_an_hour = Some(NOW + Duration::HOUR);
        for end in [
            json!({"expires_in": 3600}),
            json!({"expires_in": "3600"}),
            json!({"expires_in": 3600.0}),
            json!({"expires_in": 5, "expires_at": (NOW + Duration::HOUR).unix_timestamp()}),
            json!({"expires_in": 3600, "expires_at": "soon", "expiry": null}),
            json!({"expires_in": 3600, "expiry": ""}),
        ] {
            let mut tokens = json!({"access_token": "A"});
            tokens.as_object_mut().unwrap().extend(end.as_object().unwrap().clone());
            assert_eq!(ends(tokens), in_an_hour, "{end}");
        }
        assert_eq!(ends(json!({"access_token": "A"})), None);
        assert_eq!(
            ends(json!({"access_token": "A", "expires_in": 1e300})),
            Some(NOW + Duration::seconds(LONGEST_LIFE))
        );
    }

    #[test]
    fn tokens_that_are_over_can_be_taken_over_only_where_they_can_be_refreshed() {
        let over = json!({"access_token": "A", "refresh_token": "R", "expiry": "2025-01-01T00:00:00Z"});
        assert_eq!(ends(over), Some(datetime!(2025-01-01 00:00:00 UTC)));
        assert!(ends(json!({"access_token": "A", "refresh_token": "R", "expires_in": -5})).unwrap() < NOW);
        assert_eq!(fields(json!({"access_token": "A", "expiry": "2025-01-01T00:00:00Z"})), ["/expiry"]);
    }

    #[test]
    fn what_does_not_fit_is_named() {
        for (tokens, wrong) in [
            (json!({}), vec!["/access_token"]),
            (json!({"access_token": "", "refresh_token": null}), vec!["/access_token"]),
            (json!({"access_token": 7, "refresh_token": ["a"]}), vec!["/access_token", "/refresh_token"]),
            (json!({"access_token": "A", "token_type": {}}), vec!["/token_type"]),
            (json!({"access_token": "A", "expiry": 1_700_000_000}), vec!["/expiry"]),
            (json!({"access_token": "A", "expiry": "tomorrow"}), vec!["/expiry"]),
            (json!({"access_token": "A", "expires_in": "soon"}), vec!["/expires_in"]),
            (json!({"access_token": "A", "expires_in": [1]}), vec!["/expires_in"]),
            (json!({"access_token": "A", "x": "y".repeat(LARGEST_TOKEN_OBJECT)}), vec![""]),
        ] {
            assert_eq!(
                fields(tokens.clone()),
                wrong,
                "{}",
                tokens.to_string().chars().take(80).collect::<String>()
            );
        }
    }

    #[test]
    fn other_members_stay_and_a_refresh_token_may_come_alone() {
        let Imported::Tokens(tokens) =
            read(json!({"access_token": "A", "expires_in": 60, "expiry": null, "user_id": 7})).unwrap()
        else {
            panic!("tokens")
        };
        assert_eq!(Value::Object(tokens.members().clone()), json!({"access_token": "A", "user_id": 7}));
        let alone = read(json!({"refresh_token": "R", "scope": "a"})).unwrap();
        let Imported::RefreshTokenAlone { token, members } = alone else { panic!("no access token") };
        assert_eq!((token.expose(), members.get("scope")), ("R", Some(&json!("a"))));
    }

    proptest! {
        #[test]
        fn f02_whatever_is_said_of_the_end_it_is_no_later_than_in_ten_years(
            number in any::<f64>(), text in ".{0,30}", year in 0u16..10000, seconds in any::<i64>(),
        ) {
            for value in [json!(number), json!(text), json!(seconds), json!(format!("{year:04}-01-02T03:04:05Z"))] {
                for name in ["expiry", "expires_at", "expires_in"] {
                    let tokens = json!({"access_token": "A", "refresh_token": "R", name: value});
                    if let Ok(Imported::Tokens(tokens)) = read(tokens) {
                        let latest = NOW + Duration::seconds(LONGEST_LIFE);
                        prop_assert!(tokens.expires_at().is_none_or(|at| at <= latest));
                    }
                }
            }
        }
    }
}
