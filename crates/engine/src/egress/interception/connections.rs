//! Connects the redirected connections of a sandbox to the outside.

use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr, SocketAddrV4};
use std::sync::Arc;
use std::time::Duration;

use contree_sandbox::InterceptedPackets;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::flow_table::{FlowId, FlowKey};
use super::frame::{self, Packet, Unreachable};
use super::{Interception, NAME_PORT, name_stream};
use crate::egress::dial::{DialError, OutgoingConnection};
use crate::egress::target::{Host, Target};
use crate::egress::traffic::{self, CountedStream};
use crate::egress::upstream::ConnectionPurpose;

/// The method of these connections in events.
const METHOD: &str = "TCP";
/// How long the kernel may take to complete a connection whose first packet was passed on. It never
/// completes one that the command has given up.
const ACCEPT_TIMEOUT: Duration = Duration::from_secs(30);
/// The pause after a connection that could not be accepted, until descriptors may be free.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Accepts redirected connections and gives each to its flow. Closes all others.
pub(super) async fn accept(shared: Arc<Interception>, listener: TcpListener) {
    loop {
        match listener.accept().await {
            Ok((stream, SocketAddr::V4(peer))) if *peer.ip() == InterceptedPackets::PEER => {
                let flow = shared.flows().take_accepted(peer.port());
                if let Some(flow) = flow {
                    let _ = flow.send(stream);
                }
            }
            Ok(_) => {}
            Err(_) => sleep(ACCEPT_PAUSE).await,
        }
    }
}

/// Serves a new flow until its connection ends or the sandbox does. `gone` is cancelled if the
/// command no longer waits for the connection.
pub(super) fn spawn(shared: &Arc<Interception>, id: FlowId, key: FlowKey, gone: CancellationToken) {
    let flow = Arc::clone(shared);
    shared.tasks.spawn_on(
        async move {
            tokio::select! {
                biased;
                () = flow.stop.cancelled() => {}
                // The flow is no longer in the table.
                () = gone.cancelled() => return,
                () = serve(&flow, id, key) => {}
            }
            flow.flows().end(id);
        },
        &shared.runtime,
    );
}

async fn serve(shared: &Interception, id: FlowId, key: FlowKey) {
    let context = &shared.context;
    let Ok(_permit) = context.permits.acquire().await else {
        return;
    };
    if key.outside.port() == NAME_PORT {
        // A name server has the same answers by TCP as by UDP, whichever is asked.
        if let Some(inside) = hand_over(shared, id).await {
            name_stream::answer(shared, inside).await;
        }
        return;
    }
    let target = target(shared, key.outside);
    let OutgoingConnection { stream, route } = match context
        .dialer
        .dial(&context.lookups, &target, ConnectionPurpose::Tunnel)
        .await
    {
        Ok(connection) => connection,
        Err(failure) => {
            context.log.record_failure(METHOD, &target, &failure);
            refuse(shared, id, &failure);
            return;
        }
    };
    context.log.record_open(METHOD, &target, &route);
    let Some(mut inside) = hand_over(shared, id).await else {
        return;
    };
    let mut outside = CountedStream::new(stream, Arc::clone(&context.log.counters));
    traffic::tunnel(&mut inside, &mut outside, context.idle).await;
}

/// Passes the first packet of a flow to the listener. Returns the connection that it accepts, or
/// `None` if the command has given up.
async fn hand_over(shared: &Interception, id: FlowId) -> Option<TcpStream> {
    let (sender, accepted) = oneshot::channel();
    let mut first = shared.flows().pass(id, sender)?;
    frame::redirect(&mut first, peer(id.number), LISTENER)?;
    shared.send(&first);
    let inside = timeout(ACCEPT_TIMEOUT, accepted).await.ok()?.ok()?;
    let _ = inside.set_nodelay(true);
    Some(inside)
}

/// The address of the listener, to which connections are redirected.
pub(super) const LISTENER: SocketAddrV4 = SocketAddrV4::new(
    InterceptedPackets::LISTENER,
    InterceptedPackets::LISTENER_PORT,
);

/// The address from which the listener sees a flow.
pub(super) fn peer(number: u16) -> SocketAddrV4 {
    SocketAddrV4::new(InterceptedPackets::PEER, number)
}

/// The target of a connection: the name that has the address, or else the address.
fn target(shared: &Interception, outside: SocketAddrV4) -> Target {
    let host = match shared.names().name(*outside.ip()) {
        Some(name) => Host::Name(name.to_owned()),
        None => Host::Address(IpAddr::V4(*outside.ip())),
    };
    Target {
        host,
        port: outside.port(),
    }
}

/// Answers the first packet of a flow that has no connection to the outside.
fn refuse(shared: &Interception, id: FlowId, failure: &DialError) {
    let Some(first) = shared.flows().refuse(id) else {
        return;
    };
    let answer = match failure {
        DialError::Denial(_) => frame::unreachable(&first, Unreachable::Prohibited),
        DialError::Connect { source, .. } => match source.kind() {
            ErrorKind::ConnectionRefused | ErrorKind::ConnectionReset => {
                match frame::parse(&first) {
                    Some(Packet::Tcp(segment)) => frame::reset(&segment),
                    _ => None,
                }
            }
            ErrorKind::NetworkUnreachable => frame::unreachable(&first, Unreachable::Network),
            _ => frame::unreachable(&first, Unreachable::Host),
        },
        _ => frame::unreachable(&first, Unreachable::Host),
    };
    if let Some(answer) = answer {
        shared.send(&answer);
    }
}
