//! Suggests the closest known name for an unknown one.

/// Returns the known name closest to `wrong`, if one is close.
pub(crate) fn nearest<'a>(wrong: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    // Shortened, since the time to compare grows with the product of the lengths.
    let wrong = brief(wrong);
    known
        .map(|name| (strsim::jaro_winkler(&wrong, name), name))
        .filter(|(score, _)| *score > 0.7)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, name)| name)
}

/// Shortens a text to 60 characters for a message.
pub(crate) fn brief(text: &str) -> String {
    match text.char_indices().nth(60) {
        Some(_) => text.chars().take(59).chain(['…']).collect(),
        None => text.to_owned(),
    }
}
