//! `contree tag`, `contree untag` and `contree rmi`: names of images, and deleting images.

use clap::Args;
use contree_error_codes::ErrorCode;
use serde::Serialize;
use uuid::Uuid;

use super::complete::{self, Known};
use super::context::VerbContext;
use super::error::VerbError;
use super::image_name::short;
use super::rows::{print_record, print_result};
use crate::Error;
use crate::cli::output::print;
use crate::cli::units::size;

/// Name an image
#[derive(Args, Debug)]
#[command(
    visible_alias = "t",
    override_usage = "contree tag [OPTIONS] [IMAGE] NAME",
    after_help = "\
Examples:
  contree tag work:1          the image of the session
  contree tag 1a2b3c base     another image; a tag of another image moves"
)]
pub(in crate::cli) struct Tag {
    /// The image, unless it is that of the session, and the tag
    #[arg(required = true, num_args = 1..=2, value_name = "IMAGE|NAME", add = complete::values(Known::Images))]
    names: Vec<String>,
    /// Remove the tag
    #[arg(short = 'U', long, visible_alias = "rm")]
    delete: bool,
}

/// A changed tag as JSON.
#[derive(Serialize)]
struct ChangedTag<'a> {
    uuid: Uuid,
    tag: &'a str,
}

impl Tag {
    pub(super) async fn run(self, cx: &VerbContext) -> Result<u8, VerbError> {
        let (image, tag) = match &self.names[..] {
            [image, tag] => (Some(image.as_str()), tag),
            [tag] if self.delete => return Untag { name: tag.clone() }.run(cx).await,
            [tag] => (None, tag),
            _ => {
                return Err(VerbError::Usage(
                    "give a tag, or an image and a tag".to_owned(),
                ));
            }
        };
        let image = cx.image_or_current(image).await?;
        let target = cx.client.image(image);
        if self.delete {
            target.untag(tag).await?;
        } else {
            target.tag(tag).await?;
        }
        let tag = tag.strip_prefix("tag:").unwrap_or(tag);
        let sentence = match self.delete {
            true => format!("removed {tag} from {}", short(&image)),
            false => format!("{tag} is now {}", short(&image)),
        };
        print_result(cx.format, &ChangedTag { uuid: image, tag }, &sentence)?;
        Ok(0)
    }
}

/// Remove a tag; the image stays
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  contree untag work:1
  contree untag tag:base        `tag:` may stand before the name
  contree tag -U 1a2b3c base    a tag of a named image")]
pub(in crate::cli) struct Untag {
    /// The tag
    #[arg(add = complete::values(Known::Images))]
    name: String,
}

impl Untag {
    pub(super) async fn run(self, cx: &VerbContext) -> Result<u8, VerbError> {
        let tag = self.name.strip_prefix("tag:").unwrap_or(&self.name);
        let image = cx.image(&format!("tag:{tag}")).await?;
        cx.client.image(image).untag(tag).await?;
        let sentence = format!("removed {tag} from {}", short(&image));
        print_result(cx.format, &ChangedTag { uuid: image, tag }, &sentence)?;
        Ok(0)
    }
}

/// Delete images
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  contree rmi old:1 1a2b3c    with their tags, and the disk space that only they need
  contree rmi -f base         although it has other tags, or other images were made from it

`contree untag` removes a tag alone. An image on which a command runs is never deleted. This cannot
be undone.")]
pub(in crate::cli) struct Rmi {
    /// Tags, UUIDs or beginnings of them, or @N
    #[arg(required = true, add = complete::values(Known::Images))]
    images: Vec<String>,
    /// Also delete an image with other tags, or one that others were made from; their layers stay
    #[arg(short, long)]
    force: bool,
}

impl Rmi {
    pub(super) async fn run(self, cx: &VerbContext) -> Result<u8, VerbError> {
        // All names are looked up before the first image is deleted.
        let mut images = Vec::new();
        for name in &self.images {
            let image = cx.image(name).await?;
            if !images.contains(&image) {
                images.push(image);
            }
        }
        if !self.force {
            self.check_tags(cx, &images).await?;
        }
        for image in images {
            let deleted = cx.client.delete_image_record(image, self.force).await;
            let deleted = deleted.map_err(with_option)?;
            if cx.format.is_json() {
                print_record(cx.format, &deleted)?;
                continue;
            }
            let tags = match &deleted.tags[..] {
                [] => String::new(),
                tags => format!(" ({})", tags.join(", ")),
            };
            print(&format!(
                "deleted {}{tags}, {} freed\n",
                short(&image),
                size(deleted.bytes)
            ))?;
        }
        Ok(0)
    }

    /// Refuses an image that is named by one of its tags, and has tags that are not named.
    ///
    /// # Errors
    /// The refusal, and if the backend cannot be reached.
    async fn check_tags(&self, cx: &VerbContext, images: &[Uuid]) -> Result<(), VerbError> {
        let named: Vec<&str> = self
            .images
            .iter()
            .map(|name| name.strip_prefix("tag:").unwrap_or(name))
            .collect();
        let tagged = cx.client.images().tagged().all().await?;
        for image in images {
            let tags = tagged.iter().filter(|found| found.uuid == *image);
            let tags = tags.filter_map(|found| found.tag.as_deref());
            let (named, others): (Vec<&str>, Vec<&str>) = tags.partition(|tag| named.contains(tag));
            if let ([tag, ..], [_, ..]) = (&named[..], &others[..]) {
                return Err(VerbError::WithCode(
                    ErrorCode::ImageInUse,
                    format!(
                        "the image {} has the tag {} as well; `contree untag {tag}` removes this tag alone, and `contree rmi -f {tag}` deletes the image",
                        short(image),
                        others.join(", ")
                    ),
                ));
            }
        }
        Ok(())
    }
}

/// The error of a deletion, with the option of this verb.
fn with_option(error: Error) -> VerbError {
    let message = error.to_string();
    match error.code() {
        ErrorCode::ImageInUse => {
            VerbError::WithCode(ErrorCode::ImageInUse, message.replace("force=true", "-f"))
        }
        _ => error.into(),
    }
}
