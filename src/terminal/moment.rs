//! Points in time for a person.

use time::{OffsetDateTime, UtcOffset, format_description::well_known::Rfc3339};

/// `2026-01-02 03:04:05 UTC`.
pub fn moment(at: OffsetDateTime) -> String {
    let at = at.to_offset(UtcOffset::UTC);
    let (date, (hour, minute, second)) = (at.date(), at.time().as_hms());
    format!("{date} {hour:02}:{minute:02}:{second:02} UTC")
}

/// [`moment`] of a text of RFC 3339; any other text as it is.
pub fn moment_of(text: &str) -> String {
    OffsetDateTime::parse(text, &Rfc3339).map_or_else(|_| text.to_owned(), moment)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_in_utc_to_the_second() {
        assert_eq!(moment_of("2026-01-02T03:04:05.678+02:00"), "2026-01-02 01:04:05 UTC");
        assert_eq!(moment_of("soon"), "soon");
    }
}
