//! Lists and renders prompts.

use std::sync::Arc;

use rmcp::model::{
    ErrorData, GetPromptRequestParams, GetPromptResult, ListPromptsResult, PaginatedRequestParams,
    Prompt, PromptArgument, PromptMessage, Role,
};

use super::paging::{LIST_TTL_MS, PAGE_SIZE, page};
use crate::tools::{self, PROMPTS, Session};

/// Prompts whose tools are all offered.
pub(super) struct Prompts {
    session: Arc<Session>,
    /// Descriptions of the prompts. They never change while the server runs.
    listed: Vec<Prompt>,
}

impl Prompts {
    /// Creates the prompts that `session` offers.
    pub(super) fn new(session: Arc<Session>) -> Self {
        Self {
            listed: session.selection().prompts().map(describe).collect(),
            session,
        }
    }

    /// Returns one page of the list of prompts.
    pub(super) fn page(
        &self,
        request: Option<PaginatedRequestParams>,
    ) -> Result<ListPromptsResult, ErrorData> {
        let (prompts, next) = page(&self.listed, request.as_ref(), PAGE_SIZE)?;
        let mut list = ListPromptsResult::with_all_items(prompts).with_ttl_ms(LIST_TTL_MS);
        list.next_cursor = next;
        Ok(list)
    }

    /// Renders a prompt for its arguments.
    pub(super) fn get(
        &self,
        request: GetPromptRequestParams,
    ) -> Result<GetPromptResult, ErrorData> {
        let invalid = |error: tools::ToolError| ErrorData::invalid_params(error.to_string(), None);
        let name = &request.name;
        let prompt = PROMPTS
            .iter()
            .find(|prompt| prompt.name == *name)
            .ok_or_else(|| invalid(tools::unknown_prompt(name)))?;
        let selection = self.session.selection();
        if !selection.prompts().any(|offered| offered.name == *name) {
            let refusal = selection.refusal(&format!("a tool of the prompt `{name}`"));
            return Err(invalid(refusal));
        }
        let text = prompt
            .render(&request.arguments.unwrap_or_default())
            .map_err(invalid)?;
        let message = PromptMessage::new_text(Role::User, text);
        let mut result = GetPromptResult::new(vec![message]);
        result.description = Some(prompt.description.to_owned());
        Ok(result)
    }
}

fn describe(prompt: &tools::Prompt) -> Prompt {
    let arguments = prompt.arguments.iter().map(|argument| {
        let doc = match argument.default {
            Some(default) => format!("{} (default: {default})", argument.doc),
            None => argument.doc.to_owned(),
        };
        PromptArgument::new(argument.name)
            .with_description(doc)
            .with_required(argument.required)
    });
    Prompt::new(
        prompt.name,
        Some(prompt.description),
        Some(arguments.collect()),
    )
    .with_title(prompt.title)
}
