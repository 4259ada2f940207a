//! Fields of documents that may be null.

use serde::{Deserialize, Deserializer};

/// Reads null as the default value. Some tools write null for "none".
pub(super) fn null_as_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}
