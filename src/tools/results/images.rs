//! Results of the tools for images, and the lineage of an image.

use std::fmt::Write;

use schemars::JsonSchema;
use serde::Serialize;

use super::{ToolResult, counted};
use crate::tools::invisible::one_line;

/// An image.
#[derive(Clone, Debug, Default, PartialEq, Serialize, JsonSchema)]
#[non_exhaustive]
pub struct Image {
    /// UUID of the image
    pub uuid: String,
    /// A tag of the image
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tag: Option<String>,
    /// When it was created
    #[serde(skip_serializing_if = "String::is_empty")]
    pub created_at: String,
    /// The operation that made it
    #[serde(skip_serializing_if = "Option::is_none")]
    pub operation_uuid: Option<String>,
}

impl ToolResult for Image {
    fn text(&self) -> String {
        let mut text = format!("image {}", self.uuid);
        for (name, value) in [
            ("tag", &self.tag),
            ("made by operation", &self.operation_uuid),
        ] {
            if let Some(value) = value {
                let _ = write!(text, ", {name} {}", one_line(value));
            }
        }
        if !self.created_at.is_empty() {
            let _ = write!(text, ", {}", self.created_at);
        }
        text.push('\n');
        text
    }
}

/// Result of `get_image`.
pub type GetImage = Image;
/// Result of `set_tag`.
pub type SetTag = Image;

/// Result of `list_images`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, JsonSchema)]
#[non_exhaustive]
pub struct ListImages {
    /// Newest first
    pub images: Vec<Image>,
    /// The call that lists more
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

impl ToolResult for ListImages {
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

/// Lineage of an image.
#[derive(Clone, Debug, Default, PartialEq, Serialize, JsonSchema)]
#[non_exhaustive]
pub struct Lineage {
    /// UUID of the image
    pub image: String,
    /// UUID of the image it was made from
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parent: Option<String>,
    /// UUIDs of the images made directly from it
    pub children: Vec<String>,
    /// UUIDs of its ancestors, nearest first
    pub ancestors: Vec<String>,
    /// Whether there are more ancestors than are listed
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub truncated: bool,
    /// The farthest ancestor, or the image itself
    pub root: String,
    /// Number of ancestors
    pub depth: u64,
    /// Whether its origin is known
    pub is_known: bool,
    /// Its origin, if it is known
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data: Option<LineageData>,
}

/// Origin of an image.
#[derive(Clone, Debug, Default, PartialEq, Serialize, JsonSchema)]
#[non_exhaustive]
pub struct LineageData {
    /// The operation that made it
    #[serde(skip_serializing_if = "Option::is_none")]
    pub operation_uuid: Option<String>,
    /// instance or image_import
    #[serde(skip_serializing_if = "String::is_empty")]
    pub kind: String,
    /// The command, or the reference that was imported
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// When it was created
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created_at: Option<String>,
}

impl ToolResult for Lineage {
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
                let _ = write!(text, ": {}", one_line(source));
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
