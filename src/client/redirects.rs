//! The redirects that the client follows: those of one origin, for requests without a second
//! effect.

use http::{HeaderMap, Method, StatusCode, header::LOCATION};
use reqwest::{Request, Response};
use url::Url;

/// The most redirects of one request.
pub(super) const MAX_REDIRECTS: usize = 5;

/// The request that follows the redirect in `answer`; none if it is not a redirect, or is not
/// followed. `request` is a copy of the redirected request, which has no second effect.
///
/// Other origins would receive the credentials. With 301, 302 and 303, only a read keeps its
/// method, so other requests follow 307 and 308 alone.
pub(super) fn follow(mut request: Request, answer: &Response) -> Option<Request> {
    let is_read = [Method::GET, Method::HEAD].contains(request.method());
    let is_followed = match answer.status() {
        StatusCode::TEMPORARY_REDIRECT | StatusCode::PERMANENT_REDIRECT => true,
        StatusCode::MOVED_PERMANENTLY | StatusCode::FOUND | StatusCode::SEE_OTHER => is_read,
        _ => false,
    };
    let target = target(answer.url(), answer.headers()).filter(|_| is_followed)?;
    if target.origin() != answer.url().origin() {
        return None;
    }
    *request.url_mut() = target;
    Some(request)
}

/// The URL to which an answer from `from` redirects.
pub(super) fn target(from: &Url, headers: &HeaderMap) -> Option<Url> {
    let location = headers.get(LOCATION)?.to_str().ok()?;
    from.join(location).ok()
}

/// Why a redirect of `from` was not followed.
pub(super) fn why_not_followed(from: &Url, headers: &HeaderMap) -> String {
    let Some(target) = target(from, headers) else {
        return "a redirect without a usable target was not followed: check the URL".to_owned();
    };
    if target.origin() == from.origin() {
        return format!(
            "a redirect to `{}` was not followed, since the request could take effect twice, or since there were more than {MAX_REDIRECTS}: \
             set the backend's URL to the address that needs no redirect",
            target.path()
        );
    }
    let host = target.host_str().unwrap_or("another server");
    format!(
        "a redirect to {host} was not followed, since it would send the credentials to another server: check the URL"
    )
}
