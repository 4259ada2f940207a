//! The packets of the probe to foreign addresses. They end here: nothing answers them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use contree_sandbox::InterceptedPackets;

/// The pause while there are no packets.
const PAUSE: Duration = Duration::from_millis(5);
/// The fewest packets of the probe. It connects to more foreign addresses.
const MIN_PACKETS: usize = 5;

/// Reads the packets of a sandbox.
pub(crate) struct Packets {
    over: Arc<AtomicBool>,
    reader: thread::JoinHandle<(usize, bool)>,
}

impl Packets {
    pub(crate) fn hold(packets: InterceptedPackets) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let is_over = Arc::clone(&over);
        let reader = thread::spawn(move || {
            // All of them, so that the socket for names stays open.
            let packets = packets;
            let mut buffer = vec![0; InterceptedPackets::BUFFER_BYTES];
            let (mut count, mut is_forged) = (0, false);
            while !is_over.load(Ordering::SeqCst) {
                for socket in [&packets.small, &packets.large] {
                    while socket.receive(&mut buffer).is_ok() {
                        count += 1;
                    }
                }
                // A connection of the probe itself is no redirected one.
                while let Ok((_, from)) = packets.listener.accept() {
                    is_forged |= from.ip() == InterceptedPackets::PEER;
                }
                thread::sleep(PAUSE);
            }
            (count, is_forged)
        });
        Self { over, reader }
    }

    /// Returns whether the packets came here, and none pretended to be from the caller.
    pub(crate) fn judge(self) -> bool {
        self.over.store(true, Ordering::SeqCst);
        let (count, is_forged) = self.reader.join().unwrap();
        println!("{count} packets to foreign addresses came to the caller");
        if is_forged {
            println!("HOLE a command connects to the caller as a redirected connection");
        }
        count >= MIN_PACKETS && !is_forged
    }
}
