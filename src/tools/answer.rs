//! What a tool answers, in both of its renderings.

use serde::Serialize;
use serde_json::Value;

use super::ToolError;
use super::results::Render;

/// An answer in both renderings.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Answer {
    /// A JSON object, as the tool's output schema says.
    pub structured: Value,
    /// The same as text.
    pub text: String,
}

impl Answer {
    /// Renders a result.
    ///
    /// # Errors
    /// Fails only for a result that is no JSON, which a result type cannot be.
    pub(super) fn of<T: Render + Serialize>(result: T) -> Result<Self, ToolError> {
        let structured = serde_json::to_value(&result)
            .map_err(|error| ToolError::new(format!("the result is no JSON: {error}")))?;
        Ok(Self {
            structured,
            text: result.text(),
        })
    }
}
