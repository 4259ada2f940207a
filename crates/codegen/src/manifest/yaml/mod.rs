//! Reads YAML into types that keep the line of every value, and reports all mistakes together.
//!
//! Serde alone stops at the first error. Here, the text first becomes a tree of nodes. Reading
//! types from the tree records unknown and repeated keys, records and skips invalid entries of
//! maps, and continues.

mod located;
mod node;
mod read_error;
mod reader;

pub use located::{Located, LocatedMap};

use serde::de::DeserializeOwned;
use serde_yaml::options::DuplicateKeyPolicy;

use super::problem::{Problem, SourceFile};
use node::Node;
use reader::Reader;

/// Reads a document as `T`.
///
/// # Errors
/// A syntax error, or else every unknown key, repeated key, missing key and wrong type.
pub fn read<T: DeserializeOwned>(source: &SourceFile) -> Result<T, Vec<Problem>> {
    let root: Node =
        serde_yaml::from_str_with_options(&source.text, options()).map_err(|error| {
            let text = error.without_snippet().to_string();
            let text = text.split(" at line ").next().unwrap_or(&text);
            let text =
                format!("{text} (correct the YAML; a text with `: ` or `, ` in it needs quotes)");
            vec![Problem::new(
                &source.name,
                error.location().map_or(1, |place| place.line()),
                text,
            )]
        })?;
    read_error::take();
    let result = T::deserialize(Reader(&root));
    let mistakes = read_error::take();
    match result {
        Ok(value) if mistakes.is_empty() => Ok(value),
        _ => {
            let mut problems: Vec<_> = mistakes
                .into_iter()
                .map(|(line, text)| Problem::new(&source.name, line, text))
                .collect();
            problems.sort();
            Err(problems)
        }
    }
}

/// The options of the parser: only YAML 1.2 booleans and numbers, so `no` and `0644` are texts.
fn options() -> serde_yaml::Options {
    serde_yaml::options! {
        strict_booleans: true,
        leading_zero_numbers_as_strings: true,
        underscored_numbers_as_strings: true,
        with_snippet: false,
        duplicate_keys: DuplicateKeyPolicy::PassThrough,
    }
}
