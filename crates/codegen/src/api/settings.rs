//! The settings of a generated client.

use progenitor::{GenerationSettings, HooksMode, InterfaceStyle, TypeImpl};
use serde_json::Value;

use super::{description::normalise, error::ClientError};

/// A change of the document, such as those in [`transforms`](super::transforms).
pub type Transform = fn(&mut Value);

/// The settings of a generated client: the choices that the document leaves open.
///
/// Only the names of the document and of the crate are necessary. The methods that begin with
/// `with_` and `without_` are options.
#[derive(Clone, Debug)]
pub struct Settings {
    document: String,
    library: String,
    state: Option<String>,
    replacements: Vec<(String, String)>,
    transforms: Vec<Transform>,
    mock_transforms: Vec<Transform>,
    omitted: Vec<String>,
    hidden: Vec<String>,
}

impl Settings {
    /// Creates the settings of a client without state, whose document is used as it is.
    ///
    /// `document` is the path of the document, for messages. `library` is the name of the crate
    /// that contains the client, for the mock helpers.
    #[must_use]
    pub fn new(document: &str, library: &str) -> Self {
        Self {
            document: document.to_owned(),
            library: library.to_owned(),
            state: None,
            replacements: Vec::new(),
            transforms: Vec::new(),
            mock_transforms: Vec::new(),
            omitted: Vec::new(),
            hidden: Vec::new(),
        }
    }

    /// Sets the type of a client's state, by its path within the client's crate.
    ///
    /// The crate implements `progenitor_client::ClientHooks` with this type for the client, to add
    /// credentials or retries. Only that crate makes clients, with `Client::new_with_client`.
    /// Without a state, `Client::new` is public, and the crate implements nothing.
    #[must_use]
    pub fn with_state(mut self, path: &str) -> Self {
        self.state = Some(path.to_owned());
        self
    }

    /// Replaces a schema with a Rust type. `path` is the path of the type: `crate::…` within the
    /// client's crate, or `::…` within a dependency.
    ///
    /// The type has the traits of serde, `Clone`, `Debug`, `PartialEq`, `Display` and `FromStr`.
    #[must_use]
    pub fn with_replacement(mut self, schema: &str, path: &str) -> Self {
        self.replacements.push((schema.to_owned(), path.to_owned()));
        self
    }

    /// Adds changes of the document, which are applied in order before the client is generated.
    #[must_use]
    pub fn with_transforms(mut self, transforms: &[Transform]) -> Self {
        self.transforms.extend_from_slice(transforms);
        self
    }

    /// Adds further changes of the document, for the mock helpers alone.
    #[must_use]
    pub fn with_mock_transforms(mut self, transforms: &[Transform]) -> Self {
        self.mock_transforms.extend_from_slice(transforms);
        self
    }

    /// Omits an operation, by its `operationId`: the client need not have a function for it.
    ///
    /// Any other operation of the document without a function is an error. So is an omitted
    /// operation that the document does not have, or for which the client has a function.
    #[must_use]
    pub fn without_operation(mut self, id: &str) -> Self {
        self.omitted.push(id.to_owned());
        self
    }

    /// Hides the value of a property, such as a password, from `Debug` in every type that has it.
    ///
    /// `property` is the name in JSON or the name of the Rust field. A property that no type has is
    /// an error.
    #[must_use]
    pub fn with_hidden(mut self, property: &str) -> Self {
        self.hidden.push(property.to_owned());
        self
    }

    pub(super) fn document(&self) -> &str {
        &self.document
    }

    pub(super) fn library(&self) -> &str {
        &self.library
    }

    pub(super) fn has_state(&self) -> bool {
        self.state.is_some()
    }

    pub(super) fn transforms(&self) -> &[Transform] {
        &self.transforms
    }

    pub(super) fn mock_transforms(&self) -> &[Transform] {
        &self.mock_transforms
    }

    pub(super) fn omitted(&self) -> &[String] {
        &self.omitted
    }

    pub(super) fn hidden(&self) -> &[String] {
        &self.hidden
    }

    /// Checks that every replaced schema exists in the document that the generator reads.
    pub(super) fn check_replacements(&self, document: &Value) -> Result<(), ClientError> {
        let schemas = document["components"]["schemas"].as_object();
        let names: Vec<String> = schemas
            .into_iter()
            .flatten()
            .map(|(name, _)| normalise(name))
            .collect();
        let unused = self
            .replacements
            .iter()
            .find(|(schema, _)| !names.contains(&normalise(schema)));
        match unused {
            Some((schema, _)) => Err(ClientError::UnusedReplacement {
                document: self.document.clone(),
                schema: schema.clone(),
            }),
            None => Ok(()),
        }
    }

    /// The settings of the generator. `library` is the path of the client's crate in the generated
    /// code: `crate` inside that crate, `::NAME` outside.
    pub(super) fn generation(&self, library: &str) -> Result<GenerationSettings, ClientError> {
        let mut generation = GenerationSettings::new();
        generation
            .with_interface(InterfaceStyle::Builder)
            .with_derive("PartialEq")
            .with_map_type("::std::collections::BTreeMap");
        if let Some(state) = &self.state {
            let path: syn::Type = self.parse("state", state)?;
            generation
                .with_inner_type(quote::quote!(#path))
                .with_hooks(HooksMode::Expected);
        }
        for (schema, path) in &self.replacements {
            // The generator would panic at an invalid path.
            let _: syn::TypePath = self.parse("replacement", path)?;
            let path = match path.strip_prefix("crate::") {
                Some(path) => format!("{library}::{path}"),
                None => path.clone(),
            };
            let text = [TypeImpl::Display, TypeImpl::FromStr].into_iter();
            generation.with_replacement(schema, path, text);
        }
        Ok(generation)
    }

    /// Parses the Rust type of an option.
    fn parse<T: syn::parse::Parse>(
        &self,
        option: &'static str,
        text: &str,
    ) -> Result<T, ClientError> {
        syn::parse_str(text).map_err(|source| ClientError::Type {
            document: self.document.clone(),
            option,
            text: text.to_owned(),
            source,
        })
    }
}
