//! Shows the user a page through the client, by URL elicitation.
//!
//! Up to protocol 2025-11-25 the server sends the client a request and waits. From 2026-07-28 on,
//! the call's answer names the page, and the client repeats the call with the user's response. The
//! repeated call carries all it needs, so the server keeps no state.

use std::collections::BTreeMap;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use rmcp::RoleServer;
use rmcp::model::{
    CallToolRequestParams, ElicitRequest, ElicitRequestParams, ElicitationAction, InputRequest,
    InputRequiredResult,
};
use rmcp::service::{Peer, RequestContext};
use uuid::Uuid;

use crate::tools::{PageOutcome, PagePresenter};

/// Key of the only input request that is ever made.
const KEY: &str = "page";

/// Shows pages through the client of one call.
pub(super) struct ClientPagePresenter {
    peer: Peer<RoleServer>,
    is_supported: bool,
    client_repeats_call: bool,
    response: Option<PageOutcome>,
}

impl ClientPagePresenter {
    pub(super) fn of(
        request: &CallToolRequestParams,
        context: &RequestContext<RoleServer>,
    ) -> Self {
        let is_supported = context
            .client_capabilities()
            .and_then(|capabilities| capabilities.elicitation)
            .is_some_and(|elicitation| elicitation.url.is_some());
        let responses = request.input_responses.as_ref();
        let response = responses
            .and_then(|responses| responses.get(KEY))
            .map(|response| match response["action"].as_str() {
                Some("accept") => PageOutcome::Opened,
                _ => PageOutcome::Declined,
            });
        let version = context.protocol_version();
        Self {
            peer: context.peer.clone(),
            is_supported,
            client_repeats_call: version.is_some_and(|version| !version.has_initialize()),
            response,
        }
    }
}

impl PagePresenter for ClientPagePresenter {
    fn show<'a>(&'a self, message: &'a str, url: &'a str) -> BoxFuture<'a, PageOutcome> {
        async move {
            if !self.is_supported {
                return PageOutcome::Unsupported;
            }
            if self.client_repeats_call {
                return self.response.unwrap_or(PageOutcome::CallAgain);
            }
            match self
                .peer
                .create_elicitation(page_request(message, url, Uuid::new_v4().to_string()))
                .await
            {
                Ok(answer) if answer.action == ElicitationAction::Accept => PageOutcome::Opened,
                Ok(_) => PageOutcome::Declined,
                Err(error) => {
                    tracing::warn!("the client cannot show a page: {error}");
                    PageOutcome::Unsupported
                }
            }
        }
        .boxed()
    }
}

/// Builds the answer that makes the client show a page and then repeat the call.
pub(super) fn input_required(message: &str, url: &str) -> InputRequiredResult {
    let request = ElicitRequest::new(page_request(message, url, String::new()));
    InputRequiredResult::from_input_requests(BTreeMap::from([(
        KEY.to_owned(),
        InputRequest::Elicitation(request),
    )]))
}

fn page_request(message: &str, url: &str, id: String) -> ElicitRequestParams {
    ElicitRequestParams::UrlElicitationParams {
        meta: None,
        message: message.to_owned(),
        url: url.to_owned(),
        elicitation_id: id,
    }
}
