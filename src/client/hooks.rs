//! What happens to every request: credentials, repetition, and answers that are not what the API promises.

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
        // The generator's own, which no server asks for.
        headers.remove("api-version");
        if info.operation_id == "get_operation_events" {
            headers.insert(ACCEPT, HeaderValue::from_static("text/event-stream"));
        }
        // The HTTP library leaves it out, and there are servers that insist on it.
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
        // Whether an earlier try may have had its effect, without our being told.
        let mut maybe_done = false;
        loop {
            // A streamed body cannot be sent twice.
            let again = request.try_clone();
            let result = http.execute(request).await;
            let (retry, asked) = match &result {
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
                && let Some(next) = again
                && let Some(delay) = delays.next(asked)
            {
                maybe_done |= result
                    .as_ref()
                    .map_or(true, |answer| answer.status().is_server_error());
                drop(result);
                tokio::time::sleep(delay).await;
                request = next;
                continue;
            }
            let answer = result?;
            // Our own first try has cancelled it.
            let cancelled =
                info.operation_id == "cancel_operation" && answer.status() == StatusCode::CONFLICT;
            if maybe_done
                && cancelled
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
