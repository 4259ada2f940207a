//! Generates the HTTP client and its types from the API document, and the typed mock helpers of the tests.

pub mod transforms;

use std::fmt::Display;

use progenitor::{GenerationSettings, Generator, HooksMode, InterfaceStyle, TypeImpl};
use serde_json::Value;

/// The two generated sources.
pub struct Output {
    /// The client and its types.
    pub client: String,
    /// Helpers that set up an httpmock server operation by operation.
    pub mocks: String,
}

/// What the generated code and messages say of the project around them.
#[derive(Clone, Copy, Debug)]
pub struct Settings<'a> {
    /// The path of the document, which messages name.
    pub document: &'a str,
    /// The crate that the client is a part of, which the mock helpers name.
    pub library: &'a str,
    /// The path of the state of a client, as its own crate names it. The crate implements the generator's hooks for it.
    pub inner_type: &'a str,
    /// Schemas that are types of the crate or of another: the schema, and the path of the type. A path that begins with
    /// `crate::` is named from without in the mock helpers. Each type has `Display` and `FromStr`.
    pub replacements: &'a [(&'a str, &'a str)],
    /// What is changed in the document before the client is generated.
    pub transforms: &'a [fn(&mut Value)],
    /// What is changed besides before the mock helpers are generated.
    pub mock_transforms: &'a [fn(&mut Value)],
}

/// Reads a document (YAML) and generates the client; the error is one line for `cargo::error`.
///
/// # Errors
/// Says what cannot be read or generated.
pub fn generate(document: &str, settings: &Settings<'_>) -> Result<Output, String> {
    let name = settings.document;
    // Through a plain value, since it reports duplicate keys with their place.
    let mut document: Value =
        serde_yaml::from_str(document).map_err(|error| format!("{name}: {error}"))?;
    transforms::apply(&mut document, settings.transforms);
    let mut generator = Generator::new(&generation(settings, "crate")?);
    let client = source(name, generator.generate_tokens(&typed(name, &document)?))?;
    transforms::apply(&mut document, settings.mock_transforms);
    let mut generator = Generator::new(&generation(settings, &format!("::{}", settings.library))?);
    let mocks = generator.httpmock(&typed(name, &document)?, settings.library);
    let mocks = source(name, mocks)?;
    Ok(Output { client, mocks })
}

/// `library` is how the generated code names the crate of the client: `crate` within it, `::NAME` without.
fn generation(settings: &Settings<'_>, library: &str) -> Result<GenerationSettings, String> {
    let inner_type: proc_macro2::TokenStream = settings
        .inner_type
        .parse()
        .map_err(|error| format!("`{}` is no type: {error}", settings.inner_type))?;
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

fn typed(name: &str, document: &Value) -> Result<openapiv3::OpenAPI, String> {
    serde_json::from_value(document.clone())
        .map_err(|error| format!("{name}, after its transforms: {error}"))
}

fn source(
    name: &str,
    tokens: Result<impl quote::ToTokens, impl Display>,
) -> Result<String, String> {
    let tokens = tokens.map_err(|error| format!("{name}: the client generator: {error}"))?;
    let file = syn::parse2(tokens.into_token_stream())
        .map_err(|error| format!("{name}: the generated client: {error}"))?;
    Ok(prettyplease::unparse(&file))
}
