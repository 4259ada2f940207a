//! `contree use`: selects the image of the session.

use clap::Args;
use serde::Serialize;
use uuid::Uuid;

use super::complete::{self, Known};
use super::context::VerbContext;
use super::error::VerbError;
use super::image_name::short;
use super::rows::print_rows;
use super::session_state::Change;
use crate::cli::output::{print, print_message};

/// Select the image of the session, or show the session
#[derive(Args, Debug)]
#[command(
    visible_alias = "ci",
    after_help = "\
Examples:
  contree use python:3.12    the next commands of this directory run on it
  contree use @2             go on from entry 2 of `contree session show`

With -S, CONTREE_SESSION or --new, it prints a line for `eval` that keeps the session for the shell."
)]
pub(in crate::cli) struct Use {
    /// A tag, a UUID or the beginning of one, or @N
    #[arg(add = complete::values(Known::Images))]
    image: Option<String>,
    /// Begin a session with a new name
    #[arg(short = 'N', long)]
    new: bool,
}

/// The session as the verbs show it.
#[derive(Serialize)]
pub(super) struct SessionInfo {
    session_key: String,
    active_branch: String,
    current_image: Option<Uuid>,
    entry: Option<i64>,
    cwd: Option<String>,
}

/// Prints the current session.
pub(super) async fn show(cx: &VerbContext) -> Result<u8, VerbError> {
    let state = cx.state().await?;
    let info = SessionInfo {
        session_key: cx.key.clone(),
        active_branch: state.branch,
        current_image: state.image,
        entry: state.tip,
        cwd: state.cwd,
    };
    let or_none = |text: Option<String>| text.unwrap_or_else(|| "none".to_owned());
    print_rows(
        cx.format,
        &[info],
        &[
            ("session", &|info: &SessionInfo| info.session_key.clone()),
            ("branch", &|info| info.active_branch.clone()),
            ("image", &|info| {
                or_none(info.current_image.as_ref().map(short))
            }),
            ("entry", &|info| {
                or_none(info.entry.map(|id| format!("@{id}")))
            }),
            ("directory", &|info| or_none(info.cwd.clone())),
        ],
    )?;
    Ok(0)
}

/// Selects an image, and returns it.
pub(super) async fn select(cx: &VerbContext, name: &str) -> Result<Uuid, VerbError> {
    let image = cx.image(name).await?;
    loop {
        let mut state = cx.state().await?;
        state.image = Some(image);
        let change = Change {
            kind: "use",
            title: name.to_owned(),
            operation: None,
        };
        if cx.record_at_tip(&state, change).await?.is_some() {
            return Ok(image);
        }
    }
}

impl Use {
    pub(super) async fn run(self, cx: &VerbContext) -> Result<u8, VerbError> {
        let Some(name) = &self.image else {
            if self.new {
                return Err(VerbError::Usage(
                    "a new session begins with an image; give one, as in `contree use --new host`"
                        .into(),
                ));
            }
            return show(cx).await;
        };
        let new;
        let cx = if self.new {
            new = cx.with_key(format!("{}-{}", cx.key, short(&Uuid::new_v4())));
            &new
        } else {
            cx
        };
        let image = select(cx, name).await?;
        print_message(format_args!("using {name} ({})", short(&image)));
        if cx.format.is_json() {
            return show(cx).await;
        }
        if cx.is_named {
            let key = cx.key.replace('\'', r"'\''");
            print(&format!("export CONTREE_SESSION='{key}'\n"))?;
        }
        Ok(0)
    }
}
