//! Rules for names, and suggestions for unknown ones.

use heck::ToUpperCamelCase as _;

/// Whether `name` is in `snake_case`, as names of tools and arguments must be, since they become
/// Rust names.
pub fn is_snake_case(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_lowercase())
        && name
            .chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
}

/// Whether `name` can be the name of a function, and its camel case that of a type. Keywords of
/// Rust cannot.
pub(super) fn is_rust_name(name: &str) -> bool {
    let is_identifier = |name: &str| syn::parse_str::<syn::Ident>(name).is_ok();
    is_identifier(name) && is_identifier(&name.to_upper_camel_case())
}

/// Whether `name` can be the name of a field, written `r#name` if it is a keyword of Rust.
pub(super) fn is_field_name(name: &str) -> bool {
    !matches!(name, "self" | "super" | "crate")
}

/// Whether `name` is in `kebab-case`, as names of guides and prompts must be.
pub fn is_kebab_case(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_lowercase())
        && name
            .chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
}

/// The known name that is most similar to `wrong`, if any is similar enough.
pub fn nearest<'a>(wrong: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    known
        .into_iter()
        .map(|name| (strsim::jaro_winkler(wrong, name), name))
        .filter(|(score, _)| *score > 0.75)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, name)| name)
}

/// The end of a message about an unknown name: ` (did you mean …?)`, or the first known names if
/// none is similar.
pub fn suggestion<'a>(wrong: &str, known: impl IntoIterator<Item = &'a str> + Clone) -> String {
    match nearest(wrong, known.clone()) {
        Some(name) => format!(" (did you mean `{name}`?)"),
        None => {
            let known: Vec<_> = known.into_iter().take(12).collect();
            if known.is_empty() {
                String::new()
            } else {
                format!(" (known: {})", known.join(", "))
            }
        }
    }
}
