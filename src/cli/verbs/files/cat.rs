//! `contree cat`: prints a file of an image.

use std::io::IsTerminal as _;

use clap::Args;
use contree_error_codes::ErrorCode;

use super::super::complete::{self, Known};
use super::super::context::VerbContext;
use super::super::error::VerbError;
use super::stream::copy_to_stdout;
use crate::cli::output::print;

/// Print a file of an image
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  contree cat /etc/os-release
  contree cat base:/etc/passwd | head -1    of another image")]
pub(in crate::cli) struct Cat {
    /// PATH or IMAGE:/PATH
    #[arg(add = complete::values(Known::Images))]
    path: String,
}

impl Cat {
    pub(in crate::cli::verbs) async fn run(self, cx: &VerbContext) -> Result<u8, VerbError> {
        let at = cx.image_path(&self.path).await?;
        let mut content = cx.client.image(at.image).fs().open(&at.path).await?;
        if !std::io::stdout().is_terminal() {
            return copy_to_stdout(cx, &mut content).await;
        }
        let mut bytes = Vec::new();
        while let Some(chunk) = cx.next_chunk(&mut content).await? {
            bytes.extend_from_slice(&chunk);
        }
        match std::str::from_utf8(&bytes) {
            Ok(text) if !text.contains('\0') => print(text)?,
            _ => {
                return Err(VerbError::WithCode(
                    ErrorCode::NotText,
                    format!(
                        "{} is not text; save it with `contree cp {} FILE`, or use a pipe",
                        at.path, self.path
                    ),
                ));
            }
        }
        Ok(0)
    }
}
