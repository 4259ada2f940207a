//! Points in time, as filters take them.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A point in time: a [`SystemTime`], an age ([`Duration`]), or text that the backend understands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Time(String);

impl Time {
    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<SystemTime> for Time {
    fn from(time: SystemTime) -> Self {
        Self(rfc_3339(time))
    }
}

impl From<Duration> for Time {
    /// The time that was this long ago.
    fn from(age: Duration) -> Self {
        SystemTime::now()
            .checked_sub(age)
            .unwrap_or(UNIX_EPOCH)
            .into()
    }
}

impl From<&str> for Time {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

impl From<String> for Time {
    fn from(text: String) -> Self {
        Self(text)
    }
}

/// The time in UTC with milliseconds, as RFC 3339 writes it. A time before 1970 becomes 1970.
pub(super) fn rfc_3339(time: SystemTime) -> String {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    let seconds = since.as_secs();
    let (year, month, day) = date(seconds / 86_400);
    let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    let milliseconds = since.subsec_millis();
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{milliseconds:03}Z")
}

/// The date of a day, counted from 1970-01-01, in the Gregorian calendar.
fn date(day: u64) -> (u64, u64, u64) {
    // A period of 400 years begins on 1 March, so that the leap day is the last day of a year.
    const DAYS_TO_1970: u64 = 719_468;
    const DAYS_IN_PERIOD: u64 = 146_097;
    let day = day + DAYS_TO_1970;
    let (period, day) = (day / DAYS_IN_PERIOD, day % DAYS_IN_PERIOD);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let (month, later) = if month < 10 {
        (month + 3, 0)
    } else {
        (month - 9, 1)
    };
    (period * 400 + year + later, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_in_utc() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_399, "2000-02-28T23:59:59.000Z"),
            (951_782_400, "2000-02-29T00:00:00.000Z"),
            (951_868_800, "2000-03-01T00:00:00.000Z"),
            (1_709_164_800, "2024-02-29T00:00:00.000Z"),
            (1_735_689_599, "2024-12-31T23:59:59.000Z"),
            (4_107_542_400, "2100-03-01T00:00:00.000Z"),
        ] {
            assert_eq!(rfc_3339(UNIX_EPOCH + Duration::from_secs(seconds)), text);
        }
        let before = UNIX_EPOCH - Duration::from_secs(1);
        assert_eq!(rfc_3339(before), "1970-01-01T00:00:00.000Z");
    }
}
