//! `contree session`: branches and history of a session.

mod branch;
mod checkout;
mod delete;
mod list;
mod lookup;
mod rollback;
mod show;
mod use_session;

use clap::{Args, Subcommand};

use super::context::VerbContext;
use super::error::VerbError;
use super::use_image;

/// Branches and history of the session
#[derive(Args, Debug)]
#[command(
    visible_alias = "s",
    after_help = "\
Examples:
  contree session branch try && contree session checkout try
  contree session rollback         back to before the last command"
)]
pub(in crate::cli) struct Session {
    #[command(subcommand)]
    command: Option<SessionCommand>,
}

#[derive(Subcommand, Debug)]
enum SessionCommand {
    #[command(visible_alias = "ls")]
    List(list::List),
    Use(use_session::UseSession),
    #[command(visible_alias = "br")]
    Branch(branch::Branch),
    #[command(visible_alias = "co")]
    Checkout(checkout::Checkout),
    #[command(visible_alias = "rb")]
    Rollback(rollback::Rollback),
    Show(show::ShowHistory),
    #[command(visible_aliases = ["rm", "del"])]
    Delete(delete::Delete),
}

impl Session {
    pub(in crate::cli::verbs) async fn run(self, cx: &VerbContext) -> Result<u8, VerbError> {
        match self.command {
            None => use_image::show(cx).await,
            Some(SessionCommand::List(list)) => list.run(cx).await,
            Some(SessionCommand::Use(session)) => session.run(cx).await,
            Some(SessionCommand::Branch(branch)) => branch.run(cx).await,
            Some(SessionCommand::Checkout(checkout)) => checkout.run(cx).await,
            Some(SessionCommand::Rollback(rollback)) => rollback.run(cx).await,
            Some(SessionCommand::Show(show)) => show.run(cx).await,
            Some(SessionCommand::Delete(delete)) => delete.run(cx).await,
        }
    }
}
