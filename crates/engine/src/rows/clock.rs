//! Ages that a jump of the machine's clock cannot change.
//!
//! Records and files carry times of the machine's clock, which may have been wrong. So the store
//! also keeps its own time, which only advances by time that has surely passed:
//!
//! - within a boot, by the kernel's time since the boot;
//! - across boots, by the clock, but by at most one day more than the time since the boot.
//!
//! A history says which times of the clock belong to which times of the store. Each of its spans is
//! a time in which both advanced together. A jump of the clock begins a new span.

use std::fs;
use std::sync::{Mutex, PoisonError};

use chrono::Utc;
use rusqlite::{Connection, OptionalExtension as _};
use rustix::system::sysinfo;
use serde::{Deserialize, Serialize};

use super::Rows;
use contree_sqlite::DatabaseError;

/// The key of the history in the `meta` table.
const META_KEY: &str = "clock";

/// Microseconds of a second.
const SECOND: i64 = 1_000_000;

/// Microseconds of an hour.
const HOUR: i64 = 3600 * SECOND;

/// Microseconds of a day.
pub(crate) const DAY: i64 = 24 * HOUR;

/// The difference up to which clock and store advance together. A clock that is corrected slowly
/// stays below it.
const TOLERANCE: i64 = 60 * SECOND;

/// How often the end of the newest span is written down.
const SAVE_INTERVAL: i64 = HOUR;

/// The longest time that counts for a machine that was off.
const MAX_OFF: i64 = DAY;

/// The most spans of a history. Each jump of the clock adds one.
const MAX_SPANS: usize = 512;

/// The kernel's id of this boot. Empty if it cannot be read.
pub(crate) fn boot_id() -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id")
        .unwrap_or_default()
        .trim()
        .to_owned()
}

/// One reading of the machine's clocks. Times are in microseconds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ClockReading {
    /// The id of the boot.
    pub(crate) boot: String,
    /// The time since the boot, with the time in which the machine was suspended.
    pub(crate) since_boot: i64,
    /// The clock's time since the Unix epoch.
    pub(crate) wall: i64,
}

/// Reads the clocks, and remembers the last reading that was written down.
pub(crate) struct StoreClock {
    source: Box<dyn Fn() -> ClockReading + Send + Sync>,
    noted: Mutex<Option<ClockReading>>,
}

impl StoreClock {
    /// The clocks of this machine.
    #[allow(
        clippy::useless_conversion,
        reason = "the kernel's number has 32 bits on some machines"
    )]
    pub(crate) fn of_machine() -> Self {
        let boot = boot_id();
        Self::new(move || ClockReading {
            boot: boot.clone(),
            since_boot: i64::from(sysinfo().uptime).saturating_mul(SECOND),
            wall: Utc::now().timestamp_micros(),
        })
    }

    pub(crate) fn new(source: impl Fn() -> ClockReading + Send + Sync + 'static) -> Self {
        Self {
            source: Box::new(source),
            noted: Mutex::default(),
        }
    }

    pub(crate) fn read(&self) -> ClockReading {
        (self.source)()
    }

    /// Returns whether a reading has to be written down: the first one of this process, one after a
    /// jump of the clock, and one each hour.
    pub(crate) fn is_due(&self, reading: &ClockReading) -> bool {
        let noted = self.noted.lock().unwrap_or_else(PoisonError::into_inner);
        noted.as_ref().is_none_or(|noted| {
            let passed = reading.since_boot - noted.since_boot;
            (reading.wall - noted.wall - passed).abs() > TOLERANCE || passed >= SAVE_INTERVAL
        })
    }

    /// Remembers a reading that was written down.
    pub(crate) fn set_noted(&self, reading: ClockReading) {
        *self.noted.lock().unwrap_or_else(PoisonError::into_inner) = Some(reading);
    }
}

/// A time in which the clock and the store's time advanced together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Span {
    /// The clock at its beginning.
    from: i64,
    /// The clock at its end.
    to: i64,
    /// The store's time at its beginning.
    time: i64,
}

impl Span {
    /// The store's time at its end.
    fn end(&self) -> i64 {
        self.time + (self.to - self.from)
    }
}

/// The history of a store's clock.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct ClockHistory {
    /// The boot of the last reading.
    boot: String,
    /// The time since the boot at the last reading.
    since_boot: i64,
    /// The spans in their order. The last one has no end yet.
    spans: Vec<Span>,
}

impl ClockHistory {
    /// Reads the history. A store of an earlier release has none, but it has times of its records.
    fn load(c: &Connection) -> Result<Self, DatabaseError> {
        let stored = Rows::meta(c, META_KEY)?.and_then(|text| {
            serde_json::from_str(&text)
                .inspect_err(|error| tracing::warn!(%error, "cannot read the history of the clock"))
                .ok()
        });
        if let Some(history) = stored {
            return Ok(history);
        }
        let newest: Option<i64> = c
            .query_row(
                "SELECT max(at) FROM (
                     SELECT max(created_at) AS at FROM images
                     UNION ALL SELECT max(created_at) FROM operations
                     UNION ALL SELECT max(ended_at) FROM operations
                     UNION ALL SELECT max(updated_at) FROM files)",
                [],
                |row| row.get(0),
            )
            .optional()?
            .flatten();
        Ok(Self {
            spans: newest
                .map(|at| Span {
                    from: at,
                    to: at,
                    time: 0,
                })
                .into_iter()
                .collect(),
            ..Self::default()
        })
    }

    /// Adds a reading.
    fn add(&mut self, reading: &ClockReading) {
        let same_boot = !reading.boot.is_empty() && self.boot == reading.boot;
        let passed_in_boot = (reading.since_boot - self.since_boot).max(0);
        match self.spans.last_mut() {
            None => self.spans.push(Span {
                from: reading.wall,
                to: reading.wall,
                time: 0,
            }),
            Some(last) => {
                let clock_step = reading.wall - last.to;
                let passed = if same_boot {
                    passed_in_boot
                } else {
                    let certain = if reading.boot.is_empty() {
                        0
                    } else {
                        reading.since_boot.max(0)
                    };
                    clock_step.clamp(certain, certain + MAX_OFF)
                };
                if (clock_step - passed).abs() <= TOLERANCE {
                    last.to = last.to.max(reading.wall);
                } else {
                    let time = last.end() + passed;
                    if same_boot {
                        // Until the jump, the clock advanced as before.
                        last.to += passed;
                    }
                    self.spans.push(Span {
                        from: reading.wall,
                        to: reading.wall,
                        time,
                    });
                }
            }
        }
        if self.spans.len() > MAX_SPANS {
            self.spans.remove(0);
        }
        self.boot.clone_from(&reading.boot);
        self.since_boot = reading.since_boot;
    }
}

/// Writes a reading down, if it tells something new.
pub(crate) fn note(c: &Connection, reading: &ClockReading) -> Result<(), DatabaseError> {
    let before = ClockHistory::load(c)?;
    let mut after = before.clone();
    after.add(reading);
    let known = before.boot == after.boot
        && before.spans.len() == after.spans.len()
        && after.since_boot - before.since_boot < SAVE_INTERVAL;
    if known {
        return Ok(());
    }
    Rows::set_meta(c, META_KEY, &super::to_json(&after)?)
}

/// The ages of times of the machine's clock, at one moment.
pub(crate) struct Ages {
    spans: Vec<Span>,
    now: i64,
}

impl Ages {
    /// The ages at the moment of a reading.
    pub(crate) fn at(c: &Connection, reading: &ClockReading) -> Result<Self, DatabaseError> {
        let mut history = ClockHistory::load(c)?;
        history.add(reading);
        Ok(Self {
            now: history.spans.last().map_or(0, Span::end),
            spans: history.spans,
        })
    }

    /// The time that has surely passed since a time of the clock. Both are in microseconds.
    ///
    /// A time that several spans have is the youngest of them. A time that no span has is as old as
    /// the span after it, and a time after all spans is new.
    pub(crate) fn age(&self, wall: i64) -> i64 {
        let in_spans = self.spans.iter().enumerate().filter_map(|(index, span)| {
            let next = self.spans.get(index + 1);
            // The end of a span is written down once an hour.
            let last = span.to.saturating_add(SAVE_INTERVAL);
            let limit = next.map_or(self.now, |next| next.time);
            (span.from..=last)
                .contains(&wall)
                .then(|| (span.time + (wall - span.from)).min(limit))
        });
        let in_gaps = || {
            self.spans
                .windows(2)
                .filter(|pair| pair[0].to < wall && wall < pair[1].from)
                .map(|pair| pair[1].time)
                .max()
        };
        if let Some(time) = in_spans.max().or_else(in_gaps) {
            return (self.now - time).max(0);
        }
        match self.spans.first() {
            Some(first) if wall < first.from => {
                (self.now - first.time).saturating_add(first.from.saturating_sub(wall))
            }
            _ => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: i64 = 20_000 * DAY;

    fn reading(boot: &str, since_boot: i64, wall: i64) -> ClockReading {
        ClockReading {
            boot: boot.to_owned(),
            since_boot,
            wall,
        }
    }

    /// The ages after these readings.
    fn ages(readings: &[ClockReading]) -> Ages {
        let mut history = ClockHistory::default();
        for reading in readings {
            history.add(reading);
        }
        Ages {
            now: history.spans.last().map_or(0, Span::end),
            spans: history.spans,
        }
    }

    #[test]
    fn a_clock_that_is_right_gives_the_true_age() {
        let ages = ages(&[
            reading("a", 0, START),
            reading("a", 5 * DAY, START + 5 * DAY),
            // The machine was off for half a day.
            reading("b", HOUR, START + 5 * DAY + 13 * HOUR),
            reading("b", 40 * DAY, START + 45 * DAY + 12 * HOUR),
        ]);
        assert_eq!(ages.spans.len(), 1, "{:?}", ages.spans);
        assert_eq!(ages.age(START + DAY), 44 * DAY + 12 * HOUR);
        assert_eq!(ages.age(START - DAY), 46 * DAY + 12 * HOUR);
        assert_eq!(ages.age(START + 46 * DAY), 0);
    }

    #[test]
    fn a_jump_of_the_clock_makes_nothing_old() {
        for jump in [-60 * DAY, 60 * DAY] {
            let wrong = START + jump;
            let ages = ages(&[
                reading("a", 0, START),
                reading("a", HOUR, wrong + HOUR),
                reading("a", 2 * HOUR, START + 2 * HOUR),
            ]);
            for made in [START, START + HOUR / 2, wrong + HOUR, wrong + HOUR * 3 / 2] {
                let age = ages.age(made);
                assert!((0..=2 * HOUR).contains(&age), "{jump} {made} {age}");
            }
            // While the clock is wrong.
            let during = super::tests::ages(&[reading("a", 0, START), reading("a", HOUR, wrong)]);
            assert!(during.age(START) <= HOUR && during.age(wrong + HOUR) == 0);
        }
    }

    #[test]
    fn a_clock_that_is_set_right_after_a_boot_makes_nothing_old() {
        // The battery of the clock is empty, and the network sets it right later.
        let ages = ages(&[
            reading("a", 0, START),
            reading("b", HOUR, START - 900 * DAY),
            reading("b", 2 * HOUR, START + 4 * HOUR),
        ]);
        assert!(ages.age(START - 900 * DAY + HOUR / 2) <= 2 * HOUR);
        assert!(ages.age(START) <= DAY + 2 * HOUR);
        let off = super::tests::ages(&[reading("a", 0, START), reading("b", 0, START + 60 * DAY)]);
        assert_eq!(off.age(START), DAY);
    }

    #[test]
    fn time_since_the_boot_always_counts() {
        let ages = ages(&[
            reading("a", 0, START),
            reading("b", 40 * DAY, START - 5 * DAY),
        ]);
        assert_eq!(ages.age(START), 40 * DAY);
    }

    #[test]
    fn the_history_is_written_down_only_if_it_changes() {
        let folder = tempfile::tempdir().unwrap();
        let rows = Rows::open(&folder.path().join("store.db")).unwrap();
        let history = |c: &Connection| Rows::meta(c, META_KEY);
        rows.write(|t| {
            t.execute("DELETE FROM meta WHERE key = 'clock'", [])?;
            note(t, &reading("a", 0, START))?;
            let first = history(t)?;
            note(t, &reading("a", SECOND, START + SECOND))?;
            assert_eq!(history(t)?, first);
            note(t, &reading("a", 2 * SECOND, START + DAY))?;
            assert_ne!(history(t)?, first);
            Ok(())
        })
        .unwrap();
    }
}
