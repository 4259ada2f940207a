//! Bounds of the connections to an engine.

use std::time::Duration;

use contree_http::connections::ConnectionBounds;

/// The most connections of other programs.
const MAX_CONNECTIONS: usize = 1024;

/// The most connections on the private socket. Only this user can connect to it.
const MAX_PRIVATE_CONNECTIONS: usize = 8192;

/// How long a client may leave an answer unread. A client that follows an event stream may pause,
/// and resume the stream after its connection was closed.
const WRITE_TIMEOUT: Duration = Duration::from_secs(300);

/// How long a client may pause within the body of a request.
const BODY_TIMEOUT: Duration = Duration::from_secs(60);

/// How long clients may take to read the last answers when the engine stops.
const DRAIN_TIMEOUT: Duration = Duration::from_millis(250);

/// Bounds of the connections of other programs.
///
/// A connection takes one file descriptor, and an upload takes a second one. So connections get a
/// quarter of the process's limit, and the rest stays for sandboxes. One peer gets three quarters
/// of the connections, so that it cannot keep the others out.
pub(crate) fn public_bounds() -> ConnectionBounds {
    let descriptors = contree_sandbox::descriptor_limit();
    let share = usize::try_from(descriptors / 4).unwrap_or(usize::MAX);
    let max_connections = share.clamp(8, MAX_CONNECTIONS);
    ConnectionBounds {
        max_connections,
        max_per_peer: Some(max_connections / 4 * 3),
        ..private_bounds()
    }
}

/// Bounds of the connections on the private socket.
pub(crate) fn private_bounds() -> ConnectionBounds {
    ConnectionBounds {
        max_connections: MAX_PRIVATE_CONNECTIONS,
        max_per_peer: None,
        write_timeout: Some(WRITE_TIMEOUT),
        body_timeout: Some(BODY_TIMEOUT),
        buffer_bytes: None,
        drain_timeout: DRAIN_TIMEOUT,
    }
}
