//! Answers the look-ups of names by a sandbox's programs.
//!
//! A name gets an address of its own (see [`Names`]), and the engine connects by name. So rules
//! about names hold exactly, and the real addresses never enter the sandbox.

use std::net::Ipv4Addr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::dns::{self, Answer, Question};
use super::names::Names;
use crate::egress::connection_context::ConnectionContext;
use crate::egress::target::{Host, Target};
use crate::egress::upstream::ConnectionPurpose;

/// How long a look-up may take. Resolvers ask again after 5 seconds.
const RESOLVE_TIMEOUT: Duration = Duration::from_secs(4);
/// The port for which the machine's proxy is chosen.
const EXAMPLE_PORT: u16 = 443;

/// Answers a query. `None` if it is not one.
pub(super) async fn answer(
    context: &ConnectionContext,
    names: &Mutex<Names>,
    query: &[u8],
) -> Option<Vec<u8>> {
    let answer = match dns::question(query)? {
        Question::Address(name) => address(context, names, &name).await,
        Question::Ipv6Address(name) => match address(context, names, &name).await {
            Answer::Address(_) => Answer::NoRecord,
            other => other,
        },
        Question::Other => Answer::NoRecord,
    };
    dns::answer(query, answer)
}

async fn address(context: &ConnectionContext, names: &Mutex<Names>, name: &str) -> Answer {
    let Ok(Host::Name(name)) = Host::parse(name) else {
        return Answer::NoName;
    };
    let host = Host::Name(name.clone());
    if host.is_within("localhost") {
        // The sandbox's own (RFC 6761, section 6.3).
        return Answer::Address(Ipv4Addr::LOCALHOST);
    }
    if let Some(address) = lock(names).address(&name) {
        return Answer::Address(address);
    }
    // The engine never looks up a name that is denied at every port. The connection to its address
    // is denied and recorded, with its port and the reason.
    if context.dialer.policy.may_resolve(&host) && !is_resolved_by_proxy(context, &host) {
        match context.lookups.resolve(&name, RESOLVE_TIMEOUT).await {
            Ok(found) if found.is_empty() => return Answer::NoName,
            Ok(_) => {}
            Err(error) if error.is_temporary() => return Answer::Failed,
            Err(_) => return Answer::NoName,
        }
    }
    Answer::Address(lock(names).assign(&name))
}

/// Returns whether the machine's proxy resolves the name. This machine may be unable to.
fn is_resolved_by_proxy(context: &ConnectionContext, host: &Host) -> bool {
    let target = Target {
        host: host.clone(),
        port: EXAMPLE_PORT,
    };
    let proxy = context
        .dialer
        .upstream
        .proxy_for(&target, ConnectionPurpose::Tunnel);
    // An unsupported proxy fails the connection, which reports it.
    !matches!(proxy, Ok(None))
}

fn lock(names: &Mutex<Names>) -> std::sync::MutexGuard<'_, Names> {
    names.lock().unwrap_or_else(PoisonError::into_inner)
}
