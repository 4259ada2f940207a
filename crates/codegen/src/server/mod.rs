//! Generates the types of a server's requests and answers.
//!
//! Each schema becomes one plain serde type, and so do the query parameters of each operation. The
//! types keep details that a client's types may lose: the order of properties, the difference
//! between null and absent properties, and defaults.
//!
//! | The document says | The type has |
//! |---|---|
//! | required | `T` |
//! | `default` | `T`, filled in when it is absent, always written |
//! | `nullable` | `Option<T>`, written as null |
//! | both | `Option<T>`, filled in when it is absent, written as null if it is null |
//! | neither | `Option<T>`, left out when it is `None` |
//! | `enum` | An enum with `as_str`, `FromStr` and `ALL` |
//! | `allOf` | One struct with all properties; those beside `allOf` win, then the last ones |
//! | `oneOf` | An untagged enum, `String` if all are texts, or any JSON value if one has no name |
//! | `additionalProperties: false` | A struct that refuses unknown fields |
//! | a property that leads back to its own type | `Box<T>` or `Option<Box<T>>` |
//! | `format: password` | A struct whose `Debug` shows no fields |

mod emit;
mod error;
mod recursion;
mod schema;
mod settings;

use serde_json::Value;

use crate::references;

pub use error::ServerTypesError;
pub use settings::Settings;

/// Generates the source of a module from `document` (YAML).
///
/// # Errors
/// The part that cannot be read or generated.
pub fn generate(document: &str, settings: &Settings) -> Result<String, ServerTypesError> {
    // The first step parses a plain value, since that reports duplicate keys with their position.
    let mut document: Value = serde_yaml::from_str(document)?;
    settings.refine(&mut document)?;
    references::check(&document)
        .map_err(|chain| ServerTypesError::CircularReference(references::chain_text(&chain)))?;
    let tokens = emit::Emitter::new(&document, settings).emit()?;
    settings.check()?;
    let mut file = syn::parse2(tokens).map_err(ServerTypesError::Syntax)?;
    recursion::box_recursive_fields(&mut file);
    Ok(prettyplease::unparse(&file))
}
