//! Bodies of error responses. Proxies send HTML, or nothing, where the API promises an `Error`.

use bytes::{Bytes, BytesMut};
use http::{
    HeaderMap, HeaderName, HeaderValue, StatusCode,
    header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, TRANSFER_ENCODING},
};
use reqwest::{Response, ResponseBuilderExt as _};
use serde_json::Value;
use tokio::time::Instant;

use super::answers::until;
use crate::types;

/// Maximum number of bytes that are read of an error body.
const LIMIT: usize = 256 * 1024;

/// The header that marks a response to a request on which the backend has or may have acted.
pub(super) const UNCONFIRMED: HeaderName = HeaderName::from_static("contree-unconfirmed");

/// Replaces the body of an error response with an `Error` in JSON. The body is read until
/// `deadline`. If `unconfirmed`, the response gets the mark [`UNCONFIRMED`].
///
/// Otherwise the generated client would report a decoding error and lose the status.
pub(super) async fn normalise(
    mut response: Response,
    unconfirmed: bool,
    deadline: Option<Instant>,
) -> Response {
    let status = response.status();
    if !status.is_client_error() && !status.is_server_error() {
        let headers = response.headers_mut();
        headers.remove(UNCONFIRMED);
        if unconfirmed {
            headers.insert(UNCONFIRMED, HeaderValue::from_static("1"));
        }
        return response;
    }
    let url = response.url().clone();
    let headers = response.headers().clone();
    let mut body = BytesMut::new();
    // If the body breaks off or takes too long, the received part is used.
    while let Some(Ok(Some(chunk))) = until(deadline, response.chunk()).await {
        body.extend_from_slice(&chunk);
        if body.len() > LIMIT {
            break;
        }
    }
    let body = error_json(status, &body.freeze());
    let mut builder = http::Response::builder().status(status).url(url);
    for (name, value) in &headers {
        let about_body = [
            CONTENT_LENGTH,
            CONTENT_ENCODING,
            CONTENT_TYPE,
            TRANSFER_ENCODING,
            UNCONFIRMED,
        ]
        .contains(name);
        if !about_body {
            builder = builder.header(name, value);
        }
    }
    if unconfirmed {
        builder = builder.header(UNCONFIRMED, HeaderValue::from_static("1"));
    }
    match builder.header(CONTENT_TYPE, "application/json").body(body) {
        Ok(response) => response.into(),
        Err(_) => response,
    }
}

/// The body as an `Error` in JSON.
fn error_json(status: StatusCode, body: &[u8]) -> Vec<u8> {
    let error = match serde_json::from_slice::<types::Error>(body) {
        Ok(mut error) => {
            error.status.get_or_insert_with(|| status.as_u16().into());
            error
        }
        Err(_) => types::Error {
            error: fallback_message(status, body).into(),
            status: Some(status.as_u16().into()),
            traceback: Vec::new(),
            x_code: None,
        },
    };
    serde_json::to_vec(&error).unwrap_or_default()
}

/// The message in a body that is not an `Error`.
fn fallback_message(status: StatusCode, body: &[u8]) -> String {
    let message = match serde_json::from_slice::<Value>(body) {
        Ok(Value::Object(fields)) => ["message", "detail", "title"]
            .iter()
            .find_map(|name| fields.get(*name)?.as_str())
            .map_or_else(|| Value::Object(fields.clone()).to_string(), str::to_owned),
        Ok(Value::String(text)) => text,
        Ok(other) => other.to_string(),
        Err(_) => String::from_utf8_lossy(body).into_owned(),
    };
    let mut message = excerpt(&message);
    if message.is_empty() {
        message = reason(status).to_owned();
    }
    if is_page(body) {
        message.push_str(page_hint(status));
    }
    message
}

/// The reason why an error may come as a web page, with a fix. Proxies before a service have pages
/// for errors of the service, which need no fix.
fn page_hint(status: StatusCode) -> &'static str {
    match status.as_u16() {
        404 | 405 => "; the answer is a web page, so this may be no Contree API: check the URL",
        400 | 401 | 403 | 407 | 451 => {
            "; the answer is a web page, so another server or a proxy may have sent it: check the URL and the proxy"
        }
        _ => "",
    }
}

/// Whether a body is a web page. JSON never begins like one.
pub(super) fn is_page(body: &[u8]) -> bool {
    let text = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body);
    text.trim_ascii_start().starts_with(b"<")
}

/// Whether the headers of an answer announce a web page.
pub(super) fn announces_page(headers: &HeaderMap) -> bool {
    matches!(
        media_type(headers).as_deref(),
        Some("text/html" | "application/xhtml+xml")
    )
}

/// The media type of an answer in lower case, without parameters.
pub(super) fn media_type(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(CONTENT_TYPE)?.to_str().ok()?;
    let (name, _) = value.split_once(';').unwrap_or((value, ""));
    Some(name.trim().to_ascii_lowercase())
}

/// The standard reason phrase of a status.
pub(super) fn reason(status: StatusCode) -> &'static str {
    status.canonical_reason().unwrap_or("no reason given")
}

/// The text without markup, on one line, cut to 300 characters.
pub(super) fn excerpt(text: &str) -> String {
    const WIDTH: usize = 300;
    let mut plain = String::new();
    let mut rest = text.trim_start_matches('\u{feff}');
    // A `<` without a `>` after it is text.
    while let Some((before, after)) = rest.split_once('<') {
        let Some((tag, after)) = after.split_once('>') else {
            break;
        };
        plain.push_str(before);
        plain.push(' ');
        let element = ["style", "script"]
            .iter()
            .find(|name| tag.to_ascii_lowercase().starts_with(**name));
        rest = match element {
            Some(name) => {
                let end = format!("</{name}>");
                let start = after.to_ascii_lowercase().find(&end);
                start.map_or("", |start| &after[start + end.len()..])
            }
            None => after,
        };
    }
    plain.push_str(rest);
    let line = plain.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(WIDTH) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}

/// An empty response with `status` that replaces another response.
pub(super) fn empty(status: StatusCode, replaced: &Response) -> Option<Response> {
    let builder = http::Response::builder()
        .status(status)
        .url(replaced.url().clone());
    builder.body(Bytes::new()).ok().map(Response::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(status: u16, body: &str) -> types::Error {
        let status = StatusCode::from_u16(status).unwrap();
        serde_json::from_slice(&error_json(status, body.as_bytes())).unwrap()
    }

    #[test]
    fn bodies_become_errors_with_a_status() {
        for (status, body, message) in [
            (
                502,
                "<html><head><title>502</title><style>b{}</style></head><h1>Bad\n gateway</h1>",
                "502 Bad gateway",
            ),
            (404, "", "Not Found"),
            (
                404,
                "<html><h1>Nothing here</h1>",
                "Nothing here; the answer is a web page, so this may be no Contree API: check the URL",
            ),
            (
                403,
                "\u{feff}<html><h1>Blocked by policy</h1>",
                "Blocked by policy; the answer is a web page, so another server or a proxy may have sent it: check the URL and the proxy",
            ),
            (403, "no", "no"),
            (429, "slow down", "slow down"),
            (400, r#"{"error": "bad tag"}"#, "bad tag"),
            (400, r#"{"error": {"tag": "bad"}}"#, r#"{"tag":"bad"}"#),
            (400, r#"{"message": "no"}"#, "no"),
            (400, r#"{"code": 7}"#, r#"{"code":7}"#),
            (400, "a < b", "a < b"),
            (599, "", "no reason given"),
        ] {
            let error = error(status, body);
            assert_eq!(error.message(), message);
            assert_eq!(error.status, Some(status.into()));
        }
    }

    #[test]
    fn excerpts_leave_out_styles_and_scripts_in_any_case() {
        let page =
            "<html><STYLE>p { color: red }</Style><script>x()</SCRIPT><p>Down for repair</p>";
        assert_eq!(excerpt(page), "Down for repair");
    }

    #[test]
    fn excerpts_are_cut_between_characters() {
        let cut = excerpt(&"ä".repeat(500));
        assert_eq!(cut.chars().count(), 301);
    }
}
