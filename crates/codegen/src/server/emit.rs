//! Generates the Rust types.

use heck::{ToSnakeCase as _, ToUpperCamelCase as _};
use proc_macro2::{Ident, Span, TokenStream};
use quote::{format_ident, quote};
use serde_json::Value;

use super::error::ServerTypesError;
use super::schema::{self, Property, Schemas};
use super::settings::Settings;
use crate::expansion::Expansion;
use crate::markdown;

/// Generates the types of a document.
pub(super) struct Emitter<'a> {
    document: &'a Value,
    schemas: Schemas<'a>,
    settings: &'a Settings,
    types: TokenStream,
    /// The schemas whose types without a name are being written.
    expansion: Expansion,
}

/// The Rust type of a field, with its default.
struct Field {
    rust: TokenStream,
    /// The value of an absent field. Empty code stands for `Default::default()`.
    default: Option<TokenStream>,
}

impl<'a> Emitter<'a> {
    pub(super) fn new(document: &'a Value, settings: &'a Settings) -> Self {
        Self {
            document,
            schemas: Schemas(document),
            settings,
            types: TokenStream::new(),
            expansion: Expansion::default(),
        }
    }

    pub(super) fn emit(mut self) -> Result<TokenStream, ServerTypesError> {
        let schemas = self.schemas;
        for (name, schema) in schemas.all() {
            if self.settings.type_of_schema(name).is_some() {
                continue;
            }
            let merged = schemas.merged(schema)?;
            if merged["properties"].is_object() {
                self.emit_struct(name, &merged, &schema::properties(&merged))?;
            } else if merged["enum"].is_array() {
                self.emit_text_enum(name, &merged)?;
            } else if merged["oneOf"].is_array() {
                self.emit_untagged_enum(name, &merged)?;
            }
        }
        for (id, parameters) in schema::queries(self.document) {
            let name = format!("{}Query", id.to_upper_camel_case());
            let about = Value::from_iter([(
                "description".to_owned(),
                Value::from(format!("Query parameters of `{id}`.")),
            )]);
            self.emit_struct(&name, &about, &parameters)?;
        }
        Ok(self.types)
    }

    fn emit_struct(
        &mut self,
        name: &str,
        about: &Value,
        properties: &[Property],
    ) -> Result<(), ServerTypesError> {
        let ident = type_name(name);
        let (mut fields, mut defaults) = (TokenStream::new(), TokenStream::new());
        for property in properties {
            let (field, default) =
                self.field(name, property)
                    .map_err(|source| ServerTypesError::Property {
                        owner: name.to_owned(),
                        property: property.name.clone(),
                        source: Box::new(source),
                    })?;
            fields.extend(field);
            defaults.extend(default);
        }
        let doc = doc(about["description"].as_str());
        let strict =
            (about["additionalProperties"] == false).then(|| quote!(#[serde(deny_unknown_fields)]));
        let secret = properties
            .iter()
            .any(|property| property.schema["format"] == "password");
        // A secret must not appear in logs, so its type does not derive `Debug`.
        let derives = if secret {
            quote!(#[derive(Clone, PartialEq, serde::Serialize, serde::Deserialize)])
        } else {
            quote!(#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)])
        };
        self.types.extend(quote! {
            #doc #derives #strict
            pub struct #ident { #fields }
        });
        if secret {
            self.types.extend(quote! {
                impl std::fmt::Debug for #ident {
                    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                        f.debug_struct(#name).finish_non_exhaustive()
                    }
                }
            });
        }
        if !defaults.is_empty() {
            self.types.extend(quote!(impl #ident { #defaults }));
        }
        Ok(())
    }

    /// Generates a field, and the function that returns its default.
    fn field(
        &mut self,
        owner: &str,
        property: &Property,
    ) -> Result<(TokenStream, TokenStream), ServerTypesError> {
        let Field { rust, default } = self.field_type(owner, property)?;
        let ident = field_name(&property.name);
        let mut serde = Vec::new();
        if ident.to_string().trim_start_matches("r#") != property.name {
            let name = &property.name;
            serde.push(quote!(rename = #name));
        }
        let mut function = TokenStream::new();
        let nullable = self.is_nullable(&property.schema)?;
        let has_default = !property.schema["default"].is_null();
        let rust = match default {
            Some(default) if !nullable || has_default => {
                let (rust, default) = match (nullable, default.is_empty()) {
                    (false, _) => (rust, default),
                    (true, false) => (quote!(Option<#rust>), quote!(Some(#default))),
                    (true, true) => (quote!(Option<#rust>), quote!(Some(Default::default()))),
                };
                if default.is_empty() {
                    serde.push(quote!(default));
                } else {
                    let name = format_ident!("default_{}", property.name.to_snake_case());
                    let path = format!("{}::{name}", type_name(owner));
                    serde.push(quote!(default = #path));
                    let doc = format!(" The value if `{}` is left out.", property.name);
                    function = quote!(#[doc = #doc] pub fn #name() -> #rust { #default });
                }
                rust
            }
            _ if nullable => {
                serde.push(quote!(default));
                quote!(Option<#rust>)
            }
            _ if property.required => rust,
            _ => {
                serde.push(quote!(default, skip_serializing_if = "Option::is_none"));
                quote!(Option<#rust>)
            }
        };
        let doc = doc(property.description.as_deref());
        let serde = (!serde.is_empty()).then(|| quote!(#[serde(#(#serde),*)]));
        Ok((quote!(#doc #serde pub #ident: #rust,), function))
    }

    fn is_nullable(&self, schema: &Value) -> Result<bool, ServerTypesError> {
        // A keyword beside `$ref` counts too.
        Ok(self.schemas.merged(schema)?["nullable"] == true || schema["nullable"] == true)
    }

    /// The Rust type and the default of a property.
    fn field_type(&mut self, owner: &str, property: &Property) -> Result<Field, ServerTypesError> {
        let schema = &property.schema;
        let mut default = schema.get("default");
        if self.is_nullable(schema)? {
            // A default of null is that of any nullable property.
            default = default.filter(|default| !default.is_null());
        }
        if let Some(rust) = self.settings.type_of_property(owner, &property.name) {
            let default = default.map(|value| literal(value, false)).transpose()?;
            return Ok(Field {
                rust: parse_rust_type(rust)?,
                default,
            });
        }
        let is_flag = schema["enum"] == serde_json::json!(["", "0", "1"])
            || schema["allowEmptyValue"] == true;
        if let (Some(flag), true) = (self.settings.flag(), is_flag) {
            return Ok(Field {
                rust: parse_rust_type(flag)?,
                default: Some(TokenStream::new()),
            });
        }
        let name = format!(
            "{}{}",
            type_name(owner),
            property.name.to_upper_camel_case()
        );
        let rust = self.rust(&name, schema)?;
        let is_choice = self.schemas.merged(schema)?["enum"].is_array();
        let default = match default {
            Some(Value::String(value)) if is_choice => {
                let variant = format_ident!("{}", value.to_upper_camel_case());
                Some(quote!(#rust::#variant))
            }
            Some(value) => Some(literal(value, true)?),
            None if schema["type"] == "array" && owner.ends_with("Query") => {
                Some(TokenStream::new())
            }
            None => None,
        };
        Ok(Field { rust, default })
    }

    /// The Rust type of a schema. A type without its own name is called `name`.
    fn rust(&mut self, name: &str, schema: &Value) -> Result<TokenStream, ServerTypesError> {
        if let Some(of) = Schemas::reference(schema) {
            if let Some(rust) = self.settings.type_of_schema(of) {
                return parse_rust_type(rust);
            }
            let merged = self.schemas.merged(self.schemas.named(of)?)?;
            let is_type = merged["properties"].is_object() || merged["enum"].is_array();
            if is_type || merged["oneOf"].is_array() && self.union_type(of, &merged)?.is_none() {
                let ident = type_name(of);
                return Ok(quote!(#ident));
            }
        }
        let outer = self.expansion.clone();
        self.expansion = outer
            .enter(schema)
            .map_err(ServerTypesError::CircularReference)?;
        let merged = self.schemas.merged(schema)?;
        let rust = self.rust_without_name(name, &merged);
        self.expansion = outer;
        rust
    }

    /// The Rust type of a merged schema that has no type of its own yet.
    fn rust_without_name(
        &mut self,
        name: &str,
        merged: &Value,
    ) -> Result<TokenStream, ServerTypesError> {
        if merged["enum"].is_array() {
            self.emit_text_enum(name, merged)?;
            let ident = type_name(name);
            return Ok(quote!(#ident));
        }
        if merged["oneOf"].is_array() {
            return match self.union_type(name, merged)? {
                Some(rust) => Ok(rust),
                None => {
                    self.emit_untagged_enum(name, merged)?;
                    let ident = type_name(name);
                    Ok(quote!(#ident))
                }
            };
        }
        Ok(match merged["type"].as_str() {
            Some("boolean") => quote!(bool),
            Some("number") => quote!(f64),
            Some("integer") if merged["minimum"].as_i64().is_some_and(|least| least >= 0) => {
                quote!(u64)
            }
            Some("integer") => parse_rust_type(self.settings.integer())?,
            Some("string") if merged["format"] == "uuid" => quote!(uuid::Uuid),
            Some("string") => quote!(String),
            Some("array") => {
                let item = self.rust(&format!("{name}Item"), &merged["items"])?;
                quote!(Vec<#item>)
            }
            Some("object") if merged["properties"].is_object() => {
                self.emit_struct(name, merged, &schema::properties(merged))?;
                let ident = type_name(name);
                quote!(#ident)
            }
            Some("object") if merged["additionalProperties"].is_object() => {
                let value = &merged["additionalProperties"];
                let mut rust = self.rust(&format!("{name}Value"), value)?;
                if value["nullable"] == true {
                    rust = quote!(Option<#rust>);
                }
                quote!(std::collections::BTreeMap<String, #rust>)
            }
            _ => quote!(serde_json::Value),
        })
    }

    /// The type of a union that needs no enum: `String` if all alternatives are texts, any JSON
    /// value if one is neither named nor a scalar. `None` if the union needs an enum.
    fn union_type(
        &mut self,
        name: &str,
        merged: &Value,
    ) -> Result<Option<TokenStream>, ServerTypesError> {
        let parts = merged["oneOf"].as_array().cloned().unwrap_or_default();
        let mut texts = true;
        for part in &parts {
            let kind = self.schemas.merged(part)?;
            let named = Schemas::reference(part).is_some();
            texts &= kind["type"] == "string" && kind["enum"].is_null();
            let scalar = ["string", "integer", "number", "boolean"]
                .iter()
                .any(|scalar| kind["type"] == *scalar);
            if !named && !scalar {
                return Ok(Some(quote!(serde_json::Value)));
            }
        }
        if parts.is_empty() {
            return Err(ServerTypesError::EmptyUnion(name.to_owned()));
        }
        Ok(texts.then(|| quote!(String)))
    }

    /// Generates an untagged enum.
    fn emit_untagged_enum(&mut self, name: &str, merged: &Value) -> Result<(), ServerTypesError> {
        if self.union_type(name, merged)?.is_some() {
            return Ok(());
        }
        let ident = type_name(name);
        let doc = doc(merged["description"].as_str());
        let mut variants = TokenStream::new();
        for part in merged["oneOf"].as_array().into_iter().flatten() {
            let variant_name = match Schemas::reference(part) {
                Some(of) => of.to_upper_camel_case(),
                None => part["type"]
                    .as_str()
                    .unwrap_or_default()
                    .to_upper_camel_case(),
            };
            let rust = self.rust(&format!("{name}{variant_name}"), part)?;
            let (variant, about) = (
                format_ident!("{variant_name}"),
                format!(" A `{variant_name}`."),
            );
            variants.extend(quote!(#[doc = #about] #variant(#rust),));
        }
        self.types.extend(quote! {
            #doc
            #[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
            #[serde(untagged)]
            pub enum #ident { #variants }
        });
        Ok(())
    }

    /// Generates an enum of texts.
    fn emit_text_enum(&mut self, name: &str, merged: &Value) -> Result<(), ServerTypesError> {
        let ident = type_name(name);
        let doc = doc(merged["description"].as_str());
        let values = merged["enum"].as_array().into_iter().flatten();
        let values: Vec<&str> = values.filter_map(Value::as_str).collect();
        let mut variants = Vec::new();
        for value in &values {
            let variant = value.to_upper_camel_case();
            if syn::parse_str::<Ident>(&variant).is_err() {
                return Err(ServerTypesError::ValueName {
                    schema: name.to_owned(),
                    value: (*value).to_owned(),
                });
            }
            variants.push(format_ident!("{variant}"));
        }
        let docs = values.iter().map(|value| format!(" `{value}`."));
        self.types.extend(quote! {
            #doc
            #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
            pub enum #ident { #(#[doc = #docs] #[serde(rename = #values)] #variants),* }
            impl #ident {
                /// All values, in the order of the API document.
                pub const ALL: &'static [Self] = &[#(Self::#variants),*];

                /// The value as the API spells it.
                pub const fn as_str(self) -> &'static str {
                    match self { #(Self::#variants => #values),* }
                }
            }
            impl std::fmt::Display for #ident {
                fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                    f.pad(self.as_str())
                }
            }
            impl std::str::FromStr for #ident {
                type Err = ();

                fn from_str(text: &str) -> Result<Self, ()> {
                    match text { #(#values => Ok(Self::#variants),)* _ => Err(()) }
                }
            }
        });
        Ok(())
    }
}

/// A default as Rust code, which is empty if `Default` returns the same value.
fn literal(value: &Value, allow_text: bool) -> Result<TokenStream, ServerTypesError> {
    let is_rust_default = match value {
        Value::Bool(value) => !value,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(map) => map.is_empty(),
        Value::Null => false,
    };
    if is_rust_default {
        return Ok(TokenStream::new());
    }
    match value {
        Value::Bool(value) => Ok(quote!(#value)),
        Value::Number(number) => number
            .to_string()
            .parse()
            .map_err(|_| ServerTypesError::Default(value.clone())),
        Value::String(text) if allow_text => Ok(quote!(#text.to_owned())),
        other => Err(ServerTypesError::Default(other.clone())),
    }
}

fn doc(text: Option<&str>) -> TokenStream {
    let lines = markdown::lines(text.unwrap_or_default().trim());
    let lines = lines.iter().map(|line| format!(" {line}"));
    quote!(#(#[doc = #lines])*)
}

fn parse_rust_type(rust: &str) -> Result<TokenStream, ServerTypesError> {
    syn::parse_str::<syn::Type>(rust)
        .map(|rust| quote!(#rust))
        .map_err(|source| ServerTypesError::RustType {
            rust: rust.to_owned(),
            source,
        })
}

fn type_name(name: &str) -> Ident {
    // The case stays as in the document, since a change would spell acronyms differently.
    Ident::new(&name.replace(['-', '.'], "_"), Span::call_site())
}

fn field_name(name: &str) -> Ident {
    let snake = name.to_snake_case();
    syn::parse_str::<Ident>(&snake).unwrap_or_else(|_| Ident::new_raw(&snake, Span::call_site()))
}
