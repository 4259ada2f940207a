//! The settings of templates: undefined variables are errors, values in `.html.j2` templates are
//! escaped, and block tags leave no blank lines.
//!
//! The build and the server render with the same settings, so the checks of the build also hold for
//! the server.

use minijinja::syntax::SyntaxConfig;
use minijinja::{AutoEscape, Environment, UndefinedBehavior};

/// A minijinja environment with the settings that all templates share.
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
    environment.add_test("reference", is_image_reference);
    Ok(environment)
}

/// Puts a text into double quotes, as an argument in a call such as `run(command="…")`. Unlike
/// `tojson`, it escapes nothing for HTML.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// Returns whether a text has the form of an image argument: `tag:NAME` or a UUID.
fn is_image_reference(text: &str) -> bool {
    let parts: Vec<&str> = text.split('-').collect();
    let lengths: Vec<usize> = parts.iter().map(|part| part.len()).collect();
    let is_uuid = lengths == [8, 4, 4, 4, 12]
        && parts
            .iter()
            .all(|part| part.bytes().all(|digit| digit.is_ascii_hexdigit()));
    text.starts_with("tag:") || is_uuid
}
