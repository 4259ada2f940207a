//! Showing the user a page through the client: elicitation by URL, in both generations of the protocol.
//!
//! Up to 2025-11-25 the server asks the client and waits. From 2026-07-28 on a call is answered with what is to be shown, and
//! the client calls again with the user's answer; the call that comes again is judged by itself, so there is no state to keep.

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

use crate::tools::{PageOutcome, Pages};

/// The name of the one thing that is ever asked for.
const KEY: &str = "page";

/// The client of one call.
pub(super) struct ClientPages {
    peer: Peer<RoleServer>,
    is_supported: bool,
    asks_itself: bool,
    answer: Option<PageOutcome>,
}

impl ClientPages {
    pub(super) fn of(
        request: &CallToolRequestParams,
        context: &RequestContext<RoleServer>,
    ) -> Self {
        let declared = context
            .client_capabilities()
            .and_then(|capabilities| capabilities.elicitation)
            .is_some_and(|elicitation| elicitation.url.is_some());
        let answers = request.input_responses.as_ref();
        let answer = answers.and_then(|answers| answers.get(KEY)).map(|answer| {
            match answer["action"].as_str() {
                Some("accept") => PageOutcome::Opened,
                _ => PageOutcome::Declined,
            }
        });
        let version = context.protocol_version();
        Self {
            peer: context.peer.clone(),
            is_supported: declared,
            asks_itself: version.is_some_and(|version| !version.has_initialize()),
            answer,
        }
    }
}

impl Pages for ClientPages {
    fn show<'a>(&'a self, message: &'a str, url: &'a str) -> BoxFuture<'a, PageOutcome> {
        async move {
            if !self.is_supported {
                return PageOutcome::Unsupported;
            }
            if self.asks_itself {
                return self.answer.unwrap_or(PageOutcome::CallAgain);
            }
            match self
                .peer
                .create_elicitation(page(message, url, Uuid::new_v4().to_string()))
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

/// The answer to a call that is to come again, once the user has seen the page.
pub(super) fn input_required(message: &str, url: &str) -> InputRequiredResult {
    let asked = ElicitRequest::new(page(message, url, String::new()));
    InputRequiredResult::from_input_requests(BTreeMap::from([(
        KEY.to_owned(),
        InputRequest::Elicitation(asked),
    )]))
}

fn page(message: &str, url: &str, id: String) -> ElicitRequestParams {
    ElicitRequestParams::UrlElicitationParams {
        meta: None,
        message: message.to_owned(),
        url: url.to_owned(),
        elicitation_id: id,
    }
}
