//! Renders templates at run time: prompts, and texts that depend on the server's options.

use std::sync::LazyLock;

use minijinja::Environment;
use minijinja::value::Serde;
use serde_json::{Map, Value};

use super::{FACTS, TEMPLATES, ToolError};
use contree_templates::environment;

/// All templates of the manifest. The build has compiled each with the same settings.
static ENVIRONMENT: LazyLock<Environment<'static>> = LazyLock::new(|| {
    #[expect(clippy::expect_used, reason = "the build has done the same")]
    let mut environment = environment().expect("the settings are constant");
    for (name, text) in &TEMPLATES {
        #[expect(clippy::expect_used, reason = "the build has done the same")]
        environment
            .add_template(name, text)
            .expect("the build has compiled every template");
    }
    environment
});

/// Returns the manifest's facts for templates: tools, toolsets, guides, prompts, resources,
/// instructions and version.
#[must_use]
pub fn facts() -> Map<String, Value> {
    static PARSED_FACTS: LazyLock<Map<String, Value>> =
        LazyLock::new(|| serde_json::from_str(FACTS).unwrap_or_default());
    PARSED_FACTS.clone()
}

/// Renders the template `name`. An undefined variable is an error unless the template tests for it.
///
/// # Errors
/// If there is no such template, or it uses an undefined variable.
pub fn render(name: &str, context: &Map<String, Value>) -> Result<String, ToolError> {
    let rendered = ENVIRONMENT
        .get_template(name)
        .and_then(|template| template.render(minijinja::Value::from(Serde(context))));
    rendered.map_err(|error| ToolError::internal(format_args!("cannot render `{name}`"), error))
}
