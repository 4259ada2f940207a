//! Errors of generating a server's types.

use serde_json::Value;

/// An error of generating a server's types. Its message is one line.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServerTypesError {
    /// The document is not valid YAML.
    #[error("the API document: {0}")]
    Document(#[from] serde_yaml::Error),
    /// A refinement changes a part that the document does not have.
    #[error("a refinement changes {0}, which the document does not have")]
    Refinement(String),
    /// A type is set for a part that the document does not have.
    #[error("a type is set for {0}, which the document does not have")]
    UnusedType(String),
    /// A reference names an unknown schema.
    #[error("the document has no schema {0}")]
    UnknownSchema(String),
    /// A reference leads back to itself, or a type without a name contains itself.
    #[error("the reference {0} leads back to itself (remove one of its parts)")]
    CircularReference(String),
    /// A property has no Rust type.
    #[error("{owner}.{property}: {source}")]
    Property {
        /// The schema or the operation of the property.
        owner: String,
        /// The property.
        property: String,
        /// The reason.
        source: Box<Self>,
    },
    /// A `oneOf` is empty.
    #[error("{0} has a `oneOf` without alternatives")]
    EmptyUnion(String),
    /// A value of an enumeration does not give a Rust name.
    #[error("{schema}: the value `{value}` does not give a Rust name")]
    ValueName {
        /// The enumeration.
        schema: String,
        /// The value.
        value: String,
    },
    /// A default cannot be written as Rust code.
    #[error("the default {0} cannot be written as Rust code")]
    Default(Value),
    /// A type of the settings is not a Rust type.
    #[error("`{rust}` is not a Rust type: {source}")]
    RustType {
        /// The text of the type.
        rust: String,
        /// The syntax error.
        source: syn::Error,
    },
    /// The generated code is invalid.
    #[error("the generated types are not valid Rust: {0}")]
    Syntax(#[source] syn::Error),
}
