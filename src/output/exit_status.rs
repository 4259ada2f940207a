//! How a process ended.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ExitStatus {
    /// It exited with this status.
    Code(u8),
    /// A signal killed it.
    Signal(Signal),
    /// It was killed because its time limit expired.
    TimedOut,
}

impl ExitStatus {
    /// Whether the command exited with status 0.
    pub fn success(self) -> bool {
        self == Self::Code(0)
    }

    /// The exit status; none if the command was killed.
    pub fn code(self) -> Option<u8> {
        match self {
            Self::Code(code) => Some(code),
            _ => None,
        }
    }

    /// The signal that killed the command, unless its time limit expired.
    pub fn signal(self) -> Option<Signal> {
        match self {
            Self::Signal(signal) => Some(signal),
            _ => None,
        }
    }
}

impl fmt::Display for ExitStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Code(code) => write!(f, "exit status {code}"),
            Self::Signal(signal) => write!(f, "signal {signal}"),
            Self::TimedOut => f.write_str("time-out"),
        }
    }
}

/// A signal of Linux, by its number.
///
/// ```
/// use contree::Signal;
///
/// assert_eq!("term".parse(), Ok(Signal::TERM));
/// assert_eq!(Signal::from(9).to_string(), "SIGKILL");
/// assert!("NONE".parse::<Signal>().is_err());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Signal(i32);

/// An unknown name of a signal.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a signal; give a name such as TERM or SIGTERM, or a number from 1 to 64")]
pub struct UnknownSignal(String);

/// The largest number of a signal of Linux.
const MAX: i32 = 64;

macro_rules! signals {
    ($($name:ident = $number:literal, $about:literal;)+) => {
        impl Signal {
            $(#[doc = $about] pub const $name: Self = Self($number);)+

            /// The name without `SIG`; none for a signal without one.
            pub fn name(self) -> Option<&'static str> {
                match self.0 {
                    $($number => Some(stringify!($name)),)+
                    _ => None,
                }
            }

            fn of_name(name: &str) -> Option<Self> {
                match name {
                    $(stringify!($name) => Some(Self::$name),)+
                    _ => None,
                }
            }
        }
    };
}

signals! {
    HUP = 1, "The terminal closed; many servers read their settings again.";
    INT = 2, "Interrupt, as by Ctrl-C.";
    QUIT = 3, "Quit with a core dump.";
    ILL = 4, "An illegal instruction.";
    TRAP = 5, "A trace trap.";
    ABRT = 6, "The process aborted.";
    BUS = 7, "A bus error.";
    FPE = 8, "An arithmetic error.";
    KILL = 9, "Kill, which no process can catch.";
    USR1 = 10, "The first signal for the program's own use.";
    SEGV = 11, "An invalid memory access.";
    USR2 = 12, "The second signal for the program's own use.";
    PIPE = 13, "A write to a pipe without readers.";
    ALRM = 14, "A timer expired.";
    TERM = 15, "The request to end.";
    STKFLT = 16, "A stack fault.";
    CHLD = 17, "A child ended.";
    CONT = 18, "Continue after a stop.";
    STOP = 19, "Stop, which no process can catch.";
    TSTP = 20, "Stop, as by Ctrl-Z.";
    TTIN = 21, "A read from the terminal in the background.";
    TTOU = 22, "A write to the terminal in the background.";
    URG = 23, "Urgent data on a socket.";
    XCPU = 24, "The limit of processor time was exceeded.";
    XFSZ = 25, "The limit of file sizes was exceeded.";
    VTALRM = 26, "A timer of processor time expired.";
    PROF = 27, "A profiling timer expired.";
    WINCH = 28, "The terminal has another size.";
    IO = 29, "Input or output is possible.";
    PWR = 30, "The power fails.";
    SYS = 31, "A forbidden system call.";
}

impl Signal {
    /// The number.
    pub fn number(self) -> i32 {
        self.0
    }
}

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => write!(f, "SIG{name}"),
            None => self.0.fmt(f),
        }
    }
}

impl From<i32> for Signal {
    fn from(number: i32) -> Self {
        Self(number)
    }
}

impl FromStr for Signal {
    type Err = UnknownSignal;

    fn from_str(text: &str) -> Result<Self, UnknownSignal> {
        let upper = text.trim().to_ascii_uppercase();
        let name = upper.strip_prefix("SIG").unwrap_or(&upper);
        let number = || {
            upper
                .parse()
                .ok()
                .filter(|number| (1..=MAX).contains(number))
        };
        Self::of_name(name)
            .or_else(|| number().map(Self))
            .ok_or_else(|| UnknownSignal(text.to_owned()))
    }
}

impl TryFrom<&str> for Signal {
    type Error = UnknownSignal;

    fn try_from(text: &str) -> Result<Self, UnknownSignal> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_are_names_or_numbers() {
        for (text, signal) in [
            ("TERM", Signal::TERM),
            ("sigkill", Signal::KILL),
            (" 2 ", Signal::INT),
            ("34", Signal(34)),
        ] {
            assert_eq!(text.parse(), Ok(signal), "{text}");
        }
        for bad in ["", "SIG", "0", "65", "-9", "TERMINATE"] {
            assert!(bad.parse::<Signal>().is_err(), "{bad}");
        }
        assert_eq!(Signal(40).to_string(), "40");
    }

    #[test]
    fn only_status_0_is_success() {
        assert!(ExitStatus::Code(0).success());
        for other in [
            ExitStatus::Code(1),
            ExitStatus::Signal(Signal::KILL),
            ExitStatus::TimedOut,
        ] {
            assert!(!other.success(), "{other}");
        }
    }
}
