//! Boxes in types that contain themselves. Rust refuses such types without a box, since they would
//! have no finite size.

use std::collections::{BTreeMap, BTreeSet};

use syn::{Field, GenericArgument, Item, PathArguments, Type};

/// Puts a box around each field whose type contains the type of the field's owner. Lists and maps
/// need none, since their items are elsewhere.
pub(super) fn box_recursive_fields(file: &mut syn::File) {
    let mut parts = BTreeMap::new();
    for item in &mut file.items {
        if let Some((owner, fields)) = fields(item) {
            let held = fields.filter_map(|field| Some(held_type(&mut field.ty)?.1));
            parts.insert(owner, held.collect::<BTreeSet<_>>());
        }
    }
    for item in &mut file.items {
        let Some((owner, fields)) = fields(item) else {
            continue;
        };
        for field in fields {
            if let Some((held, name)) = held_type(&mut field.ty)
                && contains(&parts, &name, &owner)
            {
                *held = syn::parse_quote!(Box<#held>);
            }
        }
    }
}

/// The name of a struct or an enum, and its fields.
fn fields(item: &mut Item) -> Option<(String, Box<dyn Iterator<Item = &mut Field> + '_>)> {
    match item {
        Item::Struct(item) => Some((item.ident.to_string(), Box::new(item.fields.iter_mut()))),
        Item::Enum(item) => {
            let fields = item
                .variants
                .iter_mut()
                .flat_map(|variant| &mut variant.fields);
            Some((item.ident.to_string(), Box::new(fields)))
        }
        _ => None,
    }
}

/// The type that a field holds by value, and its name. An `Option` holds its item by value.
fn held_type(field: &mut Type) -> Option<(&mut Type, String)> {
    let name = match &*field {
        Type::Path(path) => path.path.segments.last()?.ident.to_string(),
        _ => return None,
    };
    if name != "Option" {
        return Some((field, name));
    }
    let Type::Path(path) = field else {
        return None;
    };
    let PathArguments::AngleBracketed(arguments) = &mut path.path.segments.last_mut()?.arguments
    else {
        return None;
    };
    match arguments.args.first_mut()? {
        GenericArgument::Type(item) => held_type(item),
        _ => None,
    }
}

/// Whether a value of the type `name` contains one of the type `wanted`, or is one.
fn contains(parts: &BTreeMap<String, BTreeSet<String>>, name: &str, wanted: &str) -> bool {
    let mut seen = BTreeSet::new();
    let mut waiting = vec![name];
    while let Some(name) = waiting.pop() {
        if name == wanted {
            return true;
        }
        if seen.insert(name) {
            waiting.extend(parts.get(name).into_iter().flatten().map(String::as_str));
        }
    }
    false
}
