//! `explain`: the cause and the remedy of an error's code.

use clap::Args;
use contree_error_codes::{ErrorCode, SECTIONS};

use super::error::CommandError;
use super::output::{print, print_error};
use crate::tools::nearest;

/// Explain the code at the end of an error, such as image-not-found
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  contree explain image-not-found
  contree explain                    all codes")]
pub(super) struct Explain {
    /// The code, with or without brackets; all codes if left out
    #[arg(value_name = "CODE")]
    codes: Vec<String>,
}

impl Explain {
    pub(super) fn run(&self) -> Result<u8, CommandError> {
        if self.codes.is_empty() {
            print(&list())?;
            return Ok(0);
        }
        let mut status = 0;
        let mut texts = Vec::new();
        for given in &self.codes {
            match given.trim_matches(['[', ']']).parse() {
                Ok(code) => texts.push(text(code)),
                Err(_) => {
                    print_error(unknown(given), ErrorCode::UnknownCode);
                    status = 1;
                }
            }
        }
        print(&texts.join("\n"))?;
        Ok(status)
    }
}

fn text(code: ErrorCode) -> String {
    format!(
        "{code}\n  Cause:  {}\n  Remedy: {}\n",
        code.cause(),
        code.remedy()
    )
}

/// All codes with their causes, in sections.
fn list() -> String {
    let width = ErrorCode::ALL.iter().map(|code| code.name().len()).max();
    let width = width.unwrap_or_default();
    let sections = SECTIONS.iter().map(|(title, codes)| {
        let lines = codes
            .iter()
            .map(|code| format!("  {:width$}  {}\n", code.name(), code.cause()));
        format!("{title}\n{}", lines.collect::<String>())
    });
    sections.collect::<Vec<_>>().join("\n")
}

fn unknown(given: &str) -> String {
    let message = format!("there is no code `{}`", given.escape_debug());
    match nearest(given, ErrorCode::ALL.iter().map(|code| code.name())) {
        Some(meant) => format!("{message}; did you mean `{meant}`?"),
        None => format!("{message}; `contree explain` lists the codes"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_near_code_is_proposed() {
        assert_eq!(
            unknown("image-not-fond"),
            "there is no code `image-not-fond`; did you mean `image-not-found`?"
        );
        assert!(unknown("zzz").ends_with("lists the codes"));
    }

    #[test]
    fn the_list_has_every_code() {
        let list = list();
        for code in ErrorCode::ALL {
            assert!(list.contains(code.name()), "{code}");
        }
    }
}
