//! Variables that are true or false.

/// The value of a variable that is true or false. `None` if the text is neither.
pub(super) fn parse(text: &str) -> Option<bool> {
    match text.trim().to_lowercase().as_str() {
        "1" | "true" | "yes" | "on" => Some(true),
        "0" | "false" | "no" | "off" => Some(false),
        _ => None,
    }
}
