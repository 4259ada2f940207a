//! `contree session use`: the image of another session.

use clap::Args;

use super::super::context::VerbContext;
use super::super::error::VerbError;
use super::super::session_state::no_image;
use super::super::use_image;
use super::lookup::{session_key, short_text};
use crate::cli::output::print_message;

/// Use the current image of another session
#[derive(Args, Debug)]
pub(super) struct UseSession {
    /// Its key, or the end of it
    key: String,
}

impl UseSession {
    pub(super) async fn run(self, cx: &VerbContext) -> Result<u8, VerbError> {
        let row = session_key(cx, &self.key).await?;
        let tip = row.tip.ok_or_else(no_image)?;
        use_image::select(cx, &tip.image).await?;
        print_message(format_args!(
            "using {} of {}",
            short_text(&tip.image),
            row.key
        ));
        if cx.format.is_json() {
            return use_image::show(cx).await;
        }
        Ok(0)
    }
}
