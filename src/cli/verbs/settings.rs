//! `contree cd` and `contree env`: the directory and the variables of the session.

use std::collections::BTreeMap;

use clap::Args;
use contree_error_codes::ErrorCode;
use contree_http::secret_variables::{MASK, is_secret};
use serde::Serialize;
use uuid::Uuid;

use super::context::VerbContext;
use super::error::VerbError;
use super::rows::{print_record, print_rows};
use super::session_state::{Change, join};
use crate::Error;
use crate::cli::output::{print, print_message};

/// Change or show the session's directory
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  contree cd /src    the next commands run there, and relative paths begin there
  contree cd         print it")]
pub(in crate::cli) struct Cd {
    /// A directory of the image
    path: Option<String>,
}

/// The directory as JSON.
#[derive(Serialize)]
struct Directory {
    cwd: Option<String>,
}

impl Cd {
    pub(super) async fn run(self, cx: &VerbContext) -> Result<u8, VerbError> {
        let Some(path) = self.path else {
            let cwd = cx.state().await?.cwd;
            if cx.format.is_json() {
                print_record(cx.format, &Directory { cwd })?;
            } else {
                print(&format!("{}\n", cwd.as_deref().unwrap_or("/")))?;
            }
            return Ok(0);
        };
        let cwd = loop {
            let mut state = cx.state_with_image().await?;
            let path = join(state.cwd.as_deref(), &path);
            check_directory(cx, cx.current_image(&state).await?, &path).await?;
            state.cwd = Some(path.clone());
            let change = Change {
                kind: "cd",
                title: path,
                operation: None,
            };
            if cx.record_at_tip(&state, change).await?.is_some() {
                break state.cwd;
            }
        };
        if cx.format.is_json() {
            print_record(cx.format, &Directory { cwd })?;
        }
        Ok(0)
    }
}

/// Fails if an image has no such directory.
async fn check_directory(cx: &VerbContext, image: Uuid, path: &str) -> Result<(), VerbError> {
    let listed = cx
        .client
        .inspect_image_file()
        .image_uuid(image)
        .path(path)
        .send()
        .await;
    match listed.map_err(Error::from) {
        Ok(_) => Ok(()),
        Err(error) if error.is_not_found() => Err(VerbError::WithCode(
            ErrorCode::PathNotFound,
            format!("the image has no directory {path}; `contree ls` lists what there is"),
        )),
        Err(error) => Err(error.into()),
    }
}

/// Set or show the session's variables
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  contree env CI=1 MODE=fast    for the next commands
  contree env -U CI             without it again

Values are stored in the state directory, which only you can read. Those of variables that look
like secrets, such as tokens, are shown as ***.")]
pub(in crate::cli) struct Env {
    /// Variables; names alone with -U
    #[arg(value_name = "KEY=VALUE")]
    variables: Vec<String>,
    /// Remove variables
    #[arg(short = 'U', long, visible_alias = "rm")]
    delete: bool,
}

/// A variable as JSON.
#[derive(Serialize)]
struct Variable {
    key: String,
    value: String,
}

/// All variables after a change as JSON.
#[derive(Serialize)]
struct Variables {
    variables: BTreeMap<String, String>,
}

impl Env {
    pub(super) async fn run(self, cx: &VerbContext) -> Result<u8, VerbError> {
        if self.variables.is_empty() {
            if self.delete {
                return Err(VerbError::Usage(
                    "give the names of the variables to remove".to_owned(),
                ));
            }
            let env = cx.state().await?.env;
            let rows: Vec<Variable> = env
                .into_iter()
                .map(|(key, value)| Variable {
                    value: shown_value(&key, value),
                    key,
                })
                .collect();
            print_rows(
                cx.format,
                &rows,
                &[
                    ("variable", &|row: &Variable| row.key.clone()),
                    ("value", &|row| row.value.clone()),
                ],
            )?;
            return Ok(0);
        }
        let env = loop {
            let mut state = cx.state_with_image().await?;
            let changed = self.change(&mut state.env)?;
            let is_done = match changed.names.is_empty() {
                // A removal of nothing is no change.
                true => true,
                false => {
                    // The history has names alone, since values may be secrets.
                    let change = Change {
                        kind: "env",
                        title: changed.names.join(" "),
                        operation: None,
                    };
                    cx.record_at_tip(&state, change).await?.is_some()
                }
            };
            if is_done {
                for name in changed.missing {
                    print_message(format_args!(
                        "the session has no variable `{name}`; `contree env` lists them"
                    ));
                }
                break state.env;
            }
        };
        if cx.format.is_json() {
            let shown = env.into_iter().map(|(key, value)| {
                let value = shown_value(&key, value);
                (key, value)
            });
            let variables = shown.collect();
            print_record(cx.format, &Variables { variables })?;
        }
        Ok(0)
    }

    /// Changes variables as the arguments say.
    fn change(
        &self,
        env: &mut BTreeMap<String, String>,
    ) -> Result<ChangedVariables<'_>, VerbError> {
        let mut changed = ChangedVariables::default();
        for text in &self.variables {
            match (text.split_once('='), self.delete) {
                // It is not set afterwards, so a missing one is no error.
                (None, true) => match env.remove(text) {
                    Some(_) => changed.names.push(format!("-{text}")),
                    None => changed.missing.push(text),
                },
                (Some((name, value)), false) if !name.is_empty() => {
                    env.insert(name.to_owned(), value.to_owned());
                    changed.names.push(name.to_owned());
                }
                (_, true) => {
                    return Err(VerbError::Usage(format!(
                        "`{text}`: -U takes names without `=`"
                    )));
                }
                (_, false) => {
                    return Err(VerbError::Usage(format!(
                        "`{text}` has no `=`, or no name before it; give KEY=VALUE"
                    )));
                }
            }
        }
        Ok(changed)
    }
}

/// The variables that `contree env` changes.
#[derive(Default)]
struct ChangedVariables<'a> {
    /// The names, with a sign before those that are removed.
    names: Vec<String>,
    /// Names to remove that are not set.
    missing: Vec<&'a str>,
}

/// The value of a variable as it is shown.
fn shown_value(key: &str, value: String) -> String {
    match is_secret(key, &value) {
        true => MASK.to_owned(),
        false => value,
    }
}
