//! Numbers as arguments. The error of each parser says what it takes, with a range and an example.

use std::ops::RangeInclusive;

/// A year: no time limit is longer. A longer time would overflow clocks.
const MAX_SECONDS: u64 = 366 * 86_400;

/// An argument that is not the number that it should be.
#[derive(Clone, Debug, thiserror::Error)]
#[error("give {0}")]
pub(super) struct NumberError(String);

/// A number of seconds from 1.
///
/// # Errors
/// A sentence about the accepted numbers.
pub(super) fn seconds<T: TryFrom<u64>>(text: &str) -> Result<T, NumberError> {
    whole(text, "a whole number of seconds", 1..=MAX_SECONDS, 300)
}

/// A number of seconds from 0: how long a command waits.
///
/// # Errors
/// A sentence about the accepted numbers.
pub(super) fn waiting_seconds(text: &str) -> Result<u64, NumberError> {
    whole(text, "a whole number of seconds", 0..=MAX_SECONDS, 60)
}

/// A TCP port.
///
/// # Errors
/// A sentence about the accepted numbers.
pub(super) fn port(text: &str) -> Result<u16, NumberError> {
    whole(text, "a port", 1..=65_535, 8000)
}

/// A number of things that are listed, printed or allowed, from 0.
///
/// # Errors
/// A sentence about the accepted numbers.
pub(super) fn count<T: TryFrom<u64>>(text: &str) -> Result<T, NumberError> {
    whole(text, "a whole number", 0..=u64::MAX, 10)
}

/// A number of things of which there must be one at least.
///
/// # Errors
/// A sentence about the accepted numbers.
pub(super) fn positive(text: &str) -> Result<u64, NumberError> {
    whole(text, "a whole number", 1..=u64::MAX, 100)
}

/// A number of bytes.
///
/// # Errors
/// A sentence about the accepted numbers.
pub(super) fn bytes(text: &str) -> Result<u64, NumberError> {
    whole(text, "a whole number of bytes", 0..=u64::MAX, 65_536)
}

/// A number of processors, which may be a fraction.
///
/// # Errors
/// A sentence about the accepted numbers.
pub(super) fn processors(text: &str) -> Result<f64, NumberError> {
    let number = text.trim().parse::<f64>().ok();
    let number = number.filter(|number| number.is_finite() && *number > 0.0);
    number.ok_or_else(|| NumberError("a number of processors above 0, such as 0.5 or 2".to_owned()))
}

fn whole<T: TryFrom<u64>>(
    text: &str,
    what: &str,
    range: RangeInclusive<u64>,
    example: u64,
) -> Result<T, NumberError> {
    let number = text.trim().parse::<u64>().ok();
    let number = number.filter(|number| range.contains(number));
    number
        .and_then(|number| number.try_into().ok())
        .ok_or_else(|| {
            let (from, to) = range.into_inner();
            let to = match to {
                u64::MAX => String::new(),
                to => format!(" to {to}"),
            };
            NumberError(format!("{what} from {from}{to}, such as {example}"))
        })
}

#[cfg(test)]
mod tests {
    use std::any::TypeId;

    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn numbers_have_a_range() {
        assert_eq!(seconds::<u32>("300").ok(), Some(300));
        assert_eq!(port("65535").ok(), Some(65_535));
        assert_eq!(processors("1.5").ok(), Some(1.5));
        assert_eq!(count::<usize>("0").ok(), Some(0));
        for wrong in ["", "x", "-1", "0", "65536", "99999999999999999999", "1.0"] {
            let message = port(wrong).unwrap_err().to_string();
            assert_eq!(message, "give a port from 1 to 65535, such as 8000");
        }
        for wrong in ["0", "-1", "nan", "inf", "two"] {
            assert!(processors(wrong).is_err(), "{wrong}");
        }
        assert!(seconds::<u64>(&u64::MAX.to_string()).is_err());
        assert_eq!(
            positive("many").unwrap_err().to_string(),
            "give a whole number from 1, such as 100"
        );
    }

    /// The messages for a wrong value of each argument of a command that is a number, a UUID or a
    /// time.
    fn messages(command: &clap::Command, path: &str, found: &mut Vec<(String, String)>) {
        let types = [
            TypeId::of::<u8>(),
            TypeId::of::<u16>(),
            TypeId::of::<u32>(),
            TypeId::of::<u64>(),
            TypeId::of::<usize>(),
            TypeId::of::<i32>(),
            TypeId::of::<i64>(),
            TypeId::of::<f32>(),
            TypeId::of::<f64>(),
            TypeId::of::<uuid::Uuid>(),
            TypeId::of::<std::time::SystemTime>(),
            TypeId::of::<std::time::Duration>(),
        ];
        for argument in command.get_arguments() {
            let parser = argument.get_value_parser();
            let is_number = types.iter().any(|id| parser.type_id() == *id);
            if !is_number || !argument.get_action().takes_values() {
                continue;
            }
            let tested = clap::Arg::new("tested").long("tested");
            let tested = tested.value_parser(parser.clone());
            let program = clap::Command::new("program").arg(tested);
            let error = program.try_get_matches_from(["program", "--tested=x"]);
            let message = error.unwrap_err().to_string();
            found.push((format!("{path} {}", argument.get_id()), message));
        }
        for part in command.get_subcommands() {
            messages(part, &format!("{path} {}", part.get_name()), found);
        }
    }

    #[test]
    fn every_number_of_the_command_lines_says_what_it_takes() {
        let mut found = Vec::new();
        messages(&super::super::verb_command("1"), "contree", &mut found);
        let other = super::super::CommandLine::command();
        messages(&other, "contree-mcp", &mut found);
        assert!(found.len() > 20, "{found:?}");
        for (argument, message) in found {
            assert!(message.contains("such as"), "{argument}: {message}");
        }
    }
}
