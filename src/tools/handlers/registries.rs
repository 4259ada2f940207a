//! Handlers for registry credentials: shows where to create them, checks them and stores them.

use crate::tools::answer::PageRequest;
use crate::tools::results::{RegistryAuth, RegistryTokenObtain};
use crate::tools::{
    Context, Handlers, LoginOutcome, PageOutcome, RegistriesTools, ToolError, log_in, params,
};
use contree_registry::{CredentialCheck, RegistryHost, token_page};

/// Status of every answer of both tools. A failure is an error instead.
const SUCCESS: &str = "success";

impl RegistriesTools for Handlers {
    async fn registry_token_obtain(
        &self,
        arguments: params::RegistryTokenObtain,
        cx: &Context,
    ) -> Result<RegistryTokenObtain, ToolError> {
        let params::RegistryTokenObtain { registry_url } = arguments;
        let registry = RegistryHost::from_reference(&registry_url)?;
        let call = format!(
            "registry_auth(registry_url={:?}, username=…, token=…)",
            registry.as_str()
        );
        let Some(page) = token_page(&registry) else {
            return Err(ToolError::not_found(format!(
                "the page for access tokens of {registry} is unknown"
            ))
            .with_hint(format!(
                "Ask the user for a user name and a token or password for {registry}, then call `{call}`, which accepts any registry."
            )));
        };
        let message = format!("To import from {registry}: {}.", page.instructions);
        let outcome = match cx.show_page(&message, page.url).await? {
            PageOutcome::Unsupported if cx.session().has_desktop() => open_in_browser(page.url),
            outcome => outcome,
        };
        let report = match outcome {
            PageOutcome::Opened => format!("The page was opened for the user. {message}"),
            PageOutcome::Declined => {
                return Err(
                    ToolError::declined("the user declined to open the page for access tokens").with_hint(
                        format!("Ask the user what to do instead. If the user already has a token, call `{call}`."),
                    ),
                );
            }
            PageOutcome::Unsupported | PageOutcome::CallAgain => {
                format!("The user must open {}. {message}", page.url)
            }
        };
        let request = match outcome {
            PageOutcome::Opened => "Ask the user for the user name and the token",
            _ => "Show the user this link and ask for the user name and the token created there",
        };
        Ok(RegistryTokenObtain {
            status: SUCCESS.into(),
            registry: registry.to_string(),
            url: page.url.into(),
            message: report,
            agent_instruction: format!("{request}, then call {call}."),
            page_request: (outcome == PageOutcome::CallAgain).then(|| PageRequest {
                message,
                url: page.url.to_owned(),
            }),
        })
    }

    async fn registry_auth(
        &self,
        arguments: params::RegistryAuth,
        cx: &Context,
    ) -> Result<RegistryAuth, ToolError> {
        let params::RegistryAuth {
            registry_url,
            username,
            token,
        } = arguments;
        let registry = RegistryHost::for_login(&registry_url)?;
        let LoginOutcome { registry, check } = log_in(cx, registry, &username, &token).await?;
        let message = match check {
            CredentialCheck::Accepted => {
                format!("{registry} accepts the credentials. Imports use them from now on.")
            }
            CredentialCheck::NotRequired => format!(
                "{registry} does not ask for credentials, so these could not be checked. Imports use them from now on."
            ),
        };
        Ok(RegistryAuth {
            status: SUCCESS.into(),
            registry: registry.to_string(),
            message,
        })
    }
}

/// Opens a page in the browser of this machine.
fn open_in_browser(url: &str) -> PageOutcome {
    match open::that_detached(url) {
        Ok(()) => PageOutcome::Opened,
        Err(error) => {
            tracing::warn!("cannot open a browser: {error}");
            PageOutcome::Unsupported
        }
    }
}
