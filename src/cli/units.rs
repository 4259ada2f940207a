//! Sizes, ages and times as people read and type them.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use chrono::{DateTime, SecondsFormat, Utc};

/// The first digits of a UUID, which tables show.
pub(in crate::cli) fn short(uuid: &uuid::Uuid) -> String {
    let mut text = uuid.simple().to_string();
    text.truncate(8);
    text
}

/// A number of bytes with a binary unit.
pub(in crate::cli) fn size(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    let mut value = bytes as f64;
    let mut shown = format!("{bytes} B");
    for unit in UNITS {
        if value < 1024.0 {
            break;
        }
        value /= 1024.0;
        shown = format!("{value:.1} {unit}");
    }
    shown
}

/// A number of bytes: digits alone, or with the unit k, m, g or t.
///
/// # Errors
/// A sentence about the accepted forms.
pub(in crate::cli) fn parse_size(text: &str) -> Result<u64, SizeError> {
    let lower = text.trim().to_ascii_lowercase();
    let digits = lower.len() - lower.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = lower.split_at(digits);
    let shift = match unit {
        "" | "b" => Some(0),
        "k" | "kb" | "kib" => Some(10),
        "m" | "mb" | "mib" => Some(20),
        "g" | "gb" | "gib" => Some(30),
        "t" | "tb" | "tib" => Some(40),
        _ => None,
    };
    let bytes = shift.and_then(|shift| number.parse::<u64>().ok()?.checked_mul(1 << shift));
    bytes
        .filter(|bytes| *bytes > 0)
        .ok_or_else(|| SizeError(text.to_owned()))
}

/// A size that cannot be read.
#[derive(Clone, Debug, thiserror::Error)]
#[error("`{0}` is not a size: give a number with a unit, such as 512m or 2g")]
pub(in crate::cli) struct SizeError(String);

/// A length of time in its largest unit.
pub(in crate::cli) fn span(seconds: u64) -> String {
    const UNITS: [(u64, &str); 4] = [(86_400 * 365, "y"), (86_400, "d"), (3600, "h"), (60, "min")];
    let unit = UNITS.into_iter().find(|(length, _)| seconds >= *length);
    match unit {
        Some((length, name)) => format!("{} {name}", seconds / length),
        None => format!("{seconds} s"),
    }
}

/// How long ago a time was, such as `3 min ago`. Another text than RFC 3339 stays as it is.
pub(in crate::cli) fn age(time: &str) -> String {
    let Ok(time) = DateTime::parse_from_rfc3339(time) else {
        return time.to_owned();
    };
    let seconds = (Utc::now() - time.with_timezone(&Utc)).num_seconds();
    match u64::try_from(seconds) {
        Ok(seconds) => format!("{} ago", span(seconds)),
        Err(_) => "now".to_owned(),
    }
}

/// A time as RFC 3339.
pub(in crate::cli) fn rfc_3339(time: SystemTime) -> String {
    DateTime::<Utc>::from(time).to_rfc3339_opts(SecondsFormat::Millis, true)
}

/// The time of a number of milliseconds since 1970.
pub(in crate::cli) fn time_of(milliseconds: i64) -> SystemTime {
    let since = Duration::from_millis(u64::try_from(milliseconds).unwrap_or_default());
    UNIX_EPOCH + since
}

/// A time in a filter: an age such as `90`, `15m`, `2h` or `7d`, a date, or RFC 3339.
///
/// # Errors
/// A sentence about the accepted forms.
pub(in crate::cli) fn parse_time(text: &str) -> Result<SystemTime, TimeError> {
    if let Some(age) = parse_age(text.trim_start_matches(['-', '+'])) {
        return Ok(SystemTime::now().checked_sub(age).unwrap_or(UNIX_EPOCH));
    }
    let midnight = format!("{text}T00:00:00Z");
    let time =
        DateTime::parse_from_rfc3339(text).or_else(|_| DateTime::parse_from_rfc3339(&midnight));
    time.map(SystemTime::from)
        .map_err(|_| TimeError(text.to_owned()))
}

/// A filter's time that cannot be read.
#[derive(Clone, Debug, thiserror::Error)]
#[error(
    "`{0}` is not a time: give an age such as 90s, 15m, 2h or 7d, a date such as 2026-01-31, or RFC 3339"
)]
pub(in crate::cli) struct TimeError(String);

/// An age: a number of seconds, or a number with the unit s, m, h, d, w, M or y.
pub(in crate::cli) fn parse_age(text: &str) -> Option<Duration> {
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = text.split_at(digits);
    let unit = match unit {
        "" | "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 86_400,
        "w" => 7 * 86_400,
        "M" => 30 * 86_400,
        "y" => 365 * 86_400,
        _ => return None,
    };
    let seconds = number.parse::<u64>().ok()?.checked_mul(unit)?;
    Some(Duration::from_secs(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_spans_have_one_unit() {
        for (bytes, text) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            (5 << 30, "5.0 GiB"),
        ] {
            assert_eq!(size(bytes), text);
        }
        for (seconds, text) in [
            (0, "0 s"),
            (59, "59 s"),
            (60, "1 min"),
            (7200, "2 h"),
            (90_000, "1 d"),
        ] {
            assert_eq!(span(seconds), text);
        }
        assert_eq!(age("yesterday"), "yesterday");
        assert_eq!(age("2999-01-01T00:00:00Z"), "now");
    }

    #[test]
    fn sizes_are_read() {
        for (text, bytes) in [
            ("512m", 512 << 20),
            ("2G", 2 << 30),
            ("100", 100),
            ("1KiB", 1024),
        ] {
            assert_eq!(parse_size(text).unwrap(), bytes);
        }
        for text in ["", "m", "0", "1x", "-1", "99999999999999999999"] {
            assert!(parse_size(text).is_err(), "{text}");
        }
    }

    #[test]
    fn ages_have_units_and_other_texts_are_refused() {
        for (text, seconds) in [
            ("90", 90),
            ("2m", 120),
            ("1h", 3600),
            ("7d", 604_800),
            ("2w", 1_209_600),
        ] {
            assert_eq!(
                parse_age(text),
                Some(Duration::from_secs(seconds)),
                "{text}"
            );
        }
        for text in ["", "d", "7x", "-", "99999999999999999999d", "1d2h"] {
            assert_eq!(parse_age(text), None, "{text}");
        }
        assert!(parse_time("2026-01-31").is_ok());
        assert!(parse_time("2026-01-31T10:00:00Z").is_ok());
        assert!(parse_time("last week").is_err());
    }
}
