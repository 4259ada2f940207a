//! Deserializes any type from a tree, and continues after unknown and repeated keys.

use serde::de::value::{MapDeserializer, SeqDeserializer, U64Deserializer};
use serde::de::{self, DeserializeSeed, Deserializer, IntoDeserializer, SeqAccess, Visitor};
use serde::forward_to_deserialize_any;
use serde_yaml::Spanned;

use super::super::names::suggestion;
use super::node::{Node, NodeKind};
use super::read_error::{ReadError, record};

/// Deserializes any type from a node.
#[derive(Clone, Copy)]
pub(super) struct Reader<'a>(pub(super) &'a Node);

/// The struct name with which `Located` requests a value with its line.
pub(super) const LOCATED: &str = "\0located";

impl<'a> Reader<'a> {
    fn entries(
        entries: impl IntoIterator<Item = &'a (Spanned<String>, Node)>,
    ) -> Vec<(KeyReader<'a>, Reader<'a>)> {
        entries
            .into_iter()
            .map(|(key, node)| (KeyReader(key), Reader(node)))
            .collect()
    }
}

/// The first entry of each key. Repeated keys are recorded as mistakes.
fn without_repeats(map: &[(Spanned<String>, Node)]) -> Vec<&(Spanned<String>, Node)> {
    let mut unique: Vec<&(Spanned<String>, Node)> = Vec::new();
    for entry in map {
        if let Some(first) = unique.iter().find(|known| known.0.value == entry.0.value) {
            let (name, first) = (&entry.0.value, first.0.referenced.line());
            let text = format!("the key `{name}` is repeated, first in line {first} (delete one)");
            record(entry.0.referenced.line(), text);
        } else {
            unique.push(entry);
        }
    }
    unique
}

impl<'de> Deserializer<'de> for Reader<'_> {
    type Error = ReadError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        let value = match &self.0.kind {
            NodeKind::Null => visitor.visit_unit(),
            NodeKind::Bool(value) => visitor.visit_bool(*value),
            NodeKind::Integer(value) => visitor.visit_i64(*value),
            NodeKind::Float(value) => visitor.visit_f64(*value),
            NodeKind::Text(value) => visitor.visit_str(value),
            NodeKind::List(items) => {
                visitor.visit_seq(SeqDeserializer::new(items.iter().map(Reader)))
            }
            NodeKind::Map(map) => visitor.visit_map(MapDeserializer::new(
                Self::entries(without_repeats(map)).into_iter(),
            )),
        };
        value.map_err(|error| error.record_at(self.0.line))
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        match self.0.kind {
            NodeKind::Null => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, ReadError> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ReadError> {
        let value = match &self.0.kind {
            NodeKind::Text(text) => visitor.visit_enum(text.as_str().into_deserializer()),
            _ => Err(de::Error::custom("this must be a word")),
        };
        value.map_err(|error: ReadError| error.record_at(self.0.line))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ReadError> {
        if name == LOCATED {
            return visitor.visit_seq(LineAndValue {
                line: Some(self.0.line),
                value: Some(self),
            });
        }
        let NodeKind::Map(map) = &self.0.kind else {
            return self.deserialize_any(visitor);
        };
        let mut known = without_repeats(map);
        known.retain(|(key, _)| {
            let is_known = fields.contains(&key.value.as_str());
            if !is_known {
                let text = format!(
                    "there is no key `{}`{}",
                    key.value,
                    suggestion(&key.value, fields.iter().copied())
                );
                record(key.referenced.line(), text);
            }
            is_known
        });
        let entries = MapDeserializer::new(Self::entries(known).into_iter());
        visitor
            .visit_map(entries)
            .map_err(|error: ReadError| error.record_at(self.0.line))
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct seq tuple
        tuple_struct map identifier ignored_any
    }
}

impl<'de> IntoDeserializer<'de, ReadError> for Reader<'_> {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

/// Deserializes the key of a map.
struct KeyReader<'a>(&'a Spanned<String>);

impl<'de> Deserializer<'de> for KeyReader<'_> {
    type Error = ReadError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        visitor.visit_str(&self.0.value)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ReadError> {
        visitor.visit_seq(LineAndValue {
            line: Some(self.0.referenced.line()),
            value: Some(self),
        })
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}

impl<'de> IntoDeserializer<'de, ReadError> for KeyReader<'_> {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

/// A sequence of a line and the value on it.
struct LineAndValue<D> {
    line: Option<u64>,
    value: Option<D>,
}

impl<'de, D: Deserializer<'de, Error = ReadError>> SeqAccess<'de> for LineAndValue<D> {
    type Error = ReadError;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, ReadError> {
        if let Some(line) = self.line.take() {
            let line: U64Deserializer<ReadError> = line.into_deserializer();
            return seed.deserialize(line).map(Some);
        }
        self.value
            .take()
            .map(|value| seed.deserialize(value))
            .transpose()
    }
}
