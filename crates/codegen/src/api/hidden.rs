//! Keeps the values of secret properties, such as passwords, out of `Debug` output.

use std::collections::BTreeSet;

use quote::quote;
use syn::{
    Attribute, Field, Fields, Item, ItemStruct, Path, Token, Visibility, parse_quote,
    punctuated::Punctuated,
};

use super::description::normalise;
use super::error::ClientError;

/// Checks that a type has each property that is to be hidden.
///
/// # Errors
/// The first property that no type has, with the fields that exist.
pub(super) fn check(document: &str, items: &[Item], hidden: &[String]) -> Result<(), ClientError> {
    let mut known = BTreeSet::new();
    collect(items, &mut known);
    let is_unknown = |property: &&String| !known.iter().any(|field| is_named(field, property));
    match hidden.iter().find(is_unknown) {
        Some(property) => Err(ClientError::UnusedHidden {
            document: document.to_owned(),
            property: property.clone(),
            known: known.into_iter().collect(),
        }),
        None => Ok(()),
    }
}

/// Adds the names of all public fields.
fn collect(items: &[Item], found: &mut BTreeSet<String>) {
    for item in items {
        match item {
            Item::Mod(module) => {
                if let Some((_, content)) = &module.content {
                    collect(content, found);
                }
            }
            Item::Struct(item) => {
                let public = |field: &&Field| matches!(field.vis, Visibility::Public(_));
                let fields = item.fields.iter().filter(public);
                let names = fields.filter_map(|field| field.ident.as_ref());
                found.extend(names.map(ToString::to_string));
            }
            _ => {}
        }
    }
}

/// Returns whether a field belongs to a property, by its own name or its name in JSON.
fn is_named(field: &str, property: &str) -> bool {
    normalise(field) == normalise(property)
}

fn is_hidden(field: &str, hidden: &[String]) -> bool {
    hidden.iter().any(|property| is_named(field, property))
}

/// Replaces the derived `Debug` of every struct that has a field named in `hidden`.
pub(super) fn hide(items: &mut Vec<Item>, hidden: &[String]) {
    let mut implementations = Vec::new();
    for item in items.iter_mut() {
        match item {
            Item::Mod(module) => {
                if let Some((_, content)) = &mut module.content {
                    hide(content, hidden);
                }
            }
            Item::Struct(item) if has_hidden_field(&item.fields, hidden) => {
                let is_derived = remove_debug(&mut item.attrs);
                implementations.extend(is_derived.then(|| debug(item, hidden)));
            }
            _ => {}
        }
    }
    items.extend(implementations);
}

fn has_hidden_field(fields: &Fields, hidden: &[String]) -> bool {
    let mut names = fields.iter().filter_map(|field| field.ident.as_ref());
    names.any(|name| is_hidden(&name.to_string(), hidden))
}

/// Removes `Debug` from the derived traits. Returns false if it is not derived.
fn remove_debug(attributes: &mut [Attribute]) -> bool {
    let mut is_removed = false;
    for attribute in attributes {
        if !attribute.path().is_ident("derive") {
            continue;
        }
        let derived = attribute.parse_args_with(Punctuated::<Path, Token![,]>::parse_terminated);
        let Ok(derived) = derived else { continue };
        let count = derived.len();
        let kept: Vec<Path> = derived
            .into_iter()
            .filter(|path| !path.is_ident("Debug"))
            .collect();
        is_removed |= kept.len() < count;
        *attribute = parse_quote!(#[derive(#(#kept),*)]);
    }
    is_removed
}

/// An implementation of `Debug` that shows every field, but not the values of hidden ones.
fn debug(item: &ItemStruct, hidden: &[String]) -> Item {
    let name = &item.ident;
    let text = name.to_string();
    let (generics, arguments, bounds) = item.generics.split_for_impl();
    let fields = item.fields.iter().filter_map(|field| {
        let field = field.ident.as_ref()?;
        let text = field.to_string();
        Some(if is_hidden(&text, hidden) {
            quote!(.field(#text, &::std::format_args!("<hidden>")))
        } else {
            quote!(.field(#text, &self.#field))
        })
    });
    parse_quote! {
        impl #generics ::std::fmt::Debug for #name #arguments #bounds {
            fn fmt(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
                f.debug_struct(#text)#(#fields)*.finish()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn structs_with_a_hidden_field_do_not_derive_debug() {
        let mut file: syn::File = parse_quote! {
            mod types {
                #[derive(Clone, Debug)]
                pub struct Login<'a> { pub user: &'a str, pub password: Option<String> }
                #[derive(Clone, Debug)]
                pub struct Page { pub number: u64 }
            }
        };
        hide(&mut file.items, &["password".to_owned()]);
        let source = prettyplease::unparse(&file);
        assert!(
            source.contains("#[derive(Clone)]\n    pub struct Login"),
            "{source}"
        );
        assert!(
            source.contains("#[derive(Clone, Debug)]\n    pub struct Page"),
            "{source}"
        );
        assert!(
            source.contains("impl<'a> ::std::fmt::Debug for Login<'a>"),
            "{source}"
        );
        assert!(source.contains(r#".field("user", &self.user)"#), "{source}");
        assert!(!source.contains("self.password"), "{source}");
    }
}
