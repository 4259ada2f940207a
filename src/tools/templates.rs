//! Rendering what cannot be rendered before it is asked for: prompts, and whatever depends on how the server was
//! started.

use std::sync::LazyLock;

use minijinja::Environment;
use minijinja::value::Serde;
use serde_json::{Map, Value};

use super::{FACTS, TEMPLATES, ToolError};
use contree_templates::environment;

/// Every template of the manifest; the build has compiled each, with the same settings.
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

/// What the manifest says, for templates: tools, toolsets, guides, prompts, resources, the instructions and the version.
#[must_use]
pub fn facts() -> Map<String, Value> {
    static FACTS_READ: LazyLock<Map<String, Value>> =
        LazyLock::new(|| serde_json::from_str(FACTS).unwrap_or_default());
    FACTS_READ.clone()
}

/// Renders the template `name`. A variable that is not in `context` is an error, except where the template asks for it.
///
/// # Errors
/// When there is no such template, or it reads what is not there.
pub fn render(name: &str, context: &Map<String, Value>) -> Result<String, ToolError> {
    let rendered = ENVIRONMENT
        .get_template(name)
        .and_then(|template| template.render(minijinja::Value::from(Serde(context))));
    rendered.map_err(|error| ToolError::internal(format_args!("cannot render `{name}`"), error))
}
