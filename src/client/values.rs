//! Values of the API that deserve a type of their own instead of a generated one.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use uuid::Uuid;

use crate::Error;

/// Which image is meant: one filesystem state for ever, or what a tag points to now.
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
    /// The image behind a tag; the name stands here without its `tag:` prefix.
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
                    "`{text}` is no tag: segments of letters, digits, `_` and `-`, joined by `:`, `/` or `.`"
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
                "`{text}` is no image: give its UUID or `tag:NAME`{hint}"
            ))
        })
    }
}

/// Whether `name` may be a tag: segments of letters, digits, `_` and `-`, joined by `:`, `/` or `.`, beginning with a
/// letter or digit.
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

/// An enumeration whose unknown values survive as text.
macro_rules! open_enum {
    ($(#[$about:meta])* $name:ident { $($(#[$doc:meta])* $variant:ident = $text:literal,)+ }) => {
        $(#[$about])*
        #[derive(Clone, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum $name {
            $($(#[$doc])* $variant,)+
            /// A value that this version does not know.
            Other(String),
        }

        impl $name {
            /// The value as the API spells it.
            pub fn as_str(&self) -> &str {
                match self {
                    $(Self::$variant => $text,)+
                    Self::Other(text) => text,
                }
            }
        }

        impl From<&str> for $name {
            fn from(text: &str) -> Self {
                match text {
                    $($text => Self::$variant,)+
                    other => Self::Other(other.to_owned()),
                }
            }
        }

        impl FromStr for $name {
            type Err = std::convert::Infallible;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                Ok(text.into())
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                Ok(String::deserialize(deserializer)?.as_str().into())
            }
        }
    };
}

open_enum! {
    /// How far an operation is.
    OperationStatus {
        /// Accepted, not given to a worker yet.
        Pending = "PENDING",
        /// Given to a worker, not started yet.
        Assigned = "ASSIGNED",
        /// Running.
        Executing = "EXECUTING",
        /// Over; a command that ran and exited with another status than 0 counts as success too.
        Success = "SUCCESS",
        /// Over: it could not run, or broke.
        Failed = "FAILED",
        /// Over: cancelled on request.
        Cancelled = "CANCELLED",
    }
}

impl OperationStatus {
    /// Whether the operation is over, so that its record changes no more.
    pub fn is_terminal(&self) -> bool {
        matches!(self, Self::Success | Self::Failed | Self::Cancelled)
    }
}

open_enum! {
    /// What an operation does.
    OperationKind {
        /// Imports an image from a registry.
        ImageImport = "image_import",
        /// Runs a command on an image.
        Instance = "instance",
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

    #[test]
    fn unknown_statuses_survive() {
        let status: OperationStatus = serde_json::from_str("\"PAUSED\"").unwrap();
        assert_eq!(status, OperationStatus::Other("PAUSED".into()));
        assert!(!status.is_terminal());
        assert_eq!(serde_json::to_string(&status).unwrap(), "\"PAUSED\"");
        assert!(OperationStatus::from("FAILED").is_terminal());
    }
}
