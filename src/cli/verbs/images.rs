//! `contree images`: lists and imports images.

use clap::{Args, Subcommand};
use serde::Serialize;
use uuid::Uuid;

use super::context::VerbContext;
use super::error::VerbError;
use super::import::ImportImages;
use super::rows::print_rows;
use super::tree;
use crate::ImageInfo;
use crate::cli::number;
use crate::cli::output::{print, print_message};
use crate::cli::units::{age, parse_time};

/// List images, or import some
#[derive(Args, Debug)]
#[command(
    visible_aliases = ["i", "img"],
    alias = "image",
    args_conflicts_with_subcommands = true,
    after_help = "\
Examples:
  contree images --tree                   which image was made from which
  contree images import python:3.12       from a registry; then `contree use python:3.12`"
)]
pub(in crate::cli) struct Images {
    #[command(subcommand)]
    command: Option<ImagesCommand>,
    #[command(flatten)]
    list: ListImages,
}

#[derive(Subcommand, Debug)]
enum ImagesCommand {
    #[command(visible_alias = "ls")]
    List(ListImages),
    Import(ImportImages),
}

/// List images
#[derive(Args, Debug, Default)]
struct ListImages {
    /// Include images without a tag
    #[arg(short, long)]
    all: bool,
    /// Print only UUIDs
    #[arg(short, long)]
    quiet: bool,
    /// Only tags that begin with P
    #[arg(long, value_name = "P")]
    prefix: Option<String>,
    /// Show which image was made from which
    #[arg(long)]
    tree: bool,
    /// Only this image
    #[arg(short = 'i', long, value_name = "UUID", value_parser = uuid)]
    uuid: Option<Uuid>,
    /// Only since a time: 15m, 2h, 7d, a date
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    since: Option<std::time::SystemTime>,
    /// Only until a time
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    until: Option<std::time::SystemTime>,
    /// At most N images
    #[arg(long, value_name = "N", default_value_t = 3000, value_parser = number::count::<usize>)]
    limit: usize,
}

/// A text that is not a UUID.
#[derive(Debug, thiserror::Error)]
#[error(
    "give a whole UUID, such as 018f2b5c-0000-7000-8000-000000000002; `contree images` prints them with --json"
)]
struct NotAUuid;

fn uuid(text: &str) -> Result<Uuid, NotAUuid> {
    text.parse().map_err(|_| NotAUuid)
}

/// An image in a list, with the fields of the official command line.
#[derive(Serialize)]
pub(super) struct ImageRow {
    uuid: Uuid,
    tag: Option<String>,
    created_at: String,
    operation_uuid: Option<Uuid>,
}

impl From<ImageInfo> for ImageRow {
    fn from(image: ImageInfo) -> Self {
        Self {
            uuid: image.uuid,
            tag: image.tag,
            created_at: image.created_at,
            operation_uuid: image.operation,
        }
    }
}

impl Images {
    pub(super) async fn run(self, cx: &VerbContext) -> Result<u8, VerbError> {
        match self.command {
            None => self.list.run(cx).await,
            Some(ImagesCommand::List(list)) => list.run(cx).await,
            Some(ImagesCommand::Import(import)) => import.run(cx).await,
        }
    }
}

impl ListImages {
    /// Whether the list has every image with a tag.
    fn lists_every_tag(&self) -> bool {
        let has_filter = self.prefix.is_some()
            || self.uuid.is_some()
            || self.since.is_some()
            || self.until.is_some();
        !self.all && !has_filter && self.limit > 0
    }

    async fn run(self, cx: &VerbContext) -> Result<u8, VerbError> {
        if self.tree {
            return tree::show_all(cx).await;
        }
        let mut images = cx.client.images();
        if let Some(prefix) = &self.prefix {
            images = images.prefix(prefix);
        }
        if !self.all && self.uuid.is_none() {
            images = images.tagged();
        }
        if let Some(since) = self.since {
            images = images.since(since);
        }
        if let Some(until) = self.until {
            images = images.until(until);
        }
        let mut rows: Vec<ImageRow> = Vec::new();
        while let Some(image) = images.next().await {
            let image = image?;
            if self.uuid.is_some_and(|uuid| uuid != image.uuid) {
                continue;
            }
            if rows.len() == self.limit {
                print_message(format_args!(
                    "there are more; --limit N shows more than {}",
                    self.limit
                ));
                break;
            }
            rows.push(image.into());
        }
        if rows.is_empty() && !cx.format.is_json() && self.lists_every_tag() {
            print_message("no image has a tag; `contree images -a` shows the others");
        }
        if self.quiet {
            let mut uuids: Vec<String> = rows.iter().map(|row| format!("{}\n", row.uuid)).collect();
            uuids.dedup();
            return Ok(print(&uuids.concat()).map(|()| 0)?);
        }
        print_rows(
            cx.format,
            &rows,
            &[
                ("tag", &|row: &ImageRow| row.tag.clone().unwrap_or_default()),
                ("image", &|row| row.uuid.to_string()),
                ("created", &|row| age(&row.created_at)),
            ],
        )?;
        Ok(0)
    }
}
