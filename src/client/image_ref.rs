//! The reference to an image, by UUID or by tag.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use uuid::Uuid;

use crate::Error;

/// A reference to an image, by its UUID or by a tag that currently points to it.
///
/// ```
/// use contree::ImageRef;
///
/// let image: ImageRef = "tag:host".parse()?;
/// assert_eq!(image, ImageRef::Tag("host".into()));
/// assert!("ubuntu:noble".parse::<ImageRef>().is_err());
/// # Ok::<(), contree::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ImageRef {
    /// An image by its UUID.
    Uuid(Uuid),
    /// The image that a tag points to. The text is the tag without the prefix `tag:`.
    Tag(String),
}

impl FromStr for ImageRef {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        if let Some(tag) = text.strip_prefix("tag:") {
            return if is_tag(tag) {
                Ok(Self::Tag(tag.to_owned()))
            } else {
                Err(Error::InvalidArgument(format!(
                    "`{text}` is not a valid tag: begin with a letter or digit, and use segments of letters, digits, `_` and `-`, joined by `:`, `/` or `.`"
                )))
            };
        }
        text.parse().map(Self::Uuid).map_err(|_| {
            let hint = if is_tag(text) {
                format!(", for example `tag:{text}`")
            } else {
                String::new()
            };
            Error::InvalidArgument(format!(
                "`{text}` is not an image reference: give a UUID or `tag:NAME`{hint}"
            ))
        })
    }
}

/// Whether `name` is a valid tag: segments of letters, digits, `_` and `-`, joined by `:`, `/` or
/// `.`, beginning with a letter or digit.
fn is_tag(name: &str) -> bool {
    name.starts_with(|first: char| first.is_ascii_alphanumeric())
        && name.split([':', '/', '.']).all(|segment| {
            !segment.is_empty()
                && segment
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-')
        })
}

impl fmt::Display for ImageRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Uuid(uuid) => uuid.fmt(f),
            Self::Tag(tag) => write!(f, "tag:{tag}"),
        }
    }
}

impl From<Uuid> for ImageRef {
    fn from(uuid: Uuid) -> Self {
        Self::Uuid(uuid)
    }
}

impl From<&Uuid> for ImageRef {
    fn from(uuid: &Uuid) -> Self {
        Self::Uuid(*uuid)
    }
}

impl From<&ImageRef> for ImageRef {
    fn from(image: &ImageRef) -> Self {
        image.clone()
    }
}

impl TryFrom<&str> for ImageRef {
    type Error = Error;

    fn try_from(text: &str) -> Result<Self, Error> {
        text.parse()
    }
}

impl TryFrom<&String> for ImageRef {
    type Error = Error;

    fn try_from(text: &String) -> Result<Self, Error> {
        text.parse()
    }
}

impl TryFrom<String> for ImageRef {
    type Error = Error;

    fn try_from(text: String) -> Result<Self, Error> {
        text.parse()
    }
}

impl Serialize for ImageRef {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ImageRef {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_are_uuids_or_prefixed_tags() {
        let uuid = "7b0c0f0a-63f8-4a0c-8b6e-1f8b8f8b8f8b";
        assert_eq!(
            uuid.parse::<ImageRef>().unwrap(),
            ImageRef::Uuid(uuid.parse().unwrap())
        );
        for tag in ["tag:host", "tag:a/b:c.d-e_f", "tag:0"] {
            assert_eq!(tag.parse::<ImageRef>().unwrap().to_string(), tag);
        }
        for bad in [
            "tag:", "tag:-a", "tag:a:", "tag:a//b", "tag:a b", "host", "",
        ] {
            assert!(bad.parse::<ImageRef>().is_err(), "{bad}");
        }
        let hint = "ubuntu:noble".parse::<ImageRef>().unwrap_err().to_string();
        assert!(hint.contains("`tag:ubuntu:noble`"), "{hint}");
    }
}
