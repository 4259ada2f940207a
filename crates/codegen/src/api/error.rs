//! Errors of generating a client.

/// An error of generating a client. Its message is one line.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// The document is not valid YAML.
    #[error("{document}: {source}")]
    Document {
        /// The path of the document.
        document: String,
        /// The syntax error.
        source: Box<serde_yaml::Error>,
    },
    /// The document is not valid OpenAPI after the transforms.
    #[error("{document} is not valid OpenAPI after its transforms: {source}")]
    InvalidDocument {
        /// The path of the document.
        document: String,
        /// The mistake.
        source: serde_json::Error,
    },
    /// The type of an option is not a Rust type.
    #[error("{document}: the {option} `{text}` is not a Rust type: {source}")]
    Type {
        /// The path of the document.
        document: String,
        /// The option.
        option: &'static str,
        /// The text of the type.
        text: String,
        /// The syntax error.
        source: syn::Error,
    },
    /// A reference of the document leads back to itself.
    #[error("{document}: the reference {chain} leads back to itself; remove one of its parts")]
    CircularReference {
        /// The path of the document.
        document: String,
        /// The references from the first one to itself.
        chain: String,
    },
    /// No generated type has a hidden property, so its value would not be hidden.
    #[error(
        "{document}: no type has the property `{property}` of `with_hidden`; correct it, or remove \
         it. The properties are {}",
        .known.join(", ")
    )]
    UnusedHidden {
        /// The path of the document.
        document: String,
        /// The property.
        property: String,
        /// The fields of the generated types.
        known: Vec<String>,
    },
    /// A replaced schema does not exist, so the replacement would have no effect.
    #[error("{document} has no schema `{schema}` to replace; remove the replacement")]
    UnusedReplacement {
        /// The path of the document.
        document: String,
        /// The name of the schema.
        schema: String,
    },
    /// The document has an entry below `paths` from which no function can be generated.
    #[error("{document}: {place}: {problem}")]
    Operation {
        /// The path of the document.
        document: String,
        /// The path of the API, with the method if there is one.
        place: String,
        /// The mistake and its remedy.
        problem: String,
    },
    /// The client has no function for operations of the document.
    #[error(
        "{document}: the client has no function for {}; a transform removes them, or the generator \
         does not support them: change the transform, or name them in `without_operation`",
        .operations.join(", ")
    )]
    MissingOperations {
        /// The path of the document.
        document: String,
        /// The operations, each with its method and path.
        operations: Vec<String>,
    },
    /// The document lacks an omitted operation, or the client has a function for it.
    #[error("{document}: `without_operation(\"{operation}\")` has no effect: {why}")]
    UselessOmission {
        /// The path of the document.
        document: String,
        /// The operation.
        operation: String,
        /// The reason.
        why: &'static str,
    },
    /// The generator returned an error.
    #[error("{document}: the client generator failed: {source}")]
    Generator {
        /// The path of the document.
        document: String,
        /// The error of the generator.
        source: Box<progenitor::Error>,
    },
    /// The generator panicked at a part of the document that it does not support.
    #[error(
        "{document}: the client generator does not support a part of the document: {message}; \
         change that part with a transform"
    )]
    Unsupported {
        /// The path of the document.
        document: String,
        /// The message of the generator.
        message: String,
    },
    /// The generated code is invalid.
    #[error("{document}: the generated client is not valid Rust: {source}")]
    Syntax {
        /// The path of the document.
        document: String,
        /// The syntax error.
        source: syn::Error,
    },
}
