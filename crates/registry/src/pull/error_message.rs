//! The message in the body of an unsuccessful response (OCI distribution specification, "Error
//! Codes").

use std::time::Duration;

use reqwest::Response;
use serde_json::Value;

/// How long the whole body of an unsuccessful response may take.
const BODY_TIMEOUT: Duration = Duration::from_secs(5);
/// The most bytes of such a body.
const MAX_BODY_BYTES: usize = 64 * 1024;
/// The most characters of a message.
const MAX_MESSAGE_CHARACTERS: usize = 200;

/// The first error in a response, written `: MESSAGE` for the end of a sentence, with at most 200
/// characters of the message. Empty if there is no error, or if it does not arrive in time.
pub(super) async fn error_message(response: Response) -> String {
    let mut body = Vec::new();
    // After the time-out, the part that has arrived may still be a whole document.
    let _ = tokio::time::timeout(BODY_TIMEOUT, read_body(response, &mut body)).await;
    let Some(message) = first_message(&body) else {
        return String::new();
    };
    let message: String = message
        .chars()
        .filter(|c| !c.is_control())
        .take(MAX_MESSAGE_CHARACTERS)
        .collect();
    format!(": {message}")
}

/// Reads a body until its end, an error or the limit.
async fn read_body(mut response: Response, body: &mut Vec<u8>) {
    while let Ok(Some(chunk)) = response.chunk().await {
        body.extend_from_slice(&chunk);
        if body.len() > MAX_BODY_BYTES {
            body.clear();
            return;
        }
    }
}

fn first_message(body: &[u8]) -> Option<String> {
    let body: Value = serde_json::from_slice(body).ok()?;
    let first = body.get("errors")?.get(0)?;
    let text = |name| first.get(name)?.as_str().filter(|text| !text.is_empty());
    text("message").or_else(|| text("code")).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use futures_util::stream::{StreamExt as _, iter, pending, unfold};
    use reqwest::Body;

    use super::*;

    fn response(body: Body) -> Response {
        Response::from(http::Response::new(body))
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_that_trickles_holds_an_error_only_for_the_time_of_a_body() {
        let trickle = unfold((), |()| async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            Some((Ok::<_, std::io::Error>("x"), ()))
        });
        let start = tokio::time::Instant::now();
        let message = error_message(response(Body::wrap_stream(trickle))).await;
        assert_eq!(message, "");
        assert!(start.elapsed() <= BODY_TIMEOUT, "{:?}", start.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn a_message_counts_even_if_its_connection_stays_open() {
        let text = r#"{"errors": [{"code": "DENIED", "message": "not\u0007 here"}]}"#;
        let stream = iter([Ok::<_, std::io::Error>(text)]).chain(pending());
        let message = error_message(response(Body::wrap_stream(stream))).await;
        assert_eq!(message, ": not here");
    }
}
