//! Flags in queries.

use serde::{Deserialize, Serialize};

/// A flag of a query. Present without a value, `1` and `true` mean on. Absent, `0` and `false` mean
/// off.
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
