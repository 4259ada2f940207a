//! Listing and rendering prompts.

use std::sync::LazyLock;

use rmcp::model::{
    ErrorData, GetPromptRequestParams, GetPromptResult, ListPromptsResult, PaginatedRequestParams,
    Prompt, PromptArgument, PromptMessage, Role,
};

use super::paging::{LIST_KEPT_MS, PAGE, page};
use crate::tools::{self, PROMPTS};

static LISTED: LazyLock<Vec<Prompt>> = LazyLock::new(|| PROMPTS.iter().map(listed).collect());

/// One page of the prompts.
pub(super) fn list(
    request: Option<PaginatedRequestParams>,
) -> Result<ListPromptsResult, ErrorData> {
    let (prompts, next) = page(&LISTED, request.as_ref(), PAGE)?;
    let mut list = ListPromptsResult::with_all_items(prompts).with_ttl_ms(LIST_KEPT_MS);
    list.next_cursor = next;
    Ok(list)
}

/// The prompt's text for the arguments.
pub(super) fn get(request: GetPromptRequestParams) -> Result<GetPromptResult, ErrorData> {
    let invalid = |error: tools::ToolError| ErrorData::invalid_params(error.to_string(), None);
    let prompt = PROMPTS
        .iter()
        .find(|prompt| prompt.name == request.name)
        .ok_or_else(|| invalid(tools::unknown_prompt(&request.name)))?;
    let text = prompt
        .render(&request.arguments.unwrap_or_default())
        .map_err(invalid)?;
    let message = PromptMessage::new_text(Role::User, text);
    let mut result = GetPromptResult::new(vec![message]);
    result.description = Some(prompt.description.to_owned());
    Ok(result)
}

fn listed(prompt: &tools::Prompt) -> Prompt {
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
