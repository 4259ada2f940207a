//! Generated pages, and generated regions of hand-written pages.

/// The line before a generated region.
pub const BEGIN: &str = "<!-- tools: begin, generated from tools.yaml -->";
/// The line after it.
pub const END: &str = "<!-- tools: end -->";

/// A rendered page in the form of its file, with one newline at its end.
pub fn finish(text: &str) -> String {
    format!("{}\n", text.trim())
}

/// The beginning of a page that is generated as a whole.
const WHOLE: &str = "<!-- Generated from tools.yaml";

/// The new content of a page. A page generated as a whole (such as JSON) is replaced; otherwise the
/// region between the markers is.
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
