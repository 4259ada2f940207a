//! Guides as a tool, for clients that read no resources.

use super::arguments::{brief, nearest};
use super::results::GetGuide;
use super::{Context, GUIDES, Guide, GuidesTools, Handlers, ToolError, params};

impl GuidesTools for Handlers {
    async fn get_guide(
        &self,
        arguments: params::GetGuide,
        cx: &Context,
    ) -> Result<GetGuide, ToolError> {
        let guide = guide(&arguments.section)?;
        Ok(GetGuide {
            section: guide.name.into(),
            content: cx.session().offer().guide(guide),
            available_sections: GUIDES.iter().map(|guide| guide.name.into()).collect(),
        })
    }
}

/// The guide with this name, or with this URI.
pub(super) fn guide(name: &str) -> Result<&'static Guide, ToolError> {
    let wanted = name.trim().to_lowercase();
    let known = GUIDES
        .iter()
        .find(|guide| guide.name == wanted || guide.uri == wanted);
    known.ok_or_else(|| {
        let names: Vec<&str> = GUIDES.iter().map(|guide| guide.name).collect();
        let message = format!("there is no guide `{}`", brief(name));
        match nearest(&wanted, names.iter().copied()) {
            Some(meant) => ToolError::missing(format!("{message}; did you mean `{meant}`?")),
            None => ToolError::missing(message),
        }
        .with_hint(format!("There are: {}.", names.join(", ")))
    })
}
