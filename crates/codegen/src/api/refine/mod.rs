//! Refines the generator's output: documentation, openness for newer servers, and visibility.

mod docs;
mod open_enums;

use syn::{Attribute, File, Ident, ImplItemFn, Item, ItemImpl, ItemMod, Type, parse_quote};

use super::description::Description;

/// Refines a generated client. With a state, only the client's crate can make clients.
pub(super) fn refine(file: &mut File, description: &Description, has_state: bool) {
    for item in &mut file.items {
        match item {
            Item::Mod(module) if module.ident == "types" => {
                let items = contents(module);
                open_enums::open(items);
                for item in items.iter_mut() {
                    open_type(item);
                }
            }
            Item::Mod(module) if module.ident == "builder" => {
                for item in contents(module) {
                    hide_new(item);
                }
            }
            Item::Impl(implementation) => refine_client(implementation, has_state),
            _ => {}
        }
    }
    docs::document(file, description);
}

/// The functions of the generated client, one for each operation.
pub(super) fn functions(file: &File) -> impl Iterator<Item = &ImplItemFn> {
    let implementations = file.items.iter().filter_map(|item| match item {
        Item::Impl(item) if item.trait_.is_none() && is_named(&item.self_ty, "Client") => {
            Some(item)
        }
        _ => None,
    });
    implementations
        .flat_map(|item| &item.items)
        .filter_map(|item| match item {
            syn::ImplItem::Fn(function) => Some(function),
            _ => None,
        })
}

/// The items of a module with a body.
fn contents(module: &mut ItemMod) -> &mut Vec<Item> {
    &mut module.content.get_or_insert_default().1
}

/// Lets later versions add fields and variants, and a server add properties.
fn open_type(item: &mut Item) {
    let attributes = match item {
        Item::Struct(item) if matches!(item.fields, syn::Fields::Named(_)) => &mut item.attrs,
        Item::Enum(item) => &mut item.attrs,
        _ => return,
    };
    attributes.retain(|attribute| !refuses_unknown_fields(attribute));
    if !attributes
        .iter()
        .any(|attribute| attribute.path().is_ident("non_exhaustive"))
    {
        attributes.push(parse_quote!(#[non_exhaustive]));
    }
}

/// Whether an attribute is `#[serde(deny_unknown_fields)]`.
fn refuses_unknown_fields(attribute: &Attribute) -> bool {
    attribute.path().is_ident("serde")
        && attribute
            .parse_args::<Ident>()
            .is_ok_and(|argument| argument == "deny_unknown_fields")
}

/// Hides the constructors of requests, since the client's functions make the requests.
fn hide_new(item: &mut Item) {
    let Item::Impl(ItemImpl {
        items,
        trait_: None,
        ..
    }) = item
    else {
        return;
    };
    for item in items {
        if let syn::ImplItem::Fn(function) = item
            && function.sig.ident == "new"
        {
            function.vis = parse_quote!(pub(super));
        }
    }
}

/// Hides the functions that users of a client cannot call.
fn refine_client(implementation: &mut ItemImpl, has_state: bool) {
    if !is_named(&implementation.self_ty, "Client") {
        return;
    }
    if implementation.trait_.is_some() {
        // The trait belongs to the generator's run-time library.
        implementation.attrs.push(parse_quote!(#[doc(hidden)]));
    } else if has_state {
        // `new` makes its own HTTP client, which ignores the crate's settings.
        implementation.items.retain(
            |item| !matches!(item, syn::ImplItem::Fn(function) if function.sig.ident == "new"),
        );
        for item in &mut implementation.items {
            if let syn::ImplItem::Fn(function) = item
                && function.sig.ident == "new_with_client"
            {
                function.vis = parse_quote!(pub(crate));
            }
        }
    }
}

/// Whether a type is a path that ends in `name`, or a reference to such a path.
fn is_named(of: &Type, name: &str) -> bool {
    match of {
        Type::Path(path) => path
            .path
            .segments
            .last()
            .is_some_and(|segment| segment.ident == name),
        Type::Reference(reference) => is_named(&reference.elem, name),
        _ => false,
    }
}

/// The name of the type that an `impl` block is for.
fn self_name(implementation: &ItemImpl) -> Option<String> {
    match implementation.self_ty.as_ref() {
        Type::Path(path) => Some(path.path.segments.last()?.ident.to_string()),
        _ => None,
    }
}

/// The text of all doc comments of an item.
pub(super) fn doc_text(attributes: &[Attribute]) -> Option<String> {
    let lines: Vec<String> = attributes.iter().filter_map(doc_line).collect();
    (!lines.is_empty()).then(|| lines.join("\n"))
}

fn doc_line(attribute: &Attribute) -> Option<String> {
    if let syn::Meta::NameValue(pair) = &attribute.meta
        && pair.path.is_ident("doc")
        && let syn::Expr::Lit(literal) = &pair.value
        && let syn::Lit::Str(text) = &literal.lit
    {
        let line = text.value();
        return Some(line.strip_prefix(' ').unwrap_or(&line).to_owned());
    }
    None
}
