//! `contree session checkout`: switches to another branch.

use clap::Args;

use super::super::context::VerbContext;
use super::super::error::VerbError;
use super::super::use_image;
use super::branch::Branch;
use crate::cli::output::print_message;
use crate::store::sessions;

/// Switch to another branch
#[derive(Args, Debug)]
pub(super) struct Checkout {
    /// The branch
    branch: String,
    /// Create the branch first, at the newest entry of the active one
    #[arg(short = 'b', long)]
    create: bool,
}

impl Checkout {
    pub(super) async fn run(self, cx: &VerbContext) -> Result<u8, VerbError> {
        if self.create {
            let branch = Branch {
                name: Some(self.branch.clone()),
                from: None,
                delete: false,
                is_part: true,
            };
            branch.run(cx).await?;
        }
        let branches = cx.branches().await?;
        let Some((branch, tip)) = branches.iter().find(|(branch, _)| *branch == self.branch) else {
            return Err(cx.unknown_branch(&self.branch, &branches));
        };
        let (backend, key, name) = (cx.backend(), cx.key.clone(), branch.clone());
        let store = cx.tools.store();
        store
            .write_durably(move |c| sessions::activate(c, &backend, &key, &name))
            .await?;
        print_message(format_args!("on branch {branch} at @{tip}"));
        if cx.format.is_json() {
            return use_image::show(cx).await;
        }
        Ok(0)
    }
}
