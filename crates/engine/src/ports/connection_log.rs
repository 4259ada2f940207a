//! The log of the published ports of one sandbox.

use std::sync::{Arc, Mutex, PoisonError};

use crate::api::types::{EventDataNetwork, OperationEventType, PortConnections, PortEvent};
use crate::operation::events::{EventLog, SYSTEM};

/// The number of connections of one sandbox that get an event each. Later ones are only counted.
const MAX_EVENTS: u64 = 1000;

/// Records the published ports of one sandbox and the connections to them.
pub(super) struct ConnectionLog {
    log: Arc<EventLog>,
    counts: Mutex<ConnectionCounts>,
}

#[derive(Clone, Copy, Default)]
struct ConnectionCounts {
    connected: u64,
    refused: u64,
}

impl ConnectionLog {
    pub(super) fn new(log: Arc<EventLog>) -> Self {
        Self {
            log,
            counts: Mutex::default(),
        }
    }

    /// Records that a port is published.
    pub(super) fn record_published(&self, port: u16, host_port: u16) {
        self.append(Some(event("published", port, host_port)), None);
    }

    /// Records a connection from `client`. `refusal` is the reason why it was not made.
    pub(super) fn record_connection(
        &self,
        port: u16,
        host_port: u16,
        client: String,
        refusal: Option<String>,
    ) {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let verdict = if refusal.is_some() {
            counts.refused += 1;
            "refused"
        } else {
            counts.connected += 1;
            "connected"
        };
        let total = counts.connected + counts.refused;
        drop(counts);
        if total <= MAX_EVENTS {
            let event = PortEvent {
                client: Some(client),
                reason: refusal,
                ..event(verdict, port, host_port)
            };
            self.append(Some(event), None);
        }
    }

    /// Records the totals, if there was any connection.
    pub(super) fn finish(&self) {
        let counts = *self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        if counts.connected + counts.refused > 0 {
            let totals = PortConnections {
                connected: counts.connected,
                refused: counts.refused,
            };
            self.append(None, Some(totals));
        }
    }

    fn append(&self, event: Option<PortEvent>, totals: Option<PortConnections>) {
        let data = EventDataNetwork {
            interfaces: Vec::new(),
            configured: None,
            error: None,
            x_connection: None,
            x_connections: None,
            x_port: event,
            x_ports: totals,
        };
        self.log.append(SYSTEM, OperationEventType::Network, data);
    }
}

fn event(verdict: &str, port: u16, host_port: u16) -> PortEvent {
    PortEvent {
        verdict: verdict.to_owned(),
        port,
        host_port,
        client: None,
        reason: None,
    }
}
