//! Images, and where they come from.

use std::fmt::Write;

use schemars::JsonSchema;
use serde::Serialize;

use super::{Render, counted};

/// An image.
#[derive(Clone, Debug, Default, PartialEq, Serialize, JsonSchema)]
#[non_exhaustive]
pub struct Image {
    /// The image
    pub uuid: String,
    /// Its tag
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tag: Option<String>,
    /// When it was made
    #[serde(skip_serializing_if = "String::is_empty")]
    pub created_at: String,
    /// The operation that made it
    #[serde(skip_serializing_if = "Option::is_none")]
    pub operation_uuid: Option<String>,
}

impl Render for Image {
    fn text(&self) -> String {
        let mut text = format!("image {}", self.uuid);
        for (name, value) in [
            ("tag", &self.tag),
            ("made by operation", &self.operation_uuid),
        ] {
            if let Some(value) = value {
                let _ = write!(text, ", {name} {value}");
            }
        }
        if !self.created_at.is_empty() {
            let _ = write!(text, ", {}", self.created_at);
        }
        text.push('\n');
        text
    }
}

/// What `get_image` answers.
pub type GetImage = Image;
/// What `set_tag` answers.
pub type SetTag = Image;

/// What `list_images` answers.
#[derive(Clone, Debug, Default, PartialEq, Serialize, JsonSchema)]
#[non_exhaustive]
pub struct ListImages {
    /// Newest first
    pub images: Vec<Image>,
    /// The call for more
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

impl Render for ListImages {
    fn text(&self) -> String {
        let mut text = format!("{}\n", counted(self.images.len(), "image"));
        for image in &self.images {
            text.push_str(&image.text());
        }
        if let Some(next) = &self.next {
            let _ = writeln!(text, "next: {next}");
        }
        text
    }
}

/// Where an image comes from.
#[derive(Clone, Debug, Default, PartialEq, Serialize, JsonSchema)]
#[non_exhaustive]
pub struct Lineage {
    /// The image
    pub image: String,
    /// The image it was made from
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parent: Option<String>,
    /// The images made directly from it
    pub children: Vec<String>,
    /// Its parent, the parent of that, and so on
    pub ancestors: Vec<String>,
    /// Whether there are more of them than are listed
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub truncated: bool,
    /// The last ancestor, or the image itself
    pub root: String,
    /// How many ancestors there are
    pub depth: u64,
    /// Whether the operation that made it is known
    pub is_known: bool,
    /// How it was made
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data: Option<LineageData>,
}

/// How an image was made.
#[derive(Clone, Debug, Default, PartialEq, Serialize, JsonSchema)]
#[non_exhaustive]
pub struct LineageData {
    /// The operation
    #[serde(skip_serializing_if = "Option::is_none")]
    pub operation_uuid: Option<String>,
    /// instance or image_import
    #[serde(skip_serializing_if = "String::is_empty")]
    pub kind: String,
    /// The command, or the reference that was imported
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// When
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created_at: Option<String>,
}

impl Render for Lineage {
    fn text(&self) -> String {
        let mut text = format!(
            "image {}, {} from its root {}\n",
            self.image,
            counted_depth(self.depth),
            self.root
        );
        if let Some(data) = &self.data {
            let _ = write!(text, "made by {}", data.kind);
            if let Some(source) = &data.source {
                let _ = write!(text, ": {source}");
            }
            text.push('\n');
        }
        for ancestor in &self.ancestors {
            let _ = writeln!(text, "ancestor {ancestor}");
        }
        if self.truncated {
            text.push_str("…\n");
        }
        for child in &self.children {
            let _ = writeln!(text, "child {child}");
        }
        text
    }
}

fn counted_depth(depth: u64) -> String {
    counted(usize::try_from(depth).unwrap_or(usize::MAX), "generation")
}
