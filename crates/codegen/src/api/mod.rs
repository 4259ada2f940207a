//! Generates the HTTP client and its types from the API document, and the typed mock helpers of the
//! tests.
//!
//! The generator is progenitor. Its output is refined:
//!
//! - Every public item has documentation, which the document's descriptions provide if they exist.
//! - Enumerations keep unknown values, and objects ignore unknown properties. So a client can read
//!   the answers of a newer server.
//! - Structs and enumerations are `#[non_exhaustive]`; builders make the structs.
//! - Functions that no user can call are hidden.
//! - `Debug` does not show the values of secret properties.
//! - Every operation of the document has a function, or is named as omitted.

mod description;
mod error;
mod hidden;
mod operations;
mod refine;
mod settings;
pub mod transforms;

use std::panic::{AssertUnwindSafe, catch_unwind};

use progenitor::Generator;
use serde_json::Value;

pub use error::ClientError;
pub use settings::{Settings, Transform};

use crate::references;
use description::Description;

/// The two generated sources.
pub struct Output {
    /// The client and its types.
    pub client: String,
    /// Helpers that set up an httpmock server operation by operation.
    pub mocks: String,
}

/// Generates the client from a document in YAML.
///
/// # Errors
/// The part that cannot be read or generated, in one line for `cargo::error`.
pub fn generate(document: &str, settings: &Settings) -> Result<Output, ClientError> {
    let name = settings.document();
    // The first step parses a plain value, since that reports duplicate keys with their position.
    let mut document: Value =
        serde_yaml::from_str(document).map_err(|source| ClientError::Document {
            document: name.to_owned(),
            source: Box::new(source),
        })?;
    references::check(&document).map_err(|chain| ClientError::CircularReference {
        document: name.to_owned(),
        chain: references::chain_text(&chain),
    })?;
    let operations = operations::operations(name, &document)?;
    let description = Description::of(&document);

    transforms::apply(&mut document, settings.transforms());
    settings.check_replacements(&document)?;
    let mut generator = Generator::new(&settings.generation("crate")?);
    let parsed = parse_document(name, &document)?;
    let mut client = source(name, || generator.generate_tokens(&parsed))?;
    operations::check(name, &operations, &client, settings.omitted())?;
    hidden::check(name, &client.items, settings.hidden())?;
    hidden::hide(&mut client.items, settings.hidden());
    refine::refine(&mut client, &description, settings.has_state());

    transforms::apply(&mut document, settings.mock_transforms());
    let mut generator = Generator::new(&settings.generation(&format!("::{}", settings.library()))?);
    let parsed = parse_document(name, &document)?;
    let mocks = source(name, || generator.httpmock(&parsed, settings.library()))?;

    Ok(Output {
        client: prettyplease::unparse(&client),
        mocks: prettyplease::unparse(&mocks),
    })
}

fn parse_document(name: &str, document: &Value) -> Result<openapiv3::OpenAPI, ClientError> {
    serde_json::from_value(document.clone()).map_err(|source| ClientError::InvalidDocument {
        document: name.to_owned(),
        source,
    })
}

/// Runs the generator and parses its output.
///
/// The generator panics at parts of a document that it does not support. The panic becomes an
/// error, since a build script needs a message of one line.
fn source<T: quote::ToTokens>(
    name: &str,
    generate: impl FnOnce() -> Result<T, progenitor::Error>,
) -> Result<syn::File, ClientError> {
    let tokens = catch_unwind(AssertUnwindSafe(generate))
        .map_err(|panic| ClientError::Unsupported {
            document: name.to_owned(),
            message: panic_message(panic.as_ref()),
        })?
        .map_err(|source| ClientError::Generator {
            document: name.to_owned(),
            source: Box::new(source),
        })?;
    syn::parse2(tokens.into_token_stream()).map_err(|source| ClientError::Syntax {
        document: name.to_owned(),
        source,
    })
}

/// The message of a panic in one line.
fn panic_message(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("it gives no reason");
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
