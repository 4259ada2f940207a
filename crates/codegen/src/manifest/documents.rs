//! Generated pages, and generated regions of pages that are otherwise written by hand.

/// The line before a generated region.
pub const BEGIN: &str = "<!-- tools: begin, generated from tools.yaml -->";
/// The line after it.
pub const END: &str = "<!-- tools: end -->";

/// A rendered page as it is written: one newline at its end.
pub fn finish(text: &str) -> String {
    format!("{}\n", text.trim())
}

/// How a page begins that is generated as a whole.
const WHOLE: &str = "<!-- Generated from tools.yaml";

/// What the page should be: generated as a whole, as JSON always is, or its region between the markers replaced. `None` if the page is
/// written by hand and has no markers, so that it is never overwritten.
pub fn place(page: &str, generated: &str) -> Option<String> {
    if generated.starts_with(WHOLE) || generated.starts_with('{') {
        return Some(generated.to_owned());
    }
    let (before, rest) = page.split_once(BEGIN)?;
    let (_, after) = rest.split_once(END)?;
    Some(format!("{before}{BEGIN}\n{generated}{END}{after}"))
}
