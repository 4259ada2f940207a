//! Renders prompts for given arguments.

use contree_error_codes::ErrorCode;
use serde_json::{Map, Value};

use super::suggestion::{brief, nearest};
use super::templates::{facts, render};
use super::{PROMPTS, Prompt, ToolError};

impl Prompt {
    /// Renders the prompt's text.
    ///
    /// A null or empty argument counts as absent, since forms of clients send every field.
    ///
    /// # Errors
    /// Names each argument that is missing, unknown or not a string.
    pub fn render(&self, values: &Map<String, Value>) -> Result<String, ToolError> {
        let mut context = facts();
        let mut problems = Vec::new();
        for (name, value) in values {
            let Some(argument) = self.arguments.iter().find(|known| known.name == name) else {
                problems.push(self.unknown(name));
                continue;
            };
            match value {
                Value::Null => {}
                Value::String(text) if text.trim().is_empty() => {}
                Value::String(text) => {
                    drop(context.insert(argument.name.into(), text.as_str().into()))
                }
                Value::Number(_) | Value::Bool(_) => {
                    context.insert(argument.name.into(), value.to_string().into());
                }
                Value::Array(_) | Value::Object(_) => {
                    problems.push(format!("`{name}` must be a string, not {value}"));
                }
            }
        }
        for argument in self.arguments {
            if context.contains_key(argument.name) {
                continue;
            }
            if let Some(default) = argument.default {
                context.insert(argument.name.into(), default.into());
            } else if argument.required {
                problems.push(format!("`{}` is missing: {}", argument.name, argument.doc));
            }
        }
        if problems.is_empty() {
            render(self.template, &context)
        } else {
            Err(ToolError::invalid(format!(
                "prompt `{}`: {}",
                self.name,
                problems.join("; ")
            )))
        }
    }

    fn unknown(&self, name: &str) -> String {
        let known: Vec<&str> = self
            .arguments
            .iter()
            .map(|argument| argument.name)
            .collect();
        let message = format!("it has no argument `{}`", brief(name));
        match nearest(name, known.iter().copied()) {
            Some(meant) => format!("{message}; did you mean `{meant}`?"),
            None => format!("{message}; it takes {}", known.join(", ")),
        }
    }
}

/// Builds the error for an unknown prompt.
#[must_use]
pub fn unknown_prompt(name: &str) -> ToolError {
    let known = || PROMPTS.iter().map(|prompt| prompt.name);
    let message = format!("there is no prompt `{}`", brief(name));
    ToolError::not_found(match nearest(name, known()) {
        Some(meant) => format!("{message}; did you mean `{meant}`?"),
        None => format!(
            "{message}; the prompts are: {}",
            known().collect::<Vec<_>>().join(", ")
        ),
    })
    .with_code(ErrorCode::UnknownTool)
}
