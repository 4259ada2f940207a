//! The connections of a sandbox that the engine redirects to its own listener.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddrV4;

use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio_util::sync::{CancellationToken, DropGuard};

/// The most flows of a sandbox. Those that have ended count too, since the kernel still sends the
/// last packets of a connection after its end.
const MAX_FLOWS: usize = 4096;
/// The most flows that wait for their connection to the outside.
const MAX_WAITING: usize = 1024;
/// The largest first packet of a flow, in bytes. One with data (RFC 7413) can be larger, and the
/// kernel repeats it without.
const MAX_FIRST_BYTES: usize = 2048;

/// The two ends of a connection, as the command sees them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct FlowKey {
    pub(super) inside: SocketAddrV4,
    pub(super) outside: SocketAddrV4,
}

/// A flow of the table, even after another flow has its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FlowId {
    pub(super) number: u16,
    /// The number of flows before it.
    turn: u64,
}

/// The stage of a connection.
enum Stage {
    /// The engine connects to the outside. The first packet waits. Without the flow, the guard
    /// ends the task that connects.
    Waiting { first: Vec<u8>, guard: DropGuard },
    /// The first packet was passed on. The sender, if it is still there, waits for the connection
    /// that the listener accepts.
    Passed {
        accepted: Option<oneshot::Sender<TcpStream>>,
    },
    /// The connection has ended.
    Ended,
}

struct Flow {
    key: FlowKey,
    turn: u64,
    /// The sequence number of the first packet. Another one means a new connection.
    sequence: u32,
    stage: Stage,
}

/// The decision about a packet from inside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Decision {
    /// It belongs to no flow.
    Unknown,
    /// Its flow waits for the connection to the outside, so the packet is a repetition.
    Wait,
    /// It belongs to the flow of this number.
    Pass(u16),
}

/// The flows of one sandbox. The number of a flow is the port from which the listener sees it.
#[derive(Default)]
pub(super) struct FlowTable {
    numbers: HashMap<FlowKey, u16>,
    flows: HashMap<u16, Flow>,
    waiting: usize,
    /// The flows that have ended, oldest first. Some may have been removed.
    ended: VecDeque<u16>,
    last: u16,
    /// The number of flows that have begun.
    begun: u64,
}

impl FlowTable {
    /// Decides about a packet from inside. `first` has the sequence number of a packet that asks
    /// for a new connection.
    pub(super) fn decide(&mut self, key: &FlowKey, first: Option<u32>) -> Decision {
        let Some((&number, flow)) = self
            .numbers
            .get(key)
            .and_then(|number| Some((number, self.flows.get(number)?)))
        else {
            return Decision::Unknown;
        };
        if first.is_some_and(|sequence| sequence != flow.sequence) {
            // The command uses its port again.
            self.remove(number);
            return Decision::Unknown;
        }
        match flow.stage {
            Stage::Waiting { .. } => Decision::Wait,
            Stage::Passed { .. } | Stage::Ended => Decision::Pass(number),
        }
    }

    /// Adds a flow with its first packet. The token is cancelled if the flow is removed while it
    /// waits. `None` if there are too many, or if the packet is too large to wait.
    pub(super) fn begin(
        &mut self,
        key: FlowKey,
        sequence: u32,
        first: &[u8],
    ) -> Option<(FlowId, CancellationToken)> {
        if self.waiting >= MAX_WAITING || first.len() > MAX_FIRST_BYTES {
            return None;
        }
        while self.flows.len() >= MAX_FLOWS {
            let oldest = self.ended.pop_front()?;
            if self.has_ended(oldest) {
                self.remove(oldest);
            }
        }
        // There are fewer flows than ports, so a port is free. The one that was free the longest
        // comes next.
        loop {
            self.last = self.last.wrapping_add(1).max(1);
            if !self.flows.contains_key(&self.last) {
                break;
            }
        }
        let gone = CancellationToken::new();
        let stage = Stage::Waiting {
            first: first.to_vec(),
            guard: gone.clone().drop_guard(),
        };
        let id = FlowId {
            number: self.last,
            turn: self.begun,
        };
        self.begun += 1;
        let flow = Flow {
            key,
            turn: id.turn,
            sequence,
            stage,
        };
        self.waiting += 1;
        self.numbers.insert(key, self.last);
        self.flows.insert(self.last, flow);
        Some((id, gone))
    }

    /// The two ends of a flow that is not waiting.
    pub(super) fn passed_key(&self, number: u16) -> Option<FlowKey> {
        let flow = self.flows.get(&number)?;
        (!matches!(flow.stage, Stage::Waiting { .. })).then_some(flow.key)
    }

    /// Returns the first packet of a waiting flow, to be passed on. `accepted` gets the connection
    /// that the listener accepts.
    pub(super) fn pass(
        &mut self,
        id: FlowId,
        accepted: oneshot::Sender<TcpStream>,
    ) -> Option<Vec<u8>> {
        let flow = self.flow(id)?;
        let passed = Stage::Passed {
            accepted: Some(accepted),
        };
        match std::mem::replace(&mut flow.stage, passed) {
            Stage::Waiting { first, guard } => {
                // The connection continues, even if the command uses its port again.
                guard.disarm();
                self.waiting -= 1;
                Some(first)
            }
            other => {
                flow.stage = other;
                None
            }
        }
    }

    /// Removes a waiting flow and returns its first packet, to be refused.
    pub(super) fn refuse(&mut self, id: FlowId) -> Option<Vec<u8>> {
        self.flow(id)?;
        match self.remove(id.number)?.stage {
            Stage::Waiting { first, .. } => Some(first),
            Stage::Passed { .. } | Stage::Ended => None,
        }
    }

    /// Takes the sender that waits for the accepted connection of a flow. Afterwards nothing waits
    /// for it.
    pub(super) fn take_accepted(&mut self, number: u16) -> Option<oneshot::Sender<TcpStream>> {
        match &mut self.flows.get_mut(&number)?.stage {
            Stage::Passed { accepted } => accepted.take(),
            Stage::Waiting { .. } | Stage::Ended => None,
        }
    }

    /// Marks a flow as ended. Its last packets are still passed on.
    pub(super) fn end(&mut self, id: FlowId) {
        let number = id.number;
        let Some(flow) = self.flow(id) else {
            return;
        };
        match std::mem::replace(&mut flow.stage, Stage::Ended) {
            Stage::Waiting { .. } => {
                self.remove(number);
                self.waiting -= 1;
            }
            Stage::Passed { .. } => {
                self.ended.push_back(number);
                if self.ended.len() > 2 * MAX_FLOWS {
                    let ended = std::mem::take(&mut self.ended);
                    let kept = ended.into_iter().filter(|number| self.has_ended(*number));
                    self.ended = kept.collect();
                }
            }
            Stage::Ended => {}
        }
    }

    /// The flow, unless its number is that of another one by now.
    fn flow(&mut self, id: FlowId) -> Option<&mut Flow> {
        let flow = self.flows.get_mut(&id.number)?;
        (flow.turn == id.turn).then_some(flow)
    }

    fn has_ended(&self, number: u16) -> bool {
        let flow = self.flows.get(&number);
        flow.is_some_and(|flow| matches!(flow.stage, Stage::Ended))
    }

    fn remove(&mut self, number: u16) -> Option<Flow> {
        let flow = self.flows.remove(&number)?;
        self.numbers.remove(&flow.key);
        if matches!(flow.stage, Stage::Waiting { .. }) {
            self.waiting -= 1;
        }
        Some(flow)
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn key(inside: u16) -> FlowKey {
        FlowKey {
            inside: SocketAddrV4::new(Ipv4Addr::new(198, 19, 255, 251), inside),
            outside: SocketAddrV4::new(Ipv4Addr::new(203, 0, 113, 7), 443),
        }
    }

    #[test]
    fn a_flow_waits_then_passes_packets_also_after_its_end() {
        let mut table = FlowTable::default();
        assert_eq!(table.decide(&key(1), Some(5)), Decision::Unknown);
        let (id, gone) = table.begin(key(1), 5, b"first").expect("a flow");
        assert_eq!(table.decide(&key(1), Some(5)), Decision::Wait);
        assert_eq!(table.passed_key(id.number), None);
        let (sender, _receiver) = oneshot::channel();
        assert_eq!(table.pass(id, sender), Some(b"first".to_vec()));
        assert_eq!(table.waiting, 0);
        assert_eq!(table.decide(&key(1), Some(5)), Decision::Pass(id.number));
        assert_eq!(table.passed_key(id.number), Some(key(1)));
        assert!(table.take_accepted(id.number).is_some());
        assert!(table.take_accepted(id.number).is_none());
        table.end(id);
        assert_eq!(table.decide(&key(1), None), Decision::Pass(id.number));
        // The command uses the port for another connection.
        assert_eq!(table.decide(&key(1), Some(6)), Decision::Unknown);
        assert_eq!(table.passed_key(id.number), None);
        assert!(!gone.is_cancelled());
    }

    #[test]
    fn a_large_first_packet_does_not_wait() {
        let mut table = FlowTable::default();
        assert!(table.begin(key(1), 5, &[0; MAX_FIRST_BYTES + 1]).is_none());
        assert!(table.begin(key(1), 5, &[0; MAX_FIRST_BYTES]).is_some());
    }

    #[test]
    fn a_port_that_is_used_again_ends_the_connection_that_waits() {
        let mut table = FlowTable::default();
        let (first, gone) = table.begin(key(1), 5, b"first").expect("a flow");
        assert!(!gone.is_cancelled());
        assert_eq!(table.decide(&key(1), Some(6)), Decision::Unknown);
        assert!(gone.is_cancelled());
        let (second, gone) = table.begin(key(1), 6, b"second").expect("a flow");
        assert_ne!(first, second);
        assert!(!gone.is_cancelled());
        assert_eq!((table.flows.len(), table.waiting), (1, 1));
    }

    #[test]
    fn a_number_that_is_used_again_does_not_end_with_its_first_flow() {
        let mut table = FlowTable::default();
        let (first, _) = table.begin(key(1), 0, b"").expect("a flow");
        let (sender, _receiver) = oneshot::channel();
        table.pass(first, sender).expect("a packet");
        table.end(first);
        let number = first.number;
        // The command uses the port again, and the numbers come round.
        assert_eq!(table.decide(&key(1), Some(1)), Decision::Unknown);
        table.last = number - 1;
        for port in 1..=u16::MAX {
            let Some((flow, _)) = table.begin(key(port), 0, b"") else {
                break;
            };
            let (sender, _receiver) = oneshot::channel();
            table.pass(flow, sender).expect("a packet");
        }
        assert_eq!(table.flows.len(), MAX_FLOWS);
        assert_eq!(table.passed_key(number), Some(key(1)));
        // The task of the first flow ends late.
        table.end(first);
        assert_eq!(table.refuse(first), None);
        assert!(!table.has_ended(number));
        assert_eq!(table.passed_key(number), Some(key(1)));
    }

    #[test]
    fn a_refused_flow_is_gone() {
        let mut table = FlowTable::default();
        let (id, _) = table.begin(key(1), 5, b"first").expect("a flow");
        assert_eq!(table.refuse(id), Some(b"first".to_vec()));
        assert_eq!(table.refuse(id), None);
        table.end(id);
        assert_eq!((table.flows.len(), table.waiting), (0, 0));
        assert_eq!(table.decide(&key(1), None), Decision::Unknown);
        let (id, _) = table.begin(key(1), 5, b"first").expect("a flow");
        table.end(id);
        assert_eq!((table.flows.len(), table.waiting), (0, 0));
    }

    #[test]
    fn flows_are_bounded_and_ended_ones_make_room() {
        let mut table = FlowTable::default();
        let mut started = 0;
        for port in 1..=u16::MAX {
            if table.begin(key(port), 0, b"").is_some() {
                started += 1;
            }
        }
        assert_eq!(started, MAX_WAITING);
        let mut table = FlowTable::default();
        let mut open = Vec::new();
        for port in 1..=u16::MAX {
            let Some((number, _)) = table.begin(key(port), 0, b"") else {
                break;
            };
            let (sender, _) = oneshot::channel();
            table.pass(number, sender).expect("a packet");
            open.push(number);
        }
        assert_eq!(open.len(), MAX_FLOWS);
        table.end(open[17]);
        let (number, _) = table.begin(key(u16::MAX), 0, b"").expect("room");
        assert_eq!(table.passed_key(open[17].number), None);
        assert!(
            !open
                .iter()
                .any(|flow: &FlowId| flow.number == number.number),
            "a port is not used again at once"
        );
        assert!(table.begin(key(u16::MAX - 1), 0, b"").is_none());
    }
}
