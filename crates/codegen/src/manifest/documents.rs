//! Generated pages, and generated regions of hand-written pages.

/// The line before a generated region.
pub const BEGIN: &str = "<!-- tools: begin, generated from tools.yaml -->";
/// The line after a generated region.
pub const END: &str = "<!-- tools: end -->";

/// Trims a rendered page and ends it with one newline.
pub fn finish(text: &str) -> String {
    format!("{}\n", text.trim())
}

/// The beginning of a page that is generated as a whole.
const WHOLE: &str = "<!-- Generated from tools.yaml";

/// The new content of a page. The generated text replaces the whole page if it is one, such as
/// JSON. Otherwise it replaces the region between the markers.
///
/// `None` for a hand-written page without markers, so that it is never overwritten.
pub fn update(page: &str, generated: &str) -> Option<String> {
    if generated.starts_with(WHOLE) || generated.starts_with('{') {
        return Some(generated.to_owned());
    }
    let (before, rest) = page.split_once(BEGIN)?;
    let (_, after) = rest.split_once(END)?;
    Some(format!("{before}{BEGIN}\n{generated}{END}{after}"))
}
