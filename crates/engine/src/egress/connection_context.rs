//! The state that all connections of one sandbox share.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;

use super::connection_log::ConnectionLog;
use super::dial::Dialer;
use super::lookup::SandboxLookups;

/// The state that all connections of a sandbox share.
#[derive(Clone)]
pub(super) struct ConnectionContext {
    pub(super) dialer: Arc<Dialer>,
    pub(super) lookups: Arc<SandboxLookups>,
    pub(super) log: Arc<ConnectionLog>,
    /// A permit for each concurrent connection.
    pub(super) permits: Arc<Semaphore>,
    /// How long a connection may have no traffic.
    pub(super) idle: Duration,
}
