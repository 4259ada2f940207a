//! Opens enumerations, so that a client can read answers with values that a newer server adds.

use std::collections::{BTreeMap, BTreeSet};

use proc_macro2::TokenStream;
use quote::{format_ident, quote};
use syn::{Attribute, Fields, Item, ItemEnum, Meta, parse_quote};

use super::{docs::renamed, self_name};

/// Possible names for the variant of unknown values. The first free one is used.
const OTHER: [&str; 3] = ["Other", "Unknown", "UnknownValue"];

/// Gives every enumeration a variant for unknown values.
pub(super) fn open(items: &mut Vec<Item>) {
    // A generated `Display` matches all variants, so an untagged enumeration with one stays closed.
    let displayed: BTreeSet<String> = items
        .iter()
        .filter(|item| implements(item, &["Display"]))
        .filter_map(|item| match item {
            Item::Impl(item) => self_name(item),
            _ => None,
        })
        .collect();
    let mut opened = BTreeMap::new();
    for item in items.iter_mut() {
        let Item::Enum(item) = item else { continue };
        if is_text(item) {
            opened.insert(item.ident.to_string(), open_text(item));
        } else if is_untagged(item) && !displayed.contains(&item.ident.to_string()) {
            open_untagged(item);
        }
    }
    items.retain(|item| !is_replaced(item, &opened));
    let implementations = opened.into_values().flatten();
    items.extend(implementations.map(|tokens| parse_quote!(#tokens)));
}

/// Whether all values of an enumeration are texts.
fn is_text(item: &ItemEnum) -> bool {
    !item.variants.is_empty()
        && derives(&item.attrs).contains("Serialize")
        && item
            .variants
            .iter()
            .all(|variant| matches!(variant.fields, Fields::Unit))
}

/// Whether an enumeration has one variant for each of several schemas.
fn is_untagged(item: &ItemEnum) -> bool {
    item.attrs.iter().any(|attribute| {
        attribute.path().is_ident("serde")
            && attribute
                .parse_args::<syn::Ident>()
                .is_ok_and(|argument| argument == "untagged")
    })
}

/// Adds a variant for any other JSON value.
fn open_untagged(item: &mut ItemEnum) {
    let all_values = item.variants.iter().any(|variant| {
        let mut fields = variant.fields.iter();
        fields.any(|field| {
            let of = &field.ty;
            quote!(#of).to_string().ends_with(":: Value")
        })
    });
    // Ordering and `Copy` are impossible with a JSON value.
    let derived = derives(&item.attrs);
    if all_values
        || ["Ord", "Copy", "Default"]
            .iter()
            .any(|name| derived.contains(name))
    {
        return;
    }
    let other = format_ident!("{}", free_name(item));
    item.variants.push(parse_quote! {
        #[doc = " Another value, which this version does not know."]
        #other(::serde_json::Value)
    });
}

/// Adds a variant for any other text. Returns the implementations that replace the generated ones.
fn open_text(item: &mut ItemEnum) -> Vec<TokenStream> {
    let name = &item.ident;
    let other = format_ident!("{}", free_name(item));
    let idents: Vec<_> = item.variants.iter().map(|variant| &variant.ident).collect();
    let texts: Vec<String> = item
        .variants
        .iter()
        .map(|variant| renamed(&variant.attrs, &variant.ident))
        .collect();
    let implementations = vec![
        quote! {
            impl #name {
                /// The value as the API spells it.
                pub fn as_str(&self) -> &str {
                    match self {
                        #(Self::#idents => #texts,)*
                        Self::#other(text) => text,
                    }
                }
            }
        },
        quote! {
            impl ::std::convert::From<&str> for #name {
                fn from(text: &str) -> Self {
                    match text {
                        #(#texts => Self::#idents,)*
                        other => Self::#other(other.to_owned()),
                    }
                }
            }
        },
        quote! {
            impl ::std::convert::From<::std::string::String> for #name {
                fn from(text: ::std::string::String) -> Self {
                    text.as_str().into()
                }
            }
        },
        quote! {
            impl ::std::str::FromStr for #name {
                type Err = ::std::convert::Infallible;

                fn from_str(text: &str) -> ::std::result::Result<Self, Self::Err> {
                    Ok(text.into())
                }
            }
        },
        quote! {
            impl ::std::fmt::Display for #name {
                fn fmt(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
                    f.write_str(self.as_str())
                }
            }
        },
        quote! {
            impl ::serde::Serialize for #name {
                fn serialize<S: ::serde::Serializer>(
                    &self,
                    serializer: S,
                ) -> ::std::result::Result<S::Ok, S::Error> {
                    serializer.serialize_str(self.as_str())
                }
            }
        },
        quote! {
            impl<'de> ::serde::Deserialize<'de> for #name {
                fn deserialize<D: ::serde::Deserializer<'de>>(
                    deserializer: D,
                ) -> ::std::result::Result<Self, D::Error> {
                    let text = <::std::string::String as ::serde::Deserialize>::deserialize(
                        deserializer,
                    )?;
                    Ok(text.into())
                }
            }
        },
    ];
    for variant in &mut item.variants {
        let name = renamed(&variant.attrs, &variant.ident);
        variant
            .attrs
            .retain(|attribute| !attribute.path().is_ident("serde"));
        let about = format!(" The value `{name}`.");
        if super::doc_text(&variant.attrs).is_none() {
            variant.attrs.push(parse_quote!(#[doc = #about]));
        }
    }
    item.attrs.retain(|attribute| {
        !attribute.path().is_ident("serde") && !attribute.path().is_ident("derive")
    });
    item.attrs
        .push(parse_quote!(#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]));
    item.variants.push(parse_quote! {
        #[doc = " Another value, which this version does not know."]
        #other(::std::string::String)
    });
    implementations
}

/// Whether an item is a generated implementation that an opened enumeration replaces.
fn is_replaced(item: &Item, opened: &BTreeMap<String, Vec<TokenStream>>) -> bool {
    let is_opened = match item {
        Item::Impl(item) => self_name(item).is_some_and(|name| opened.contains_key(&name)),
        _ => false,
    };
    is_opened && implements(item, &["Display", "FromStr", "TryFrom"])
}

/// Whether an item implements one of the named traits.
fn implements(item: &Item, traits: &[&str]) -> bool {
    let Item::Impl(item) = item else { return false };
    let Some((path, _)) = &item.trait_ else {
        return false;
    };
    let last = path.segments.last();
    last.is_some_and(|segment| traits.iter().any(|name| segment.ident == name))
}

/// A name for the variant of unknown values that no other variant has.
fn free_name(item: &ItemEnum) -> &'static str {
    let is_free = |name: &&str| item.variants.iter().all(|variant| variant.ident != name);
    OTHER.into_iter().find(is_free).unwrap_or("AnyOther")
}

/// The names of the derived traits, as one text.
fn derives(attributes: &[Attribute]) -> String {
    attributes
        .iter()
        .filter(|attribute| attribute.path().is_ident("derive"))
        .map(|attribute| match &attribute.meta {
            Meta::List(list) => list.tokens.to_string(),
            _ => String::new(),
        })
        .collect()
}
