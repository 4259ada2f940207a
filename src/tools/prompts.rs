//! Prompts, rendered for the arguments that were given.

use serde_json::{Map, Value};

use super::suggestion::{brief, nearest};
use super::templates::{facts, render};
use super::{PROMPTS, Prompt, ToolError};

impl Prompt {
    /// The text for these arguments.
    ///
    /// An argument that is null or empty counts as left out: forms of clients send all of them.
    ///
    /// # Errors
    /// Says which argument is missing, unknown, or no text.
    pub fn render(&self, given: &Map<String, Value>) -> Result<String, ToolError> {
        let mut context = facts();
        let mut problems = Vec::new();
        for (name, value) in given {
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
                    problems.push(format!("`{name}` must be a text, not {value}"));
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
        let message = format!("there is no argument `{}`", brief(name));
        match nearest(name, known.iter().copied()) {
            Some(meant) => format!("{message}, did you mean `{meant}`?"),
            None => format!("{message}, it takes {}", known.join(", ")),
        }
    }
}

/// The error for a prompt that does not exist.
#[must_use]
pub fn unknown_prompt(name: &str) -> ToolError {
    let known = || PROMPTS.iter().map(|prompt| prompt.name);
    let message = format!("there is no prompt `{}`", brief(name));
    ToolError::not_found(match nearest(name, known()) {
        Some(meant) => format!("{message}; did you mean `{meant}`?"),
        None => format!(
            "{message}; there are: {}",
            known().collect::<Vec<_>>().join(", ")
        ),
    })
}
