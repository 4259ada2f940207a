//! Handler of `whoami`: the account, its limits, and the backend in use.

use crate::tools::results::Whoami;
use crate::tools::{AccountTools, Context, Handlers, ToolError, params};

impl AccountTools for Handlers {
    async fn whoami(&self, arguments: params::Whoami, cx: &Context) -> Result<Whoami, ToolError> {
        let params::Whoami {} = arguments;
        let info = cx.session().info();
        let client = cx.client().await?;
        let account = client.who_am_i().send().await.map_err(|error| {
            let error = ToolError::from(error);
            if error.is_unreachable() {
                error.and_hint(format_args!(
                    "The backend in use is {} ({}).",
                    info.name, info.why
                ))
            } else {
                error
            }
        })?;
        let account = account.into_inner();
        let mut notes = info.notes.clone();
        notes.extend(cx.session().store().notes());
        if let Some(engine) = account.x_engine {
            notes.push(format!("user ids inside: {}", engine.user_ids));
            notes.extend(engine.notes);
        }
        Ok(Whoami {
            token_uuid: account.token_uuid,
            token_expiration: account.token_expiration,
            permissions: account.permissions,
            limits: account.limits,
            operations_stat: account.operations_stat,
            mcp_version: env!("CARGO_PKG_VERSION").into(),
            backend: info.name.into(),
            backend_url: client.backend().url().to_string(),
            backend_reason: info.why.clone(),
            notes,
        })
    }
}
