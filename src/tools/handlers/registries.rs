//! Credentials of registries: where to make them, and keeping those that are good.

use crate::store::credentials;
use crate::tools::answer::WantedPage;
use crate::tools::results::{RegistryAuth, RegistryTokenObtain};
use crate::tools::{Context, Handlers, PageOutcome, RegistriesTools, ToolError, params};
use contree_registry::{CredentialCheck, Login, RegistryHost, check, token_page};

/// What both tools answer if they do what they are for; anything else is an error.
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
                "no page for access tokens of {registry} is known"
            ))
            .with_hint(format!(
                "Ask the user for a user and a token or password of {registry}, then call `{call}`: any registry is accepted."
            )));
        };
        let message = format!("To import from {registry}: {}.", page.instructions);
        let shown = match cx.show_page(&message, page.url).await? {
            PageOutcome::Unsupported if cx.session().has_desktop() => open_here(page.url),
            shown => shown,
        };
        let done = match shown {
            PageOutcome::Opened => format!("The page was opened for the user. {message}"),
            PageOutcome::Declined => {
                return Err(
                    ToolError::declined("the user did not want to open the page").with_hint(
                        format!("Ask what to do instead; with a token at hand, call `{call}`."),
                    ),
                );
            }
            PageOutcome::Unsupported | PageOutcome::CallAgain => {
                format!("The user is to open {}. {message}", page.url)
            }
        };
        let asked = match shown {
            PageOutcome::Opened => "Ask the user for the user name and the token",
            _ => "Show the user this link and ask for the user name and the token made there",
        };
        Ok(RegistryTokenObtain {
            status: SUCCESS.into(),
            registry: registry.to_string(),
            url: page.url.into(),
            message: done,
            agent_instruction: format!("{asked}, then call {call}."),
            wanted_page: (shown == PageOutcome::CallAgain).then(|| WantedPage {
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
        // Pasted and read from files, they come with blanks and line ends around them.
        let username = username.trim().to_owned();
        let secret = token.trim().to_owned();
        if username.is_empty() || secret.is_empty() || username.contains(':') {
            return Err(ToolError::invalid(
                "`username` and `token` must not be empty, and a user has no colon",
            ));
        }
        let login = Login::password(&username, &secret);
        let checked = tokio::select! {
            biased;
            () = cx.cancelled() => return Err(ToolError::cancelled("cancelled")),
            checked = check(cx.session().registries(), &registry, &login) => checked,
        };
        let access = checked.map_err(|error| {
            let rejected = error.is_rejection();
            let error = ToolError::from(error);
            match token_page(&registry).filter(|_| rejected) {
                Some(page) => error.with_hint(format!(
                    "Nothing was stored. At {}: {}.",
                    page.url, page.instructions
                )),
                None => error.with_hint("Nothing was stored."),
            }
        })?;
        let backend = cx.client().await?.backend().identity();
        let kept = registry.clone();
        cx.session()
            .store()
            .write(move |c| credentials::keep(c, &backend, kept.as_str(), &username, &secret))
            .await?;
        let message = match access {
            CredentialCheck::Accepted => {
                format!("{registry} accepts the credentials; imports use them from now on.")
            }
            CredentialCheck::NotRequired => format!(
                "{registry} asks for no credentials, so they could not be tried; imports use them from now on."
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
fn open_here(url: &str) -> PageOutcome {
    match open::that_detached(url) {
        Ok(()) => PageOutcome::Opened,
        Err(error) => {
            tracing::warn!("cannot open a browser: {error}");
            PageOutcome::Unsupported
        }
    }
}
