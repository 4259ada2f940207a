//! Hooks around every request: credentials, retries, limits of time and size, and bodies of error
//! responses.

use std::time::Duration;

use http::{
    HeaderValue, Method, StatusCode,
    header::{ACCEPT, AUTHORIZATION, CONTENT_LENGTH},
};
use http_body::Body as _;
use progenitor_client::{ClientHooks, ClientInfo as _, Error, OperationInfo};
use reqwest::{Request, Response};
use tokio::time::Instant;

use super::{
    ClientState,
    answers::{AnswerError, Reception, until, within},
    bodies, redirects,
    retry::{calls_for_retry, is_repeatable, may_have_acted, retry_after},
};
use crate::api::Client;

/// The operation that uploads a file. It has its own retries and its own limit of time.
const UPLOAD: &str = "upload_file";
/// The operation that makes an image of a running sandbox.
const SNAPSHOT: &str = "snapshot_operation";
/// How long a client waits at least for a snapshot. A backend copies for up to 10 minutes.
const SNAPSHOT_WAIT: Duration = Duration::from_secs(13 * 60);

// No caller can name the state.
#[doc(hidden)]
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
        if Reception::of(info.operation_id) == Reception::Events {
            headers.insert(ACCEPT, HeaderValue::from_static("text/event-stream"));
        }
        // The HTTP library omits this header for an empty body, and some servers require it.
        if info.operation_id == UPLOAD && empty {
            headers.insert(CONTENT_LENGTH, HeaderValue::from(0));
        }
        Ok(())
    }

    async fn exec(&self, mut request: Request, info: &OperationInfo) -> reqwest::Result<Response> {
        let backend = &self.inner().backend;
        let http = match self.inner().http.current() {
            Some(client) => client?,
            None => return Err(AnswerError::NoRuntime.into_http().await),
        };
        let reception = Reception::of(info.operation_id);
        let repeatable = is_repeatable(info.operation_id, request.method());
        let head = request.method() == Method::HEAD;
        let mut timeouts = backend.timeouts();
        if info.operation_id == SNAPSHOT {
            // If the client gave up, the image would be made without anyone knowing it.
            timeouts.idle = timeouts.idle.max(SNAPSHOT_WAIT);
            timeouts.call = timeouts.call.max(SNAPSHOT_WAIT);
        }
        // While a server receives an upload, it sends nothing.
        let idle = (info.operation_id != UPLOAD).then_some(timeouts.idle);
        let mut deadline = (info.operation_id != UPLOAD).then(|| Instant::now() + timeouts.call);
        let mut delays = backend.retry().delays();
        // Whether an earlier attempt may have taken effect although its answer was an error or was
        // lost.
        let mut may_have_taken_effect = false;
        loop {
            // A streamed body cannot be sent twice.
            let copy = request.try_clone();
            let attempt = async {
                let answer = send(&http, request, repeatable, idle).await?;
                if answer.status().is_success() {
                    let limit = backend.answer_limit();
                    reception.receive(answer, limit, timeouts.idle).await
                } else {
                    Ok(answer)
                }
            };
            let result = match until(deadline, attempt).await {
                Some(result) => result,
                None => Err(AnswerError::TimedOut(timeouts.call).into_http().await),
            };
            let (retry, requested) = match &result {
                Ok(answer) => (
                    calls_for_retry(info.operation_id, repeatable, answer.status()),
                    retry_after(answer.headers()),
                ),
                Err(error) => (
                    info.operation_id != UPLOAD && is_worth_repeating(error, repeatable),
                    None,
                ),
            };
            if retry
                && let Some(next) = copy
                && let Some(delay) = delays.next(requested)
                && extend(&mut deadline, delay, requested.is_some())
            {
                may_have_taken_effect |= result
                    .as_ref()
                    .map_or_else(was_sent, |answer| answer.status().is_server_error());
                drop(result);
                tokio::time::sleep(delay).await;
                request = next;
                continue;
            }
            let has_second_effect = !repeatable && info.operation_id != UPLOAD;
            let answer = match result {
                Err(error) if has_second_effect && was_sent(&error) => {
                    let lost = AnswerError::Unconfirmed(error.without_url());
                    return Err(lost.into_http().await);
                }
                result => result?,
            };
            // An earlier attempt may have cancelled the operation: the conflict counts as success.
            let conflict =
                info.operation_id == "cancel_operation" && answer.status() == StatusCode::CONFLICT;
            if may_have_taken_effect
                && conflict
                && let Some(accepted) = bodies::empty(StatusCode::ACCEPTED, &answer)
            {
                return Ok(accepted);
            }
            if head {
                return Ok(answer);
            }
            let acted = answer.status().is_success() && !bodies::announces_page(answer.headers());
            // With 303, the server has acted, and names the URL of the result.
            let unconfirmed = has_second_effect
                && (acted
                    || may_have_acted(answer.status())
                    || answer.status() == StatusCode::SEE_OTHER);
            return Ok(bodies::normalise(answer, unconfirmed, deadline).await);
        }
    }
}

/// Sends a request. If it is `repeatable`, redirects within the server are followed. Each answer
/// must begin within the idle timeout, if there is one.
async fn send(
    http: &reqwest::Client,
    mut request: Request,
    repeatable: bool,
    idle: Option<Duration>,
) -> reqwest::Result<Response> {
    let mut redirects = 0;
    loop {
        let can_follow = repeatable && redirects < redirects::MAX_REDIRECTS;
        let copy = can_follow.then(|| request.try_clone()).flatten();
        let answer = within(idle, http.execute(request)).await?;
        match copy.and_then(|copy| redirects::follow(copy, &answer)) {
            Some(next) => request = next,
            None => return Ok(answer),
        }
        redirects += 1;
    }
}

/// Whether a request that failed with `error` is sent again.
fn is_worth_repeating(error: &reqwest::Error, repeatable: bool) -> bool {
    // The same answer would be as long again.
    let too_long = matches!(AnswerError::find(error), Some(AnswerError::TooLong(_)));
    let invalid = error.is_builder() || error.is_redirect();
    !too_long && !invalid && (repeatable || !was_sent(error))
}

/// Whether the backend may have received the request.
fn was_sent(error: &reqwest::Error) -> bool {
    !error.is_connect() && !error.is_builder()
}

/// Reports whether a request may wait for `delay` and be sent again. A delay that the backend asked
/// for does not count.
fn extend(deadline: &mut Option<Instant>, delay: Duration, requested: bool) -> bool {
    match deadline {
        Some(deadline) if requested => *deadline += delay,
        Some(deadline) => return Instant::now() + delay < *deadline,
        None => {}
    }
    true
}
