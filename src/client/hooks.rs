//! Hooks around every request: credentials, retries, and bodies of error responses.

use http::{
    HeaderValue, Method, StatusCode,
    header::{ACCEPT, AUTHORIZATION, CONTENT_LENGTH},
};
use http_body::Body as _;
use progenitor_client::{ClientHooks, ClientInfo as _, Error, OperationInfo};
use reqwest::{Request, Response};

use super::{
    ClientState, bodies,
    retry::{calls_for_retry, is_repeatable, retry_after},
};
use crate::api::Client;

impl ClientHooks<ClientState> for Client {
    async fn pre<E>(&self, request: &mut Request, info: &OperationInfo) -> Result<(), Error<E>> {
        let credentials = &self.inner().credentials;
        let empty = request
            .body()
            .is_some_and(|body| body.size_hint().exact() == Some(0));
        let headers = request.headers_mut();
        if let Some(authorization) = &credentials.authorization {
            headers.insert(AUTHORIZATION, authorization.clone());
        }
        if let Some(project) = &credentials.project {
            headers.insert("project", project.clone());
        }
        // The generator adds this header, which no server needs.
        headers.remove("api-version");
        if info.operation_id == "get_operation_events" {
            headers.insert(ACCEPT, HeaderValue::from_static("text/event-stream"));
        }
        // The HTTP library omits this header for an empty body, and some servers require it.
        if info.operation_id == "upload_file" && empty {
            headers.insert(CONTENT_LENGTH, HeaderValue::from(0));
        }
        Ok(())
    }

    async fn exec(&self, mut request: Request, info: &OperationInfo) -> reqwest::Result<Response> {
        let http = match info.operation_id {
            "upload_file" => self.inner().upload_client(self.client()),
            _ => self.client().clone(),
        };
        let repeatable = is_repeatable(info.operation_id, request.method());
        let head = request.method() == Method::HEAD;
        let mut delays = self.inner().backend.retry().delays();
        // Whether an earlier attempt may have taken effect although its answer was an error or was
        // lost.
        let mut may_have_taken_effect = false;
        loop {
            // A streamed body cannot be sent twice.
            let copy = request.try_clone();
            let result = http.execute(request).await;
            let (retry, requested) = match &result {
                Ok(answer) => (
                    calls_for_retry(info.operation_id, repeatable, answer.status()),
                    retry_after(answer.headers()),
                ),
                Err(error) => (
                    repeatable && !error.is_builder() && !error.is_redirect(),
                    None,
                ),
            };
            if retry
                && let Some(next) = copy
                && let Some(delay) = delays.next(requested)
            {
                may_have_taken_effect |= result
                    .as_ref()
                    .map_or(true, |answer| answer.status().is_server_error());
                drop(result);
                tokio::time::sleep(delay).await;
                request = next;
                continue;
            }
            let answer = result?;
            // An earlier attempt may have cancelled the operation: the conflict counts as success.
            let conflict =
                info.operation_id == "cancel_operation" && answer.status() == StatusCode::CONFLICT;
            if may_have_taken_effect
                && conflict
                && let Some(accepted) = bodies::empty(StatusCode::ACCEPTED, &answer)
            {
                return Ok(accepted);
            }
            return Ok(if head {
                answer
            } else {
                bodies::normalise(answer).await
            });
        }
    }
}
