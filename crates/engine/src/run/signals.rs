//! Parsing signals that clients send.

/// Names and numbers of signals on x86, ARM and most other architectures (signal(7)).
const NAMES: &[(&str, i32)] = &[
    ("HUP", 1),
    ("INT", 2),
    ("QUIT", 3),
    ("ILL", 4),
    ("TRAP", 5),
    ("ABRT", 6),
    ("IOT", 6),
    ("BUS", 7),
    ("FPE", 8),
    ("KILL", KILL),
    ("USR1", 10),
    ("SEGV", 11),
    ("USR2", 12),
    ("PIPE", 13),
    ("ALRM", 14),
    ("TERM", 15),
    ("STKFLT", 16),
    ("CHLD", 17),
    ("CLD", 17),
    ("CONT", 18),
    ("STOP", 19),
    ("TSTP", 20),
    ("TTIN", 21),
    ("TTOU", 22),
    ("URG", 23),
    ("XCPU", 24),
    ("XFSZ", 25),
    ("VTALRM", 26),
    ("PROF", 27),
    ("WINCH", 28),
    ("IO", 29),
    ("POLL", 29),
    ("PWR", 30),
    ("SYS", 31),
];

/// SIGKILL, which a process cannot catch or ignore.
pub(crate) const KILL: i32 = 9;

/// The first and the last real-time signal, as C libraries number them.
const REAL_TIME: (i32, i32) = (34, 64);

/// The error for a text that is not a signal.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`signal` must be a name such as TERM or SIGTERM, or a number from 1 to {}, not `{}`",
    REAL_TIME.1,
    .0.escape_debug()
)]
pub(crate) struct SignalError(String);

/// Reads a signal: a name with or without `SIG`, in any case, or a number.
pub(crate) fn parse(text: &str) -> Result<i32, SignalError> {
    let error = || SignalError(text.to_owned());
    if text.bytes().all(|byte| byte.is_ascii_digit()) {
        let number = text.parse().ok().filter(|n| (1..=REAL_TIME.1).contains(n));
        return number.ok_or_else(error);
    }
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    if let Some((_, number)) = NAMES.iter().find(|(known, _)| *known == name) {
        return Ok(*number);
    }
    let (first, last) = REAL_TIME;
    let number = match (name.strip_prefix("RTMIN"), name.strip_prefix("RTMAX")) {
        (Some(""), _) => Some(first),
        (_, Some("")) => Some(last),
        (Some(more), _) => more
            .strip_prefix('+')
            .and_then(|n| first.checked_add(n.parse().ok()?)),
        (_, Some(less)) => less
            .strip_prefix('-')
            .and_then(|n| last.checked_sub(n.parse().ok()?)),
        _ => None,
    };
    number
        .filter(|n| (first..=last).contains(n))
        .ok_or_else(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers() {
        for (text, number) in [
            ("TERM", 15),
            ("SIGTERM", 15),
            ("sigterm", 15),
            ("15", 15),
            ("KILL", 9),
            ("64", 64),
            ("RTMIN", 34),
            ("SIGRTMIN+1", 35),
            ("RTMAX-1", 63),
        ] {
            assert_eq!(parse(text), Ok(number), "{text}");
        }
        for text in [
            "",
            "SIG",
            "NOPE",
            "0",
            "65",
            "-9",
            "9999999999",
            " 9",
            "SIGSIGTERM",
            "RTMIN+31",
            "RTMIN+99999999999",
            "RTMAX--2147483648",
            "TERM\0",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
