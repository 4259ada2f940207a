//! Amounts in lines about the progress of work.

/// The kind of the things that are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unit {
    Bytes,
    Things,
}

/// The amounts at the end of a line such as `layer 1a2b: sent 12.0 MB of 48.0 MB`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Amounts<'a> {
    /// The text before the amounts, which names the part of the work.
    pub(super) part: &'a str,
    pub(super) done: u64,
    pub(super) total: u64,
    pub(super) unit: Unit,
}

impl<'a> Amounts<'a> {
    /// The amounts of a line; none if it does not end with some.
    pub(super) fn parse(line: &'a str) -> Option<Self> {
        let (before, total) = line.trim_end().rsplit_once(" of ")?;
        let (part, done) = last_amount(before)?;
        let mut words = total.split(' ');
        let (number, unit) = (words.next()?, words.next()?);
        if words.next().is_some() {
            return None;
        }
        let factor = factor(unit);
        let total = scaled(number, factor.unwrap_or(1))?;
        // `3 of 9 bytes` has one unit for both.
        let done = match done {
            (number, Some(own)) => scaled(number, own)?,
            (number, None) => scaled(number, factor.unwrap_or(1))?,
        };
        let unit = match factor {
            Some(_) => Unit::Bytes,
            None => Unit::Things,
        };
        Some(Self {
            part,
            done,
            total,
            unit,
        })
    }
}

/// Whether a line says that a part of a push has ended.
pub(super) fn ends_part(line: &str, part: &str) -> bool {
    let name = part
        .strip_prefix("layer ")
        .and_then(|rest| rest.strip_suffix(": sent"));
    let ended = line
        .strip_prefix("sent ")
        .and_then(|rest| rest.split_once(':'));
    matches!((name, ended), (Some(name), Some((ended, _))) if name == ended)
}

/// The text before the last amount, its number, and the bytes of its unit, if it has one.
fn last_amount(text: &str) -> Option<(&str, (&str, Option<u64>))> {
    let (before, last) = text.rsplit_once(' ')?;
    match factor(last) {
        Some(factor) => {
            let (part, number) = before.rsplit_once(' ')?;
            Some((part, (number, Some(factor))))
        }
        None => Some((before, (last, None))),
    }
}

/// The bytes of a unit.
fn factor(unit: &str) -> Option<u64> {
    Some(match unit {
        "bytes" => 1,
        "kB" => 1_000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        "TB" => 1_000_000_000_000,
        _ => return None,
    })
}

fn scaled(number: &str, factor: u64) -> Option<u64> {
    let number: f64 = number.parse().ok()?;
    let is_amount = number.is_finite() && number >= 0.0;
    is_amount.then_some((number * factor as f64) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_with_amounts_are_told_from_others() {
        let amounts = |part, done, total, unit| {
            Some(Amounts {
                part,
                done,
                total,
                unit,
            })
        };
        for (line, expected) in [
            (
                "downloaded 12.5 MB of 1.0 GB",
                amounts("downloaded", 12_500_000, 1_000_000_000, Unit::Bytes),
            ),
            (
                "sent 3 of 9 files, 123 of 456 bytes",
                amounts("sent 3 of 9 files,", 123, 456, Unit::Bytes),
            ),
            (
                "read 200 of 300 files",
                amounts("read", 200, 300, Unit::Things),
            ),
            ("unpacked a (1 of 2): 3 entries, 4 bytes", None),
            ("2 of 3 layers already exist", None),
            ("sent many of 3 files", None),
            ("packed layer 1a2b: 3.0 MB", None),
            ("sent -1 of 3 files", None),
            ("sent 1e999 of 3 files", None),
            ("", None),
        ] {
            assert_eq!(Amounts::parse(line), expected, "{line}");
        }
        assert!(ends_part("sent 1a2b: 3.0 MB", "layer 1a2b: sent"));
        assert!(!ends_part("sent 1a2c: 3.0 MB", "layer 1a2b: sent"));
    }
}
