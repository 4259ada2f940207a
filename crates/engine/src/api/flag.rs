//! Flags in queries.

use serde::{Deserialize, Serialize};

/// A flag: absent or `0` is off; present without a value, or `1`, is on. `true` and `false` are taken as well.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Flag(pub(crate) bool);

impl<'de> Deserialize<'de> for Flag {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match String::deserialize(deserializer)?.as_str() {
            "" | "1" | "true" => Ok(Self(true)),
            "0" | "false" => Ok(Self(false)),
            other => Err(serde::de::Error::custom(format!(
                "a flag is 0 or 1, not `{other}`"
            ))),
        }
    }
}
