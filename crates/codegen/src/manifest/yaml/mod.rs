//! Reading YAML into our own types so that every value knows its line, and so that all mistakes are reported together.
//!
//! serde stops at the first error. Here the text first becomes a tree of nodes; reading types from the tree records
//! unknown and repeated keys and goes on, and an entry of a map that cannot be read is recorded and left out.

mod at;
mod fault;
mod node;
mod reader;

pub use at::{At, Map};

use serde::de::DeserializeOwned;
use serde_yaml::options::DuplicateKeyPolicy;

use super::problem::{Problem, Source};
use node::Node;
use reader::Reader;

/// Reads a document as `T`.
///
/// # Errors
/// Returns a syntax error alone, else every unknown key, repeated key, missing key and wrong type.
pub fn read<T: DeserializeOwned>(source: &Source) -> Result<T, Vec<Problem>> {
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
    fault::take();
    let read = T::deserialize(Reader(&root));
    let faults = fault::take();
    match read {
        Ok(value) if faults.is_empty() => Ok(value),
        _ => {
            let mut problems: Vec<_> = faults
                .into_iter()
                .map(|(line, text)| Problem::new(&source.name, line, text))
                .collect();
            problems.sort();
            Err(problems)
        }
    }
}

/// YAML 1.2 booleans and numbers only: `no` and `0644` are texts.
fn options() -> serde_yaml::Options {
    serde_yaml::options! {
        strict_booleans: true,
        leading_zero_numbers_as_strings: true,
        underscored_numbers_as_strings: true,
        with_snippet: false,
        duplicate_keys: DuplicateKeyPolicy::PassThrough,
    }
}
