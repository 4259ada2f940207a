//! Generates the HTTP client and its types from the API document, and the typed mock helpers of the
//! tests.

mod error;
mod hidden;
pub mod transforms;

pub use error::ClientError;

use progenitor::{GenerationSettings, Generator, HooksMode, InterfaceStyle, TypeImpl};
use serde_json::Value;

/// The two generated sources.
pub struct Output {
    /// The client and its types.
    pub client: String,
    /// Helpers that set up an httpmock server operation by operation.
    pub mocks: String,
}

/// The names of the project that the generated code and messages use.
#[derive(Clone, Copy, Debug)]
pub struct Settings<'a> {
    /// The path of the document, for messages.
    pub document: &'a str,
    /// The crate that contains the client, for the mock helpers.
    pub library: &'a str,
    /// The path of a client's state type within its crate. The crate implements the generator's
    /// hooks for it.
    pub inner_type: &'a str,
    /// Schemas that existing types replace, each with the path of the type. In the mock helpers,
    /// the name of the crate takes the place of `crate::`. Each type has `Display` and `FromStr`.
    pub replacements: &'a [(&'a str, &'a str)],
    /// Properties whose values `Debug` does not show, such as passwords.
    pub hidden: &'a [&'a str],
    /// Changes to the document before the client is generated.
    pub transforms: &'a [fn(&mut Value)],
    /// Further changes before the mock helpers are generated.
    pub mock_transforms: &'a [fn(&mut Value)],
}

/// Generates the client from a document in YAML.
///
/// # Errors
/// The part that cannot be read or generated, in one line for `cargo::error`.
pub fn generate(document: &str, settings: &Settings<'_>) -> Result<Output, ClientError> {
    let name = settings.document;
    // Parsed as a plain value first, since that reports duplicate keys with their position.
    let mut document: Value =
        serde_yaml::from_str(document).map_err(|source| ClientError::Document {
            document: name.to_owned(),
            source: Box::new(source),
        })?;
    transforms::apply(&mut document, settings.transforms);
    let mut generator = Generator::new(&generator_settings(settings, "crate")?);
    let client = source(
        name,
        generator.generate_tokens(&parse_document(name, &document)?),
        settings.hidden,
    )?;
    transforms::apply(&mut document, settings.mock_transforms);
    let mut generator = Generator::new(&generator_settings(
        settings,
        &format!("::{}", settings.library),
    )?);
    let mocks = generator.httpmock(&parse_document(name, &document)?, settings.library);
    let mocks = source(name, mocks, &[])?;
    Ok(Output { client, mocks })
}

/// The settings of the generator. `library` is the path of the client's crate in the generated
/// code: `crate` inside that crate, `::NAME` outside.
fn generator_settings(
    settings: &Settings<'_>,
    library: &str,
) -> Result<GenerationSettings, ClientError> {
    let inner_type: proc_macro2::TokenStream =
        settings
            .inner_type
            .parse()
            .map_err(|source| ClientError::InnerType {
                inner_type: settings.inner_type.to_owned(),
                source,
            })?;
    let mut generation = GenerationSettings::new();
    generation
        .with_interface(InterfaceStyle::Builder)
        .with_inner_type(inner_type)
        .with_hooks(HooksMode::Expected)
        .with_derive("PartialEq")
        .with_map_type("::std::collections::BTreeMap");
    for (schema, path) in settings.replacements {
        let path = match path.strip_prefix("crate::") {
            Some(path) => format!("{library}::{path}"),
            None => (*path).to_owned(),
        };
        let text = [TypeImpl::Display, TypeImpl::FromStr].into_iter();
        generation.with_replacement(*schema, path, text);
    }
    Ok(generation)
}

fn parse_document(name: &str, document: &Value) -> Result<openapiv3::OpenAPI, ClientError> {
    serde_json::from_value(document.clone()).map_err(|source| ClientError::InvalidDocument {
        document: name.to_owned(),
        source,
    })
}

fn source(
    name: &str,
    tokens: Result<impl quote::ToTokens, progenitor::Error>,
    hidden: &[&str],
) -> Result<String, ClientError> {
    let tokens = tokens.map_err(|source| ClientError::Generator {
        document: name.to_owned(),
        source: Box::new(source),
    })?;
    let mut file: syn::File =
        syn::parse2(tokens.into_token_stream()).map_err(|source| ClientError::Syntax {
            document: name.to_owned(),
            source,
        })?;
    hidden::hide(&mut file.items, hidden);
    Ok(prettyplease::unparse(&file))
}
