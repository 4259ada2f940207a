//! Completes arguments of prompts and variables of resources.

use std::sync::Arc;

use rmcp::model::{CompleteRequestParams, CompleteResult, CompletionInfo, ErrorData, Reference};

use super::background_context::background_context;
use crate::tools::{self, CompletionSource, PROMPTS, RESOURCES, Session, ToolSelection};

/// Returns completions for a partly typed argument; none if the argument has no completion.
pub(super) async fn completions(
    session: &Arc<Session>,
    request: CompleteRequestParams,
) -> Result<CompleteResult, ErrorData> {
    let arguments = completable(&request.r#ref, session.selection())?;
    let kind = arguments
        .iter()
        .find(|(name, _)| *name == request.argument.name)
        .and_then(|(_, kind)| *kind);
    let Some(kind) = kind else {
        return Ok(result_of(tools::Completions::default()));
    };
    let context_values = request
        .context
        .and_then(|context| context.arguments)
        .unwrap_or_default();
    let image = arguments
        .iter()
        .find(|(_, kind)| *kind == Some(CompletionSource::Image))
        .and_then(|(name, _)| context_values.get(*name));
    let tool = background_context(session);
    let typed = &request.argument.value;
    let found = tools::complete(kind, typed, image.map(String::as_str), &tool).await;
    Ok(result_of(found))
}

/// Returns the arguments of the referenced prompt or resource, each with its kind of completion.
///
/// A prompt or resource that is not offered is an error, so that completion reveals nothing of it.
fn completable(
    reference: &Reference,
    selection: &ToolSelection,
) -> Result<Vec<(&'static str, Option<CompletionSource>)>, ErrorData> {
    let invalid = |error: tools::ToolError| ErrorData::invalid_params(error.to_string(), None);
    match reference {
        Reference::Prompt(prompt) => {
            let known = PROMPTS.iter().find(|known| known.name == prompt.name);
            let known = known.ok_or_else(|| invalid(tools::unknown_prompt(&prompt.name)))?;
            if !selection
                .prompts()
                .any(|offered| offered.name == known.name)
            {
                let what = format!("a tool of the prompt `{}`", known.name);
                return Err(invalid(selection.refusal(&what)));
            }
            let arguments = known.arguments.iter();
            Ok(arguments
                .map(|argument| (argument.name, argument.complete))
                .collect())
        }
        Reference::Resource(resource) => {
            let known = RESOURCES.iter().find(|known| known.uri == resource.uri);
            let known = known.or_else(|| tools::find_resource(&resource.uri).map(|found| found.0));
            let known = known.ok_or_else(|| invalid(tools::unknown_resource(&resource.uri)))?;
            if !selection.has(known.tool) {
                return Err(invalid(selection.refusal(&format!("`{}`", known.tool))));
            }
            Ok(known.variables.to_vec())
        }
        _ => Ok(Vec::new()),
    }
}

fn result_of(found: tools::Completions) -> CompleteResult {
    let total = found.total.and_then(|total| u32::try_from(total).ok());
    // Cannot fail: `complete` returns at most as many values as rmcp allows.
    let info = CompletionInfo::with_pagination(found.values, total, found.more);
    CompleteResult::new(info.unwrap_or_default())
}
