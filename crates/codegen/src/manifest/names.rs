//! Names: which are allowed, and which one was probably meant.

/// Whether `name` can be a tool or parameter name: `snake_case`, so that it is a Rust name as well.
pub fn is_snake_case(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_lowercase())
        && name
            .chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
}

/// Whether `name` can be the name of a guide or prompt: `kebab-case`.
pub fn is_kebab_case(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_lowercase())
        && name
            .chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
}

/// The known name that `wrong` most resembles, if any does.
pub fn nearest<'a>(wrong: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    known
        .into_iter()
        .map(|name| (strsim::jaro_winkler(wrong, name), name))
        .filter(|(score, _)| *score > 0.75)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, name)| name)
}

/// ` (did you mean …?)`, or what there is if nothing comes near.
pub fn suggestion<'a>(wrong: &str, known: impl IntoIterator<Item = &'a str> + Clone) -> String {
    match nearest(wrong, known.clone()) {
        Some(name) => format!(" (did you mean `{name}`?)"),
        None => {
            let known: Vec<_> = known.into_iter().take(12).collect();
            if known.is_empty() {
                String::new()
            } else {
                format!(" (there is: {})", known.join(", "))
            }
        }
    }
}
