//! The thread that reads the packets of one sandbox and passes them on.

use std::os::fd::AsFd as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use contree_sandbox::{InterceptedPackets, PacketSocket};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;

use super::connections::{self, LISTENER, peer};
use super::flow_table::{Decision, FlowKey};
use super::frame::{self, Datagram, Packet, Segment, Unreachable};
use super::{Interception, NAME_PORT, names_task};

/// The most packets that are read from one socket before the other has its turn.
const TURN_PACKETS: usize = 64;
/// The time for which [`MAX_ANSWERED`] holds.
const BUDGET_PERIOD: Duration = Duration::from_millis(100);
/// The most packets outside of connections within a period. The kernel drops further ones, so that
/// a flood costs little.
const MAX_ANSWERED: u32 = 500;

/// Reads packets until the sandbox ends.
pub(super) fn run(shared: &Arc<Interception>) {
    let mut buffer = vec![0; InterceptedPackets::BUFFER_BYTES];
    let mut budget = Budget::new();
    while !shared.stop.is_cancelled() && wait(shared).is_ok() {
        for socket in [&shared.small, &shared.large] {
            read_turn(shared, socket, &mut buffer, &mut budget);
        }
        if let Some(pause) = budget.pause(Instant::now()) {
            std::thread::sleep(pause);
        }
    }
}

/// Waits for a packet or the end of the sandbox.
fn wait(shared: &Interception) -> Result<(), Errno> {
    let mut polled = [
        PollFd::from_borrowed_fd(shared.small.as_fd(), PollFlags::IN),
        PollFd::from_borrowed_fd(shared.large.as_fd(), PollFlags::IN),
        PollFd::from_borrowed_fd(shared.wake.as_fd(), PollFlags::IN),
    ];
    loop {
        match poll(&mut polled, None) {
            Ok(_) => return Ok(()),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error),
        }
    }
}

fn read_turn(
    shared: &Arc<Interception>,
    socket: &PacketSocket,
    buffer: &mut [u8],
    budget: &mut Budget,
) {
    for _ in 0..TURN_PACKETS {
        let Ok(length) = socket.receive(buffer) else {
            return;
        };
        let Some(frame) = buffer.get_mut(..length) else {
            return;
        };
        if !handle(shared, frame) {
            budget.answered += 1;
        }
    }
}

/// Handles a packet. Returns whether it belongs to a connection.
fn handle(shared: &Arc<Interception>, frame: &mut [u8]) -> bool {
    match frame::parse(frame) {
        Some(Packet::Tcp(segment)) if *segment.destination.ip() == InterceptedPackets::PEER => {
            pass_inside(shared, &segment, frame)
        }
        Some(Packet::Tcp(segment)) => pass_outside(shared, &segment, frame),
        Some(Packet::Udp(datagram)) => {
            if datagram.destination.port() == NAME_PORT {
                answer_name(shared, &datagram);
            } else if let Some(answer) = frame::unreachable(frame, Unreachable::Port) {
                shared.send(&answer);
            }
            false
        }
        None => false,
    }
}

/// Passes a packet of the listener to the command, as if it came from the outside.
fn pass_inside(shared: &Interception, segment: &Segment, frame: &mut [u8]) -> bool {
    let key = (segment.source == LISTENER)
        .then(|| shared.flows().passed_key(segment.destination.port()))
        .flatten();
    match key {
        Some(key) => pass(shared, frame, key.outside, key.inside),
        None => refuse(shared, segment),
    }
    key.is_some()
}

/// Passes a packet of a command to the listener, or starts a connection.
fn pass_outside(shared: &Arc<Interception>, segment: &Segment, frame: &mut [u8]) -> bool {
    let key = FlowKey {
        inside: segment.source,
        outside: segment.destination,
    };
    let first = segment.is_first().then_some(segment.sequence);
    let decision = shared.flows().decide(&key, first);
    match decision {
        Decision::Pass(number) => {
            pass(shared, frame, peer(number), LISTENER);
            if segment.reset {
                // The command gave up before the connection was complete.
                shared.flows().take_accepted(number);
            }
            true
        }
        Decision::Wait => false,
        Decision::Unknown if first.is_some() => {
            // If there are too many, the kernel repeats the packet later.
            let begun = shared.flows().begin(key, segment.sequence, frame);
            if let Some((id, gone)) = begun {
                connections::spawn(shared, id, key, gone);
            }
            false
        }
        Decision::Unknown => {
            refuse(shared, segment);
            false
        }
    }
}

fn pass(
    shared: &Interception,
    frame: &mut [u8],
    source: std::net::SocketAddrV4,
    destination: std::net::SocketAddrV4,
) {
    if frame::redirect(frame, source, destination).is_some() {
        shared.send(frame);
    }
}

fn refuse(shared: &Interception, segment: &Segment) {
    if !segment.reset
        && let Some(answer) = frame::reset(segment)
    {
        shared.send(&answer);
    }
}

/// Answers a query from the address that was asked, whichever it is.
fn answer_name(shared: &Arc<Interception>, query: &Datagram<'_>) {
    let (asked, asking) = (query.destination, query.source);
    names_task(shared, query.payload.to_vec(), move |shared, answer| {
        let reply = Datagram {
            source: asked,
            destination: asking,
            payload: answer,
        };
        if let Some(frame) = frame::datagram(&reply) {
            shared.send(&frame);
        }
    });
}

/// Bounds the packets outside of connections.
struct Budget {
    start: Instant,
    answered: u32,
}

impl Budget {
    fn new() -> Self {
        Self {
            start: Instant::now(),
            answered: 0,
        }
    }

    /// Returns for how long to pause, if there were too many packets within the period.
    fn pause(&mut self, now: Instant) -> Option<Duration> {
        let rest = BUDGET_PERIOD.saturating_sub(now.saturating_duration_since(self.start));
        if rest.is_zero() {
            self.start = now;
            self.answered = 0;
            return None;
        }
        if self.answered < MAX_ANSWERED {
            return None;
        }
        self.start = now + rest;
        self.answered = 0;
        Some(rest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_paused_for_the_rest_of_the_period() {
        let mut budget = Budget::new();
        let start = budget.start;
        budget.answered = MAX_ANSWERED - 1;
        assert_eq!(budget.pause(start), None);
        budget.answered = MAX_ANSWERED;
        let at = start + BUDGET_PERIOD / 4;
        assert_eq!(budget.pause(at), Some(BUDGET_PERIOD * 3 / 4));
        assert_eq!(budget.answered, 0);
        budget.answered = MAX_ANSWERED - 1;
        assert_eq!(budget.pause(start + BUDGET_PERIOD * 3), None);
        assert_eq!(budget.answered, 0);
    }
}
