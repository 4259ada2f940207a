//! How templates are read: undefined variables are errors, HTML is escaped, block tags leave no blank lines.
//!
//! The build renders with the same settings as the server does, so that what it has checked holds there.

use minijinja::syntax::SyntaxConfig;
use minijinja::{AutoEscape, Environment, UndefinedBehavior};

/// An environment with the settings that all our templates share.
///
/// # Errors
/// Fails only if minijinja refuses these constant settings.
pub fn environment<'source>() -> Result<Environment<'source>, minijinja::Error> {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_syntax(
        SyntaxConfig::builder()
            .trim_blocks(true)
            .lstrip_blocks(true)
            .build()?,
    );
    environment.set_auto_escape_callback(|name| {
        if name.ends_with(".html.j2") {
            AutoEscape::Html
        } else {
            AutoEscape::None
        }
    });
    environment.add_filter("quoted", quoted);
    environment.add_test("reference", is_reference);
    Ok(environment)
}

/// A text in double quotes, as an argument in a call such as `run(command="…")`. Unlike `tojson`, it escapes nothing for
/// HTML.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// Whether a text names an image as tools take it: `tag:NAME` or a UUID.
fn is_reference(text: &str) -> bool {
    let parts: Vec<&str> = text.split('-').collect();
    let lengths: Vec<usize> = parts.iter().map(|part| part.len()).collect();
    let is_uuid = lengths == [8, 4, 4, 4, 12]
        && parts
            .iter()
            .all(|part| part.bytes().all(|digit| digit.is_ascii_hexdigit()));
    text.starts_with("tag:") || is_uuid
}
