//! The rules for retries, and the parsing of `Retry-After`.

use std::time::{Duration, SystemTime};

use http::{HeaderMap, Method, StatusCode, header::RETRY_AFTER};

/// The delay that `Retry-After` asks for, which is in seconds or a point in time.
pub(crate) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let value = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = value.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let at = httpdate::parse_http_date(value).ok()?;
    // A time in the past asks for no delay.
    Some(at.duration_since(SystemTime::now()).unwrap_or_default())
}

/// Whether sending a request of the API operation twice has no second effect.
///
/// Such a request is retried even if the backend may have acted on the first attempt. An upload is
/// safe to repeat as well, but `files.rs` retries it, since its content must be reopened.
pub(super) fn is_repeatable(operation_id: &str, method: &Method) -> bool {
    let safe = [Method::GET, Method::HEAD, Method::PATCH, Method::DELETE];
    safe.contains(method) && operation_id != "operation_subprocess_kill"
}

/// Whether the backend may have acted on a request that failed with this status.
pub(super) fn may_have_acted(status: StatusCode) -> bool {
    let refused = [
        StatusCode::NOT_IMPLEMENTED,
        StatusCode::HTTP_VERSION_NOT_SUPPORTED,
    ];
    status.is_server_error() && !refused.contains(&status)
}

/// Whether a request is retried after an answer with this status.
pub(super) fn calls_for_retry(operation_id: &str, repeatable: bool, status: StatusCode) -> bool {
    match status {
        // With these, the server states that it has not acted on the request.
        StatusCode::TOO_EARLY | StatusCode::TOO_MANY_REQUESTS => true,
        // The log is being completed.
        StatusCode::GONE => operation_id == "get_operation_events",
        // With 501 and 505, the answer would be the same again.
        status => repeatable && may_have_acted(status),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_requests_without_a_second_effect_are_repeated_after_a_failure() {
        let repeated = |id: &str, method: Method, status: u16| {
            let repeatable = is_repeatable(id, &method);
            calls_for_retry(id, repeatable, StatusCode::from_u16(status).unwrap())
        };
        for status in [500, 502, 503, 504] {
            assert!(repeated("list_images", Method::GET, status));
            assert!(repeated("check_file_exists", Method::HEAD, status));
            assert!(repeated("update_image_tag", Method::PATCH, status));
            assert!(repeated("cancel_operation", Method::DELETE, status));
            assert!(!repeated(
                "operation_subprocess_kill",
                Method::DELETE,
                status
            ));
            assert!(!repeated("spawn_instance", Method::POST, status));
            assert!(!repeated("import_image", Method::POST, status));
            assert!(!repeated(
                "operation_subprocess_stdin",
                Method::POST,
                status
            ));
        }
        for status in [425, 429] {
            assert!(repeated("spawn_instance", Method::POST, status));
            assert!(repeated(
                "operation_subprocess_kill",
                Method::DELETE,
                status
            ));
        }
        assert!(repeated("get_operation_events", Method::GET, 410));
        assert!(!repeated("operation_subprocess_stdin", Method::POST, 410));
        for status in [400, 401, 403, 404, 409, 422, 501] {
            assert!(!repeated("list_images", Method::GET, status));
        }
    }

    #[test]
    fn retry_after_is_seconds_or_a_time() {
        let read = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(RETRY_AFTER, value.parse().unwrap());
            retry_after(&headers)
        };
        assert_eq!(read("7"), Some(Duration::from_secs(7)));
        assert_eq!(read("Sun, 06 Nov 1994 08:49:37 GMT"), Some(Duration::ZERO));
        let later = SystemTime::now() + Duration::from_secs(100);
        let wait = read(&httpdate::fmt_http_date(later)).unwrap();
        assert!(wait > Duration::from_secs(90) && wait <= Duration::from_secs(100));
        assert_eq!(read("Sunday, 06-Nov-94 08:49:37 GMT"), Some(Duration::ZERO));
        assert_eq!(read("soon"), None);
        assert_eq!(retry_after(&HeaderMap::new()), None);
    }
}
