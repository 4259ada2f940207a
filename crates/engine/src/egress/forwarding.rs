//! Rewrites requests for the next hop, and responses for the client.

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Request, Response, Uri};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;

use super::dial::Route;
use super::proxy_error::{ProxyBody, ProxyError};

/// Headers that concern one connection only (RFC 9110, section 7.6.1), and those that the proxy
/// itself answers.
const HOP_BY_HOP: &[&str] = &[
    "connection",
    "expect",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// Sets the request target in the form that the next hop of `route` expects.
pub(super) fn set_request_target<T>(
    request: &mut Request<T>,
    route: &Route,
    uri: &Uri,
) -> Result<(), ProxyError> {
    match route {
        Route::Direct(_) => {
            let path = uri.path_and_query().map_or("/", |path| path.as_str());
            *request.uri_mut() = path.parse().map_err(|_| ProxyError::malformed())?;
        }
        Route::Upstream { via, .. } => {
            *request.uri_mut() = uri.clone();
            if let Some(authorization) = &via.authorization {
                request
                    .headers_mut()
                    .insert(header::PROXY_AUTHORIZATION, authorization.clone());
            }
        }
    }
    Ok(())
}

/// Rewrites a request for the next hop. Its body is framed again from what was parsed, so that the
/// framing cannot hide a second request.
pub(super) fn outgoing_request(
    request: Request<Incoming>,
    authority: &str,
) -> Result<Request<Incoming>, ProxyError> {
    let (mut parts, body) = request.into_parts();
    // If a request has both headers, only the transfer coding counts (RFC 9112, section 6.3).
    if parts.headers.contains_key(header::TRANSFER_ENCODING) {
        parts.headers.remove(header::CONTENT_LENGTH);
    }
    remove_hop_by_hop(&mut parts.headers);
    let host = HeaderValue::from_str(authority).map_err(|_| ProxyError::malformed())?;
    parts.headers.insert(header::HOST, host);
    parts.version = http::Version::HTTP_11;
    // The case of the header names stays.
    parts.extensions.remove::<OnUpgrade>();
    Ok(Request::from_parts(parts, body))
}

/// Rewrites a response for the client.
pub(super) fn client_response(response: Response<Incoming>) -> Response<ProxyBody> {
    let (mut parts, body) = response.into_parts();
    remove_hop_by_hop(&mut parts.headers);
    parts.version = http::Version::HTTP_11;
    Response::from_parts(parts, body.boxed())
}

/// Removes the headers that are not for the next hop, and those that `Connection` lists.
fn remove_hop_by_hop(headers: &mut HeaderMap) {
    let listed: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        // A client may not remove these.
        .filter(|name| *name != header::CONTENT_LENGTH && *name != header::HOST)
        .collect();
    for name in listed
        .iter()
        .map(HeaderName::as_str)
        .chain(HOP_BY_HOP.iter().copied())
    {
        headers.remove(name);
    }
}
