//! Byte strings in JSON: one character for each byte (U+0000 to U+00FF). Names that are not UTF-8
//! survive unchanged.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use serde::de::Error;
use serde::{Deserialize, Deserializer, Serializer};

fn encode(bytes: &[u8]) -> String {
    bytes.iter().map(|&byte| char::from(byte)).collect()
}

fn decode<E: Error>(text: &str) -> Result<OsString, E> {
    let bytes: Result<Vec<u8>, _> = text.chars().map(|c| u8::try_from(u32::from(c))).collect();
    bytes
        .map(OsString::from_vec)
        .map_err(|_| E::custom("a character beyond U+00FF in a byte string"))
}

pub(crate) mod os {
    use super::*;

    pub(crate) fn serialize<S: Serializer>(
        value: &OsString,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&encode(value.as_bytes()))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<OsString, D::Error> {
        decode(&String::deserialize(deserializer)?)
    }
}

pub(crate) mod optional {
    use super::*;

    pub(crate) fn serialize<S: Serializer>(
        value: &Option<OsString>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match value {
            Some(value) => serializer.serialize_some(&encode(value.as_bytes())),
            None => serializer.serialize_none(),
        }
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<OsString>, D::Error> {
        Option::<String>::deserialize(deserializer)?
            .map(|text| decode(&text))
            .transpose()
    }
}

pub(crate) mod path {
    use std::path::{Path, PathBuf};

    use super::*;

    pub(crate) fn serialize<S: Serializer>(value: &Path, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&encode(value.as_os_str().as_bytes()))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<PathBuf, D::Error> {
        decode(&String::deserialize(deserializer)?).map(PathBuf::from)
    }
}

pub(crate) mod list {
    use super::*;

    pub(crate) fn serialize<S: Serializer>(
        value: &[OsString],
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(value.iter().map(|item| encode(item.as_bytes())))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Vec<OsString>, D::Error> {
        let items = Vec::<String>::deserialize(deserializer)?;
        items.iter().map(|item| decode(item)).collect()
    }
}

pub(crate) mod pairs {
    use super::*;

    pub(crate) fn serialize<S: Serializer>(
        value: &[(OsString, OsString)],
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(
            value
                .iter()
                .map(|(name, value)| (encode(name.as_bytes()), encode(value.as_bytes()))),
        )
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Vec<(OsString, OsString)>, D::Error> {
        let items = Vec::<(String, String)>::deserialize(deserializer)?;
        items
            .iter()
            .map(|(name, value)| Ok((decode(name)?, decode(value)?)))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_survives() {
        let all = OsString::from_vec((0..=255).collect());
        let text = serde_json::to_string(&encode(all.as_bytes())).unwrap();
        let back: String = serde_json::from_str(&text).unwrap();
        assert_eq!(decode::<serde_json::Error>(&back).unwrap(), all);
    }

    #[test]
    fn a_character_beyond_a_byte_is_refused() {
        assert!(decode::<serde_json::Error>("\u{100}").is_err());
    }
}
