//! Times in queries: an ISO 8601 time, a Unix time, or an age such as `15m`.

use chrono::{DateTime, NaiveDate, NaiveDateTime, TimeDelta, Utc};

/// The error for a text that is not a time.
#[derive(Debug, thiserror::Error)]
#[error(
    "`{0}` is not a time: give ISO 8601 (2026-01-31T12:00:00Z), Unix seconds, or an age (600s, 15m, 2h, 3d, 1w)"
)]
pub(crate) struct TimeError(String);

/// Parses `since` and `until`. An age counts back from `now`. Its units are s, m, h, d and w.
pub(crate) fn parse(text: &str, now: DateTime<Utc>) -> Result<DateTime<Utc>, TimeError> {
    age(text)
        .and_then(|age| now.checked_sub_signed(age))
        .or_else(|| unix(text))
        .or_else(|| iso(text))
        .ok_or_else(|| TimeError(text.to_owned()))
}

fn age(text: &str) -> Option<TimeDelta> {
    let unit = text.chars().last()?;
    let number: i64 = text.strip_suffix(unit)?.parse().ok().filter(|n| *n >= 0)?;
    match unit {
        's' => TimeDelta::try_seconds(number),
        'm' => TimeDelta::try_minutes(number),
        'h' => TimeDelta::try_hours(number),
        'd' => TimeDelta::try_days(number),
        'w' => TimeDelta::try_weeks(number),
        _ => None,
    }
}

fn unix(text: &str) -> Option<DateTime<Utc>> {
    let seconds: f64 = text.parse().ok().filter(|s: &f64| s.is_finite())?;
    DateTime::from_timestamp_micros((seconds * 1e6) as i64)
}

fn iso(text: &str) -> Option<DateTime<Utc>> {
    // An unescaped `+` of a time zone offset arrives as a space.
    let text = text.trim().replace(' ', "+");
    DateTime::parse_from_rfc3339(&text)
        .map(|at| at.to_utc())
        .ok()
        .or_else(|| {
            NaiveDateTime::parse_from_str(&text, "%Y-%m-%dT%H:%M:%S%.f")
                .ok()
                .map(|at| at.and_utc())
        })
        .or_else(|| {
            NaiveDateTime::parse_from_str(&text, "%Y-%m-%d+%H:%M:%S%.f")
                .ok()
                .map(|at| at.and_utc())
        })
        .or_else(|| {
            NaiveDate::parse_from_str(&text, "%Y-%m-%d")
                .ok()?
                .and_hms_opt(0, 0, 0)
                .map(|at| at.and_utc())
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_forms_are_parsed() {
        let now = DateTime::from_timestamp(1_000_000_000, 0).expect("a time");
        for (text, seconds) in [
            ("600s", 999_999_400),
            ("15m", 999_999_100),
            ("2h", 999_992_800),
            ("3d", 999_740_800),
            ("1w", 999_395_200),
            ("12345", 12_345),
            ("1970-01-01T00:01:00Z", 60),
            ("1970-01-01T01:01:00+01:00", 60),
            ("1970-01-01T01:01:00 01:00", 60),
            ("1970-01-01T00:01:00", 60),
            ("1970-01-02", 86_400),
        ] {
            assert_eq!(parse(text, now).expect(text).timestamp(), seconds, "{text}");
        }
        for text in [
            "",
            "x",
            "-5m",
            "5y",
            "nan",
            "inf",
            "2026-13-01",
            "999999999999999999w",
        ] {
            assert!(parse(text, now).is_err(), "{text}");
        }
    }
}
