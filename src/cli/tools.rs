//! `contree-mcp tools`: lists the tools, shows one, and compares them with a recorded surface.

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
use super::tool_text::{documentation, list_entry};
use crate::tools::{Tool, ToolError, ToolSelection, find_tool, unknown_tool};

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

/// List the tools, show one with its parameters, or compare them with a recorded surface
#[derive(Args, Debug)]
#[command(after_help = "\
`tools run` shows the tool `run`. Exit status of --diff: 0 no change, 3 only wording, 4 behaviour, 5 breaking \
changes.")]
pub(super) struct Tools {
    /// Tools to show with their documentation and parameters
    #[arg(conflicts_with = "diff")]
    names: Vec<String>,
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
        if self.format == Format::Surface && !self.names.is_empty() {
            let message = "--format surface has all tools; leave the names out";
            print_error(message, ErrorCode::Usage);
            return Ok(USAGE);
        }
        let shown = match self.chosen(&setup.tool_selection) {
            Ok(shown) => shown,
            Err(problem) => {
                print_error(&problem, problem.code());
                return Ok(USAGE);
            }
        };
        match self.format {
            Format::Json => {
                let all: Vec<Value> = shown.into_iter().map(surface::tool).collect();
                print_json(&format!("{:#}\n", Value::Array(all)))?;
            }
            Format::Surface => {
                print_json(&format!(
                    "{:#}\n",
                    surface::full_surface(&setup.tool_selection)
                ))?;
            }
            Format::Text if self.names.is_empty() => {
                let text: String = shown.into_iter().map(list_entry).collect();
                print(&text)?;
            }
            Format::Text => {
                let texts: Vec<String> = shown.into_iter().map(documentation).collect();
                print(&texts.join("\n"))?;
            }
        }
        Ok(0)
    }

    /// The named tools, or all that are offered.
    ///
    /// # Errors
    /// A name of no tool, with the closest one, or of a tool that is not offered.
    fn chosen(&self, selection: &ToolSelection) -> Result<Vec<&'static Tool>, ToolError> {
        if self.names.is_empty() {
            return Ok(selection.tools().collect());
        }
        let find = |name: &String| {
            let tool = find_tool(name).ok_or_else(|| unknown_tool(name))?;
            match selection.has(tool.name) {
                true => Ok(tool),
                false => Err(selection.refusal(&format!("`{}`", tool.name))),
            }
        };
        self.names.iter().map(find).collect()
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
