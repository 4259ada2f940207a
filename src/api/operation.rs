//! The kind and the status of an operation.
//!
//! They replace the generated types, so that a value unknown to this version is kept as text.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Defines an enumeration that keeps unknown values as text.
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
    /// The status of an operation.
    OperationStatus {
        /// Accepted, not given to a worker yet.
        Pending = "PENDING",
        /// Given to a worker, not started yet.
        Assigned = "ASSIGNED",
        /// Running.
        Executing = "EXECUTING",
        /// Ended with success. A command that ran and exited with a non-zero status also counts as
        /// success.
        Success = "SUCCESS",
        /// Ended: it could not run, or failed on the way.
        Failed = "FAILED",
        /// Ended: cancelled on request.
        Cancelled = "CANCELLED",
    }
}

impl OperationStatus {
    /// Whether the operation has ended, so that its record is final.
    pub fn is_terminal(&self) -> bool {
        matches!(self, Self::Success | Self::Failed | Self::Cancelled)
    }
}

open_enum! {
    /// The kind of an operation.
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
    fn unknown_statuses_are_kept() {
        let status: OperationStatus = serde_json::from_str("\"PAUSED\"").unwrap();
        assert_eq!(status, OperationStatus::Other("PAUSED".into()));
        assert!(!status.is_terminal());
        assert_eq!(serde_json::to_string(&status).unwrap(), "\"PAUSED\"");
        assert!(OperationStatus::from("FAILED").is_terminal());
    }
}
