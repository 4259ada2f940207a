//! Records a sandbox's connections: an event for each, and a summary of denials at the end.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};

use super::counted::Counters;
use super::dial::{DialError, Route};
use super::target::{Target, TargetError};
use crate::api::types::{
    EngineConnection, EngineConnections, EventDataNetwork, NetworkInterface, OperationEventType,
};
use crate::operation::events::{EventLog, SYSTEM};

/// Connections of one sandbox that get an event each; later ones are only counted.
const EVENTS: u64 = 1000;

/// Distinct denials of one sandbox that are counted separately.
const DENIALS: usize = 64;

/// Denials that the summary lists.
const NAMED: usize = 5;

/// Records the connections of one sandbox.
pub(super) struct ConnectionLog {
    log: Arc<EventLog>,
    pub(super) counters: Arc<Counters>,
    tally: Mutex<Tally>,
}

/// Numbers of connections by verdict, with the distinct denials.
#[derive(Default)]
struct Tally {
    allowed: u64,
    denied: u64,
    failed: u64,
    denials: Vec<Denial>,
}

/// A denial and how often it occurred.
struct Denial {
    target: String,
    why: String,
    times: u64,
}

impl ConnectionLog {
    pub(super) fn new(log: Arc<EventLog>) -> Self {
        Self {
            log,
            counters: Arc::default(),
            tally: Mutex::default(),
        }
    }

    /// Records an open connection.
    pub(super) fn made(&self, method: &str, target: &Target, route: &Route) {
        let mut about = connection("allowed", method, target);
        match route {
            Route::Direct(address) => about.address = Some(address.ip().to_string()),
            Route::Upstream { via, checked } => {
                about.via = Some(via.to_string());
                if !checked {
                    about.reason = Some(
                        "only the name could be checked: this machine's proxy resolves it"
                            .to_owned(),
                    );
                }
            }
        }
        self.count(|tally| tally.allowed += 1, about);
    }

    /// Records a connection that was denied or failed.
    pub(super) fn refused(&self, method: &str, target: &Target, failure: &DialError) {
        let why = failure.to_string();
        let denied = failure.is_denied();
        let verdict = if denied { "denied" } else { "failed" };
        let about = EngineConnection {
            reason: Some(why.clone()),
            ..connection(verdict, method, target)
        };
        if denied {
            self.count(|tally| tally.deny(target.to_string(), &why), about);
        } else {
            self.count(|tally| tally.failed += 1, about);
        }
    }

    /// Records a target that could not be parsed as a host.
    pub(super) fn unreadable(&self, method: &str, requested: &str, why: &TargetError) {
        let why = why.to_string();
        let requested: String = requested.chars().take(200).collect();
        let about = EngineConnection {
            verdict: "denied".to_owned(),
            method: method.to_owned(),
            host: requested,
            port: None,
            address: None,
            via: None,
            reason: Some(why.clone()),
        };
        self.count(|tally| tally.deny(String::new(), &why), about);
    }

    fn count(&self, count: impl FnOnce(&mut Tally), about: EngineConnection) {
        let mut tally = self.tally.lock().unwrap_or_else(PoisonError::into_inner);
        count(&mut tally);
        let so_far = tally.allowed + tally.denied + tally.failed;
        drop(tally);
        if so_far <= EVENTS {
            let data = EventDataNetwork {
                interfaces: Vec::new(),
                configured: None,
                error: None,
                x_connection: Some(about),
                x_connections: None,
            };
            self.log.append(SYSTEM, OperationEventType::Network, data);
        }
    }

    /// Records the totals, if there was any connection. Returns the summary for the end of the
    /// result, if any connection was denied.
    pub(super) fn finish(&self) -> Option<String> {
        let tally = self.tally.lock().unwrap_or_else(PoisonError::into_inner);
        if tally.allowed + tally.denied + tally.failed > 0 {
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
                    allowed: tally.allowed,
                    denied: tally.denied,
                    failed: tally.failed,
                }),
            };
            self.log.append(SYSTEM, OperationEventType::Network, data);
        }
        tally.summary()
    }
}

/// The event of a connection, without its outcome.
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

impl Tally {
    fn deny(&mut self, target: String, why: &str) {
        self.denied += 1;
        if let Some(denial) = self
            .denials
            .iter_mut()
            .find(|denial| denial.target == target && denial.why == why)
        {
            denial.times += 1;
        } else if self.denials.len() < DENIALS {
            self.denials.push(Denial {
                target,
                why: why.to_owned(),
                times: 1,
            });
        }
    }

    fn summary(&self) -> Option<String> {
        let listed: Vec<String> = self
            .denials
            .iter()
            .take(NAMED)
            .map(Denial::sentence)
            .collect();
        let listed_times: u64 = self
            .denials
            .iter()
            .take(NAMED)
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

impl Denial {
    fn sentence(&self) -> String {
        // Most reasons already begin with the host.
        let host = self.target.rsplit_once(':').map_or("", |(host, _)| host);
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        let mut text = if self.target.is_empty() || self.why.starts_with(bare) {
            self.why.clone()
        } else {
            format!("{}: {}", self.target, self.why)
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
    fn the_line_at_the_end_is_bounded_and_counts_everything() {
        let mut tally = Tally::default();
        assert_eq!(tally.summary(), None);
        tally.deny("10.0.0.1:80".to_owned(), "10.0.0.1 is a private address");
        assert_eq!(
            tally.summary().expect("a line"),
            "1 connection was denied by the network policy of this sandbox: 10.0.0.1 is a private address (`contree-mcp doctor` says what may be reached)"
        );
        for n in 0..1000 {
            tally.deny(
                format!("host{}.example:443", n % 500),
                "host is not on the allow list",
            );
        }
        tally.deny("10.0.0.1:80".to_owned(), "10.0.0.1 is a private address");
        let line = tally.summary().expect("a line");
        assert!(line.starts_with("1002 connections were denied"), "{line}");
        assert!(
            line.contains(
                "10.0.0.1 is a private address (2 times); host0.example:443: host is not"
            ),
            "{line}"
        );
        assert!(line.len() < 1000, "{line}");
        assert_eq!(tally.denials.len(), DENIALS);
    }
}
