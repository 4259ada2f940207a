//! Errors of the generation of a client.

/// An error of the generation of a client. Its message is one line.
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
    /// The state type of the settings is not a Rust type.
    #[error("`{inner_type}` is not a Rust type: {source}")]
    InnerType {
        /// The text of the type.
        inner_type: String,
        /// The syntax error.
        source: proc_macro2::LexError,
    },
    /// The generator does not support a part of the document.
    #[error("{document}: the client generator fails: {source}")]
    Generator {
        /// The path of the document.
        document: String,
        /// The error of the generator.
        source: Box<progenitor::Error>,
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
