//! Handler of `get_guide`, for clients that read no resources.

use crate::tools::catalogue::find_guide;
use crate::tools::results::GetGuide;
use crate::tools::{Context, GUIDES, GuidesTools, Handlers, ToolError, params};

impl GuidesTools for Handlers {
    async fn get_guide(
        &self,
        arguments: params::GetGuide,
        cx: &Context,
    ) -> Result<GetGuide, ToolError> {
        let params::GetGuide { section } = arguments;
        let guide = find_guide(&section)?;
        Ok(GetGuide {
            section: guide.name.into(),
            content: cx.session().selection().guide(guide),
            available_sections: GUIDES.iter().map(|guide| guide.name.into()).collect(),
        })
    }
}
