//! Records a sandbox's connections: an event for each, and a summary of denials at the end.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};

use super::dial::{DialError, Route};
use super::target::{Target, TargetError};
use super::traffic::ByteCounters;
use crate::api::types::{
    EngineConnection, EngineConnections, EventDataNetwork, NetworkInterface, OperationEventType,
};
use crate::operation::events::{EventLog, SYSTEM};

/// The number of connections of one sandbox that get an event each. Later ones are only counted.
const MAX_EVENTS: u64 = 1000;

/// The most distinct denials of one sandbox that are counted separately.
const MAX_DENIALS: usize = 64;

/// The most denials that the summary lists.
const LISTED_DENIALS: usize = 5;

/// Records the connections of one sandbox.
pub(super) struct ConnectionLog {
    log: Arc<EventLog>,
    pub(super) counters: Arc<ByteCounters>,
    counts: Mutex<ConnectionCounts>,
}

/// Numbers of connections by verdict, with the distinct denials.
#[derive(Default)]
struct ConnectionCounts {
    allowed: u64,
    denied: u64,
    failed: u64,
    denials: Vec<DenialCount>,
}

/// A denial and how often it occurred.
struct DenialCount {
    target: String,
    reason: String,
    times: u64,
}

impl ConnectionLog {
    pub(super) fn new(log: Arc<EventLog>) -> Self {
        Self {
            log,
            counters: Arc::default(),
            counts: Mutex::default(),
        }
    }

    /// Records an open connection.
    pub(super) fn record_open(&self, method: &str, target: &Target, route: &Route) {
        let mut event = connection("allowed", method, target);
        match route {
            Route::Direct(address) => event.address = Some(address.ip().to_string()),
            Route::Upstream { via, checked } => {
                event.via = Some(via.to_string());
                if !checked {
                    event.reason = Some(
                        "only the name could be checked: this machine's proxy resolves it"
                            .to_owned(),
                    );
                }
            }
        }
        self.record(|counts| counts.allowed += 1, event);
    }

    /// Records a connection that was denied or failed.
    pub(super) fn record_failure(&self, method: &str, target: &Target, failure: &DialError) {
        let reason = failure.to_string();
        let denied = failure.is_denied();
        let verdict = if denied { "denied" } else { "failed" };
        let event = EngineConnection {
            reason: Some(reason.clone()),
            ..connection(verdict, method, target)
        };
        if denied {
            self.record(
                |counts| counts.count_denial(target.to_string(), &reason),
                event,
            );
        } else {
            self.record(|counts| counts.failed += 1, event);
        }
    }

    /// Records a target that could not be parsed as a host.
    pub(super) fn record_invalid_target(
        &self,
        method: &str,
        requested: &str,
        reason: &TargetError,
    ) {
        let reason = reason.to_string();
        let requested: String = requested.chars().take(200).collect();
        let event = EngineConnection {
            verdict: "denied".to_owned(),
            method: method.to_owned(),
            host: requested,
            port: None,
            address: None,
            via: None,
            reason: Some(reason.clone()),
        };
        self.record(|counts| counts.count_denial(String::new(), &reason), event);
    }

    fn record(&self, update: impl FnOnce(&mut ConnectionCounts), event: EngineConnection) {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        update(&mut counts);
        let total = counts.allowed + counts.denied + counts.failed;
        drop(counts);
        if total <= MAX_EVENTS {
            let data = EventDataNetwork {
                interfaces: Vec::new(),
                configured: None,
                error: None,
                x_connection: Some(event),
                x_connections: None,
                x_port: None,
                x_ports: None,
            };
            self.log.append(SYSTEM, OperationEventType::Network, data);
        }
    }

    /// Records the totals, if there was any connection. Returns the summary of denials for the
    /// command's result, if any connection was denied.
    pub(super) fn finish(&self) -> Option<String> {
        let counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        if counts.allowed + counts.denied + counts.failed > 0 {
            let proxy = NetworkInterface {
                name: "proxy".to_owned(),
                rx_bytes: self.counters.received.load(Ordering::Relaxed),
                rx_packets: 0,
                rx_errs: 0,
                rx_drop: 0,
                tx_bytes: self.counters.sent.load(Ordering::Relaxed),
                tx_packets: 0,
                tx_errs: 0,
                tx_drop: 0,
            };
            let data = EventDataNetwork {
                interfaces: vec![proxy],
                configured: None,
                error: None,
                x_connection: None,
                x_connections: Some(EngineConnections {
                    allowed: counts.allowed,
                    denied: counts.denied,
                    failed: counts.failed,
                }),
                x_port: None,
                x_ports: None,
            };
            self.log.append(SYSTEM, OperationEventType::Network, data);
        }
        counts.summary()
    }
}

/// The event of a connection, without its address, proxy and reason.
fn connection(verdict: &str, method: &str, target: &Target) -> EngineConnection {
    EngineConnection {
        verdict: verdict.to_owned(),
        method: method.to_owned(),
        host: target.host.to_string(),
        port: Some(target.port),
        address: None,
        via: None,
        reason: None,
    }
}

impl ConnectionCounts {
    fn count_denial(&mut self, target: String, reason: &str) {
        self.denied += 1;
        if let Some(denial) = self
            .denials
            .iter_mut()
            .find(|denial| denial.target == target && denial.reason == reason)
        {
            denial.times += 1;
        } else if self.denials.len() < MAX_DENIALS {
            self.denials.push(DenialCount {
                target,
                reason: reason.to_owned(),
                times: 1,
            });
        }
    }

    fn summary(&self) -> Option<String> {
        let listed: Vec<String> = self
            .denials
            .iter()
            .take(LISTED_DENIALS)
            .map(DenialCount::sentence)
            .collect();
        let listed_times: u64 = self
            .denials
            .iter()
            .take(LISTED_DENIALS)
            .map(|denial| denial.times)
            .sum();
        let mut list = listed.join("; ");
        if self.denied > listed_times {
            list.push_str(&format!("; and {} more", self.denied - listed_times));
        }
        let connections = match self.denied {
            0 => return None,
            1 => "1 connection was",
            _ => &format!("{} connections were", self.denied),
        };
        Some(format!(
            "{connections} denied by the network policy of this sandbox: {list} (`contree-mcp doctor` says what may be reached)"
        ))
    }
}

impl DenialCount {
    fn sentence(&self) -> String {
        // Most reasons already begin with the host.
        let host = self.target.rsplit_once(':').map_or("", |(host, _)| host);
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        let mut text = if self.target.is_empty() || self.reason.starts_with(bare) {
            self.reason.clone()
        } else {
            format!("{}: {}", self.target, self.reason)
        };
        if self.times > 1 {
            text.push_str(&format!(" ({} times)", self.times));
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_summary_is_bounded_and_counts_every_denial() {
        let mut counts = ConnectionCounts::default();
        assert_eq!(counts.summary(), None);
        counts.count_denial("10.0.0.1:80".to_owned(), "10.0.0.1 is a private address");
        assert_eq!(
            counts.summary().expect("a line"),
            "1 connection was denied by the network policy of this sandbox: 10.0.0.1 is a private address (`contree-mcp doctor` says what may be reached)"
        );
        for n in 0..1000 {
            counts.count_denial(
                format!("host{}.example:443", n % 500),
                "host is not on the allow list",
            );
        }
        counts.count_denial("10.0.0.1:80".to_owned(), "10.0.0.1 is a private address");
        let line = counts.summary().expect("a line");
        assert!(line.starts_with("1002 connections were denied"), "{line}");
        assert!(
            line.contains(
                "10.0.0.1 is a private address (2 times); host0.example:443: host is not"
            ),
            "{line}"
        );
        assert!(line.len() < 1000, "{line}");
        assert_eq!(counts.denials.len(), MAX_DENIALS);
    }
}
