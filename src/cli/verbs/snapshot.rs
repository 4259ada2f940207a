//! `contree snapshot`: makes an image of a running sandbox.

use clap::Args;
use serde::Serialize;
use uuid::Uuid;

use super::complete::{self, Known};
use super::context::VerbContext;
use super::error::VerbError;
use super::image_name::short;
use super::last_run::LAST_RUN;
use super::rows::print_record;
use crate::cli::output::{print, print_message};
use crate::cli::units::size;

/// Make an image of a running sandbox
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  contree snapshot 1a2b3c              prints the UUID of the image
  contree snapshot 1a2b3c -t work:1    names it

The image has the files as they are now. The processes are paused meanwhile, and are not in it.")]
pub(in crate::cli) struct Snapshot {
    /// UUID of the run, the beginning of it, or @N; @ is the last run of the session
    #[arg(default_value = LAST_RUN, add = complete::values(Known::Running))]
    operation: String,
    /// Tag of the image
    #[arg(short, long, value_name = "NAME")]
    tag: Option<String>,
}

/// A snapshot as JSON.
#[derive(Serialize)]
struct SnapshotRecord {
    image_uuid: Uuid,
    tag: Option<String>,
    changed_files: u64,
    bytes: u64,
    note: String,
}

impl Snapshot {
    pub(super) async fn run(self, cx: &VerbContext) -> Result<u8, VerbError> {
        let operation = cx.operation(&self.operation).await?;
        let made = cx.unless_interrupted(cx.client.snapshot(operation)).await?;
        let image = made.image_uuid;
        if let Some(tag) = &self.tag {
            cx.client.image(image).tag(tag).await?;
        }
        if cx.format.is_json() {
            let record = SnapshotRecord {
                image_uuid: image,
                tag: self.tag,
                changed_files: made.changed_files,
                bytes: made.bytes,
                note: made.note,
            };
            print_record(cx.format, &record)?;
            return Ok(0);
        }
        match &self.tag {
            Some(tag) => {
                let tag = tag.strip_prefix("tag:").unwrap_or(tag);
                print(&format!("{tag} is now {}\n", short(&image)))?;
            }
            None => print(&format!("{image}\n"))?,
        }
        print_message(format_args!(
            "{} changed files, {}; processes are not in the image",
            made.changed_files,
            size(made.bytes)
        ));
        Ok(0)
    }
}
