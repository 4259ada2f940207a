//! `contree-mcp tools`: lists the tools, and compares them with a recorded surface.

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use contree_error_codes::ErrorCode;
use serde_json::{Value, json};

use super::USAGE;
use super::error::CommandError;
use super::home_path::home_path;
use super::output::{print, print_error, print_json};
use super::setup::Setup;
use super::surface::{self, Change, Severity, SurfaceError, compare};
use crate::tools::{Tool, find_tool, required_names};

/// Exit statuses of the severities. They differ from those of failures.
const WORDING: u8 = 3;
const BEHAVIOURAL: u8 = 4;
const BREAKING: u8 = 5;

/// An error of a comparison of surfaces.
#[derive(Debug, thiserror::Error)]
enum DiffError {
    #[error(transparent)]
    Read(#[from] std::io::Error),
    #[error("not valid JSON: {0}")]
    NotJson(#[from] serde_json::Error),
    #[error(transparent)]
    Surface(#[from] SurfaceError),
}

/// List the tools and their parameters, or compare them with a recorded surface
#[derive(Args, Debug)]
#[command(
    after_help = "Exit status of --diff: 0 no change, 3 only wording, 4 behaviour, 5 breaking changes."
)]
pub(super) struct Tools {
    /// Output format; `surface` also has prompts, resources and instructions
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
    /// Compare with a surface that was printed earlier, or with an answer of tools/list
    #[arg(long, value_name = "OLD.json", value_parser = home_path())]
    diff: Option<PathBuf>,
}

#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    Text,
    Json,
    Surface,
}

impl Tools {
    pub(super) fn run(&self, setup: &Setup) -> Result<u8, CommandError> {
        if let Some(old) = &self.diff {
            return match changes(old, setup) {
                Ok(changes) => self.report(&changes),
                Err(problem) => {
                    print_error(
                        format_args!("{}: {problem}", old.display()),
                        ErrorCode::LocalFileUnusable,
                    );
                    Ok(USAGE)
                }
            };
        }
        match self.format {
            Format::Json => {
                let all: Vec<Value> = setup.tool_selection.tools().map(surface::tool).collect();
                print_json(&format!("{:#}\n", Value::Array(all)))?;
            }
            Format::Surface => {
                print_json(&format!(
                    "{:#}\n",
                    surface::full_surface(&setup.tool_selection)
                ))?;
            }
            Format::Text => {
                let text: String = setup.tool_selection.tools().map(tool_text).collect();
                print(&text)?;
            }
        }
        Ok(0)
    }

    fn report(&self, changes: &[Change]) -> Result<u8, CommandError> {
        match self.format {
            Format::Text if changes.is_empty() => print("nothing has changed\n")?,
            Format::Text => {
                let lines: String = changes.iter().map(|change| format!("{change}\n")).collect();
                print(&lines)?;
            }
            _ => print_json(&format!("{:#}\n", json!(changes)))?,
        }
        Ok(match changes.iter().map(|change| change.severity).max() {
            None => 0,
            Some(Severity::Wording) => WORDING,
            Some(Severity::Behavioural) => BEHAVIOURAL,
            Some(Severity::Breaking) => BREAKING,
        })
    }
}

/// The changes since the surface in the file `old`.
fn changes(old: &Path, setup: &Setup) -> Result<Vec<Change>, DiffError> {
    let value: Value = serde_json::from_str(&std::fs::read_to_string(old)?)?;
    let old = surface::read(&value)?;
    let new = surface::read(&surface::full_surface(&setup.tool_selection))?;
    let alias = |tool: &str, argument: &str| {
        let mut aliases = find_tool(tool)?.param_aliases.iter();
        let renamed = aliases.find(|(alias, _)| *alias == argument);
        renamed.map(|(_, current)| *current)
    };
    let current_name = |tool: &str| find_tool(tool).map(|tool| tool.name);
    Ok(compare(&old, &new, current_name, alias))
}

/// The tool as `NAME PARAM PARAM [PARAM=DEFAULT] …` and its title.
fn tool_text(tool: &Tool) -> String {
    let schema = tool.input_schema();
    let required = required_names(&schema);
    let mut line = tool.name.to_owned();
    for (name, parameter) in schema["properties"].as_object().into_iter().flatten() {
        line.push_str(&match parameter.get("default") {
            _ if required.contains(&name.as_str()) => format!(" {name}"),
            Some(default) => format!(" [{name}={default}]"),
            None => format!(" [{name}]"),
        });
    }
    format!("{line}\n    {}\n", tool.title)
}
