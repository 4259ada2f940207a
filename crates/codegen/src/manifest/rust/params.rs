//! The parameter structs, and an enum for each argument with choices.

use heck::ToUpperCamelCase;
use proc_macro2::{Ident, TokenStream};
use quote::{format_ident, quote};
use serde_json::Value;

use super::super::resolve::{Param, Tool};
use super::super::shape::Shape;
use super::super::texts::RenderedTexts;
use super::{doc_text, type_name};

/// The struct with the arguments of a tool, and the enums in it.
pub(super) fn declare(tool: &Tool, texts: &RenderedTexts) -> TokenStream {
    let name = type_name(tool);
    let enums = tool.params.iter().filter_map(|param| choices(tool, param));
    let fields = tool.params.iter().map(|param| {
        let (field, doc) = (
            field_name(param),
            doc_text(texts.param(&tool.name, &param.name)),
        );
        let kind = rust_type(tool, param);
        let default = (is_collection(&param.shape) && !always_has_value(param))
            .then(|| quote!(#[serde(default)]));
        quote! {
            #[doc = #doc]
            #default
            pub #field: #kind
        }
    });
    let doc = format!(" The arguments of `{}`.", tool.name);
    quote! {
        #[doc = #doc]
        #[derive(Clone, Debug, PartialEq, ::serde::Deserialize)]
        pub struct #name {
            #(#fields),*
        }

        #(#enums)*
    }
}

/// The field of the struct that holds an argument.
pub(super) fn field_name(param: &Param) -> Ident {
    match syn::parse_str::<Ident>(&param.name) {
        Ok(name) => name,
        Err(_) => format_ident!("r#{}", param.name),
    }
}

/// Whether the argument always has a value after normalisation.
pub(super) fn always_has_value(param: &Param) -> bool {
    param.required || param.shape.default.is_some()
}

pub(super) fn is_collection(shape: &Shape) -> bool {
    shape.items.is_some() || shape.additional_properties.is_some()
}

/// The enum of an argument with choices.
fn choices(tool: &Tool, param: &Param) -> Option<TokenStream> {
    let variants = variants(innermost(&param.shape))?;
    let name = choices_name(tool, param);
    let doc = format!(" The choices of `{}` of `{}`.", param.name, tool.name);
    let arms = variants
        .iter()
        .map(|(variant, value)| quote!(Self::#variant => #value));
    let declared = variants.iter().map(|(variant, value)| {
        let doc = format!(" `{value}`");
        quote! {
            #[doc = #doc]
            #[serde(rename = #value)]
            #variant
        }
    });
    Some(quote! {
        #[doc = #doc]
        #[derive(Clone, Copy, Debug, PartialEq, Eq, ::serde::Deserialize)]
        pub enum #name {
            #(#declared),*
        }

        impl #name {
            /// The choice as clients write it.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    #(#arms),*
                }
            }
        }

        impl ::std::fmt::Display for #name {
            fn fmt(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
                f.write_str(self.as_str())
            }
        }
    })
}

fn choices_name(tool: &Tool, param: &Param) -> Ident {
    format_ident!(
        "{}{}",
        tool.name.to_upper_camel_case(),
        param.name.to_upper_camel_case()
    )
}

/// The innermost element type of a list or map, or the shape itself.
fn innermost(shape: &Shape) -> &Shape {
    let inner = shape
        .items
        .as_ref()
        .or(shape.additional_properties.as_ref());
    inner.map_or(shape, |inner| innermost(inner))
}

/// The choices of a text as variants of an enum. `None` unless each becomes a different Rust name.
fn variants(shape: &Shape) -> Option<Vec<(Ident, &str)>> {
    let choices = shape.choices.as_ref()?;
    let variant = |choice: &'_ Value| -> Option<Ident> {
        let name = choice.as_str()?.to_upper_camel_case();
        syn::parse_str(&name).ok()
    };
    let mut variants: Vec<(Ident, &str)> = Vec::new();
    for choice in choices {
        let (name, value) = (variant(choice)?, choice.as_str()?);
        if variants.iter().any(|(taken, _)| *taken == name) {
            return None;
        }
        variants.push((name, value));
    }
    Some(variants)
}

/// Whether an argument itself is an enum.
pub(super) fn is_enum(param: &Param) -> bool {
    !is_collection(&param.shape) && variants(&param.shape).is_some()
}

fn rust_type(tool: &Tool, param: &Param) -> TokenStream {
    let kind = shape_type(tool, param, &param.shape);
    if always_has_value(param) || is_collection(&param.shape) {
        kind
    } else {
        quote!(::std::option::Option<#kind>)
    }
}

fn shape_type(tool: &Tool, param: &Param, shape: &Shape) -> TokenStream {
    if let Some(items) = &shape.items {
        let item = shape_type(tool, param, items);
        return quote!(::std::vec::Vec<#item>);
    }
    if let Some(values) = &shape.additional_properties {
        let value = shape_type(tool, param, values);
        let value = if param.null_values && std::ptr::eq(shape, &param.shape) {
            quote!(::std::option::Option<#value>)
        } else {
            value
        };
        return quote!(::indexmap::IndexMap<::std::string::String, #value>);
    }
    let least = shape.minimum.as_ref().and_then(Value::as_f64);
    match (shape.kind.as_str(), shape.format.as_deref()) {
        ("string", _) if variants(shape).is_some() => {
            let name = choices_name(tool, param);
            quote!(#name)
        }
        ("string", Some("uuid")) => quote!(::uuid::Uuid),
        ("integer", _) if least.is_some_and(|least| least >= 0.0) => quote!(u64),
        ("integer", _) => quote!(i64),
        ("number", _) => quote!(f64),
        ("boolean", _) => quote!(bool),
        _ => quote!(::std::string::String),
    }
}
