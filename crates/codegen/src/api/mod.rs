//! Generates the HTTP client and its types from the API document, and the typed mock helpers of the tests.

pub mod transforms;

use std::fmt::Display;

use progenitor::{GenerationSettings, Generator, HooksMode, InterfaceStyle, TypeImpl};
use serde_json::Value;

/// The two generated sources.
pub struct Output {
    /// The module `contree::api`.
    pub client: String,
    /// Helpers that set up an httpmock server operation by operation.
    pub mocks: String,
}

/// Reads `document` (YAML) and generates the client; the error is one line for `cargo::error`.
pub fn generate(document: &str) -> Result<Output, String> {
    // Through a plain value, since it reports duplicate keys with their place.
    let mut document: Value =
        serde_yaml::from_str(document).map_err(|error| format!("openapi/contree.yaml: {error}"))?;
    transforms::apply(&mut document, transforms::CLIENT);
    let client = source(Generator::new(&settings("crate")).generate_tokens(&typed(&document)?))?;
    transforms::apply(&mut document, transforms::MOCKS);
    let mocks =
        source(Generator::new(&settings("::contree")).httpmock(&typed(&document)?, "contree"))?;
    Ok(Output { client, mocks })
}

/// `library` is how the generated code names this library: `crate` within it, `::contree` in tests.
fn settings(library: &str) -> GenerationSettings {
    let text = || [TypeImpl::Display, TypeImpl::FromStr].into_iter();
    let mut settings = GenerationSettings::new();
    settings
        .with_interface(InterfaceStyle::Builder)
        .with_inner_type(quote::quote!(crate::client::ClientState))
        .with_hooks(HooksMode::Expected)
        .with_derive("PartialEq")
        .with_map_type("::std::collections::BTreeMap")
        .with_replacement("UuidSchema", "::uuid::Uuid", text())
        .with_replacement("ImageSource", format!("{library}::ImageRef"), text())
        .with_replacement(
            "OperationStatus",
            format!("{library}::OperationStatus"),
            text(),
        )
        .with_replacement("OperationKind", format!("{library}::OperationKind"), text());
    settings
}

fn typed(document: &Value) -> Result<openapiv3::OpenAPI, String> {
    serde_json::from_value(document.clone())
        .map_err(|error| format!("openapi/contree.yaml, after its transforms: {error}"))
}

fn source(tokens: Result<impl quote::ToTokens, impl Display>) -> Result<String, String> {
    let tokens =
        tokens.map_err(|error| format!("openapi/contree.yaml: the client generator: {error}"))?;
    let file = syn::parse2(tokens.into_token_stream())
        .map_err(|error| format!("openapi/contree.yaml: the generated client: {error}"))?;
    Ok(prettyplease::unparse(&file))
}
