//! When an access token ends, whatever way the provider says it: RFC 6749 §5.1 knows only an integer of
//! seconds, services know floats, texts, dates and nothing at all.
//!
//! Guarantees a moment between one second and ten years from `now`, or none. A lifetime that is no
//! positive number says nothing: it neither makes a token dead on arrival nor starts an endless refresh.

use serde_json::Value;
use time::{
    Duration, OffsetDateTime, PrimitiveDateTime,
    format_description::well_known::{Iso8601, Rfc3339},
};

use crate::domain::tokens::LONGEST_LIFE;

/// 1971-01-01 in milliseconds. A number that, read as milliseconds, falls later is in milliseconds: as
/// seconds it would lie in the year 2969 or beyond.
const MILLISECONDS_FROM: f64 = 31_536_000_000.0;

#[expect(clippy::cast_precision_loss, reason = "ten years of seconds are far below 2^52")]
const LONGEST: f64 = LONGEST_LIFE as f64;

/// What an answer says about its end; each may be given more than once, at several places.
#[derive(Default)]
pub(super) struct Lifetimes<'a> {
    /// Values of `expires_in`: seconds from now, as a number or a numeric string.
    pub(super) relative: Vec<&'a Value>,
    /// Values of `expires_at`: Unix seconds, milliseconds or ISO 8601.
    pub(super) absolute: Vec<&'a Value>,
}

impl Lifetimes<'_> {
    /// The earliest end that the answer names, else `default_seconds` from now, else never.
    pub(super) fn earliest(
        &self,
        default_seconds: Option<u32>,
        now: OffsetDateTime,
    ) -> Option<OffsetDateTime> {
        let relative = self.relative.iter().filter_map(|value| number(value));
        let absolute = self.absolute.iter().filter_map(|value| until(value, now));
        let seconds = relative
            .chain(absolute)
            .filter(|seconds| *seconds > 0.0)
            .min_by(f64::total_cmp)
            .or_else(|| default_seconds.filter(|seconds| *seconds > 0).map(f64::from))?;
        now.checked_add(Duration::seconds_f64(seconds.clamp(1.0, LONGEST)))
    }
}

fn number(value: &Value) -> Option<f64> {
    let number = match value {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => text.trim().parse().ok(),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    };
    number.filter(|number| !number.is_nan())
}

/// Seconds from `now` to a moment.
fn until(value: &Value, now: OffsetDateTime) -> Option<f64> {
    if let Some(number) = number(value) {
        let unix = if number > MILLISECONDS_FROM { number / 1000.0 } else { number };
        let fraction = f64::from(now.nanosecond()) / 1e9;
        #[expect(clippy::cast_precision_loss, reason = "Unix seconds are below 2^52 for 100 million years")]
        return Some(unix - now.unix_timestamp() as f64 - fraction);
    }
    moment(value.as_str()?).map(|at| (at - now).as_seconds_f64())
}

/// ISO 8601, with `T` or a space; UTC where it names no zone, which is what services mean that leave it out.
fn moment(text: &str) -> Option<OffsetDateTime> {
    let text = text.trim().replacen(' ', "T", 1);
    OffsetDateTime::parse(&text, &Rfc3339)
        .or_else(|_| OffsetDateTime::parse(&text, &Iso8601::DEFAULT))
        .or_else(|_| PrimitiveDateTime::parse(&text, &Iso8601::DEFAULT).map(PrimitiveDateTime::assume_utc))
        .ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;
    use time::macros::datetime;

    use super::*;

    const NOW: OffsetDateTime = datetime!(2026-01-02 03:04:05 UTC);

    fn relative(value: &Value) -> Option<i64> {
        let lifetimes = Lifetimes { relative: vec![value], absolute: Vec::new() };
        lifetimes.earliest(None, NOW).map(|at| (at - NOW).whole_seconds())
    }

    fn absolute(value: &Value) -> Option<OffsetDateTime> {
        Lifetimes { relative: Vec::new(), absolute: vec![value] }.earliest(None, NOW)
    }

    #[test]
    fn f02_seconds_come_as_integer_float_or_text() {
        for value in [json!(3600), json!(3600.4), json!("3600"), json!(" 3600.0 "), json!("3.6e3")] {
            assert_eq!(relative(&value), Some(3600), "{value}");
        }
    }

    #[test]
    fn f02_what_is_no_positive_number_says_nothing() {
        for value in [
            json!(0),
            json!(-5),
            json!("abc"),
            json!(""),
            json!(null),
            json!([3600]),
            json!("NaN"),
            json!(true),
        ] {
            assert_eq!(relative(&value), None, "{value}");
        }
        assert_eq!(relative(&json!("-inf")), None);
    }

    #[test]
    fn f02_ten_years_are_the_longest_life() {
        for value in [json!(1e12), json!(1.79e308), json!("1e999"), json!(u64::MAX)] {
            assert_eq!(relative(&value), Some(LONGEST_LIFE), "{value}");
        }
        assert_eq!(relative(&json!(0.2)), Some(1));
    }

    #[test]
    fn a_moment_comes_in_seconds_milliseconds_or_iso() {
        let at = datetime!(2026-01-02 04:04:05 UTC);
        let seconds = at.unix_timestamp();
        for value in [
            json!(seconds),
            json!(seconds * 1000),
            json!(seconds.to_string()),
            json!("2026-01-02T04:04:05Z"),
            json!("2026-01-02T05:04:05+01:00"),
            json!("2026-01-02T05:04:05+0100"),
            json!("2026-01-02T04:04:05.000Z"),
            json!("2026-01-02 04:04:05"),
            json!("2026-01-02T04:04:05.000"),
        ] {
            let read = absolute(&value).unwrap();
            assert!((read - at).abs() < Duration::SECOND, "{value}: {read}");
        }
        assert_eq!(absolute(&json!("01:02:03")), None);
        assert_eq!(absolute(&json!("2020-01-01T00:00:00Z")), None);
    }

    #[test]
    fn of_two_ends_the_earlier_counts_and_the_default_only_without_any() {
        let (long, short) = (json!(7200), json!(NOW.unix_timestamp() + 60));
        let lifetimes = Lifetimes { relative: vec![&long], absolute: vec![&short] };
        assert_eq!(lifetimes.earliest(Some(5), NOW), Some(NOW + Duration::seconds(60)));
        assert_eq!(Lifetimes::default().earliest(Some(5), NOW), Some(NOW + Duration::seconds(5)));
        assert_eq!(Lifetimes::default().earliest(None, NOW), None);
    }

    proptest! {
        #[test]
        fn f02_any_number_and_any_text_end_between_one_second_and_ten_years(n in any::<f64>(), text in ".*") {
            let values = [Value::from(n), Value::from(text), Value::from(n.to_string())];
            for value in &values {
                let lifetimes = Lifetimes { relative: vec![value], absolute: vec![value] };
                if let Some(at) = lifetimes.earliest(None, NOW) {
                    prop_assert!((1..=LONGEST_LIFE).contains(&(at - NOW).whole_seconds()));
                }
            }
        }
    }
}
