//! Documentation of the generated items.

use std::collections::BTreeMap;

use syn::{
    Attribute, Expr, Field, Fields, File, Ident, ImplItem, ImplItemFn, Item, ItemEnum, ItemImpl,
    ItemStruct, LitStr, Token, Visibility, parse_quote,
};

use super::{contents, doc_line, doc_text, self_name};
use crate::api::description::Description;
use crate::markdown;

/// The documentation of properties, by the names of the type and the field.
type Properties = BTreeMap<(String, String), String>;

/// Documents every public item of a generated client that has no documentation.
pub(super) fn document(file: &mut File, description: &Description) {
    for item in &mut file.items {
        match item {
            Item::Mod(module) if module.ident == "types" => {
                document_types(contents(module), description);
            }
            Item::Mod(module) if module.ident == "builder" => {
                for item in contents(module) {
                    document_request(item, description);
                }
            }
            Item::Struct(item) => render(&mut item.attrs),
            Item::Impl(item) if item.trait_.is_none() => {
                for function in functions_of(item) {
                    render(&mut function.attrs);
                }
            }
            _ => {}
        }
    }
}

fn document_types(items: &mut [Item], description: &Description) {
    let mut properties = Properties::new();
    for item in items.iter_mut() {
        match item {
            Item::Struct(item) => document_struct(item, description, &mut properties),
            Item::Enum(item) => document_enum(item, description),
            Item::Impl(item) if item.trait_.is_none() => {
                let name = self_name(item).unwrap_or_default();
                for function in functions_of(item) {
                    let about = format!("Returns a builder of [`{name}`].");
                    set_missing(&mut function.attrs, || about);
                }
            }
            _ => {}
        }
    }
    for item in items {
        if let Item::Mod(module) = item
            && module.ident == "builder"
        {
            for item in contents(module) {
                document_builder(item, &properties);
            }
        }
    }
}

fn document_struct(item: &mut ItemStruct, description: &Description, properties: &mut Properties) {
    let name = item.ident.to_string();
    document_type(&mut item.attrs, &name, description);
    let Fields::Named(fields) = &mut item.fields else {
        return;
    };
    for field in &mut fields.named {
        let Some(ident) = field.ident.as_ref().map(Ident::to_string) else {
            continue;
        };
        let property = wire_name(field, &ident);
        set_missing(&mut field.attrs, || {
            description
                .property(&name, &property)
                .unwrap_or_else(|| format!("The property `{property}`."))
        });
        render(&mut field.attrs);
        if let Some(text) = doc_text(&field.attrs) {
            properties.insert((name.clone(), ident), text);
        }
    }
}

fn document_enum(item: &mut ItemEnum, description: &Description) {
    let name = item.ident.to_string();
    document_type(&mut item.attrs, &name, description);
    for variant in &mut item.variants {
        let about = match variant.fields.iter().next().map(|field| &field.ty) {
            Some(inner) => format!("A value of the type `{}`.", type_name(inner)),
            None => format!("The value `{}`.", renamed(&variant.attrs, &variant.ident)),
        };
        set_missing(&mut variant.attrs, || about);
    }
}

/// Documents a type. If its schema has no description, the generator has written only its name.
fn document_type(attributes: &mut Vec<Attribute>, name: &str, description: &Description) {
    let placeholder = format!("`{name}`");
    let has_text = doc_text(attributes).is_some_and(|text| text.trim() != placeholder);
    if !has_text {
        attributes.retain(|attribute| doc_line(attribute).is_none());
        set_missing(attributes, || {
            description
                .schema(name)
                .unwrap_or_else(|| format!("The type `{name}` of the API."))
        });
    }
    render(attributes);
}

fn document_builder(item: &mut Item, properties: &Properties) {
    match item {
        Item::Struct(item) => {
            let about = format!("A builder of [`{0}`](super::{0}).", item.ident);
            set_missing(&mut item.attrs, || about);
        }
        Item::Impl(item) if item.trait_.is_none() => {
            let name = self_name(item).unwrap_or_default();
            for function in functions_of(item) {
                let setter = function.sig.ident.to_string();
                let text = properties.get(&(name.clone(), setter.clone())).cloned();
                set_missing(&mut function.attrs, || {
                    text.unwrap_or_else(|| format!("Sets `{setter}`."))
                });
            }
        }
        _ => {}
    }
}

/// Documents the request of an operation: its type, its setters and `send`.
fn document_request(item: &mut Item, description: &Description) {
    match item {
        Item::Struct(item) => {
            let function = client_function(&item.ident, &item.attrs);
            if let Some(summary) = description.summary(&function) {
                let link = format!("[`Client::{function}`](super::Client::{function})");
                item.attrs.retain(|attribute| doc_line(attribute).is_none());
                let about = format!("{summary}: the request that {link} makes.");
                set_missing(&mut item.attrs, || about);
            }
        }
        Item::Impl(item) if item.trait_.is_none() => {
            let name = self_name(item).unwrap_or_default();
            for function in functions_of(item) {
                let setter = function.sig.ident.to_string();
                if setter == "send" {
                    let errors = errors(description, &name);
                    let text = doc_text(&function.attrs).unwrap_or_default();
                    function
                        .attrs
                        .retain(|attribute| doc_line(attribute).is_none());
                    let text = format!("{}.\n\n{errors}", text.trim().trim_end_matches('.'));
                    set_missing(&mut function.attrs, || text);
                } else {
                    set_missing(&mut function.attrs, || {
                        setter_text(description, &name, &setter)
                    });
                }
            }
        }
        _ => {}
    }
}

/// The documentation of a setter of a request.
fn setter_text(description: &Description, request: &str, setter: &str) -> String {
    if let Some(text) = description.parameter(request, setter) {
        return text;
    }
    let body = || description.body(request).unwrap_or_default();
    match setter {
        "body" => format!("Sets the body of the request.\n\n{}", body()),
        "body_map" => format!("Changes the body of the request.\n\n{}", body()),
        _ => format!("Sets `{setter}`."),
    }
}

/// The section about the errors of a request.
fn errors(description: &Description, request: &str) -> String {
    let mut text =
        "# Errors\n\nAn error if a parameter is missing or invalid, if no usable answer \
                    arrives, or if the server refuses the request"
            .to_owned();
    let statuses = description.errors(request);
    if statuses.is_empty() {
        text.push('.');
        return text;
    }
    text.push_str(" with one of these statuses:\n\n");
    for (status, about) in statuses {
        text.push_str(&format!("- {status}: {about}\n"));
    }
    text
}

/// The function of the client that makes a request. The generator's documentation links to it.
fn client_function(request: &Ident, attributes: &[Attribute]) -> String {
    let text = doc_text(attributes).unwrap_or_default();
    let function = text
        .split_once("Client::")
        .and_then(|(_, rest)| rest.split(['`', ']']).next());
    function.map_or_else(|| request.to_string(), str::to_owned)
}

/// The public functions of an `impl` block.
fn functions_of(item: &mut ItemImpl) -> impl Iterator<Item = &mut ImplItemFn> {
    item.items.iter_mut().filter_map(|item| match item {
        ImplItem::Fn(function) if matches!(function.vis, Visibility::Public(_)) => Some(function),
        _ => None,
    })
}

/// The name of a field in JSON.
fn wire_name(field: &Field, ident: &str) -> String {
    rename(&field.attrs).unwrap_or_else(|| ident.trim_start_matches("r#").to_owned())
}

/// The name of a variant in JSON.
pub(super) fn renamed(attributes: &[Attribute], ident: &Ident) -> String {
    rename(attributes).unwrap_or_else(|| ident.to_string())
}

/// The text of `#[serde(rename = "…")]`.
fn rename(attributes: &[Attribute]) -> Option<String> {
    let mut name = None;
    for attribute in attributes {
        if !attribute.path().is_ident("serde") {
            continue;
        }
        // An argument that cannot be parsed does not rename.
        let _ = attribute.parse_nested_meta(|argument| {
            if argument.path.is_ident("rename") {
                name = Some(argument.value()?.parse::<LitStr>()?.value());
            } else if argument.input.peek(Token![=]) {
                argument.value()?.parse::<Expr>()?;
            }
            Ok(())
        });
    }
    name
}

/// The last name in the path of a type.
fn type_name(of: &syn::Type) -> String {
    match of {
        syn::Type::Path(path) => path
            .path
            .segments
            .last()
            .map_or_else(String::new, |segment| segment.ident.to_string()),
        other => quote::quote!(#other).to_string(),
    }
}

/// Gives an item the documentation `text`, unless it has one.
fn set_missing(attributes: &mut Vec<Attribute>, text: impl FnOnce() -> String) {
    if doc_text(attributes).is_none() {
        let rest = std::mem::take(attributes);
        *attributes = doc_attributes(&text());
        attributes.extend(rest);
    }
}

/// Rewrites the documentation of an item, so that rustdoc renders its code but does not test it.
fn render(attributes: &mut Vec<Attribute>) {
    if let Some(text) = doc_text(attributes) {
        attributes.retain(|attribute| doc_line(attribute).is_none());
        let rest = std::mem::take(attributes);
        *attributes = doc_attributes(&text);
        attributes.extend(rest);
    }
}

fn doc_attributes(text: &str) -> Vec<Attribute> {
    let lines = markdown::lines(text);
    lines
        .iter()
        .map(|line| {
            let line = if line.is_empty() {
                String::new()
            } else {
                format!(" {line}")
            };
            parse_quote!(#[doc = #line])
        })
        .collect()
}
