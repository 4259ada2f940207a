//! Sends messages between the engine and the init: small JSON datagrams on a SOCK_SEQPACKET pair,
//! with open files.
//!
//! Large data, such as arguments, environments and lists, travels in a sealed memfd passed with the
//! message. A datagram over the socket's buffer would be refused or cut.

pub(crate) mod payload;
pub(crate) mod text;

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Instant;

use rustix::io::Errno;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::os::poll::wait_readable;

/// The largest datagram that either side sends.
pub(crate) const MAX_DATAGRAM: usize = 64 * 1024;
/// The most files passed with one message.
pub(crate) const MAX_FILES: usize = 32;

/// The error of the connection between the engine and the init.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WireError {
    /// The other side closed the connection.
    #[error("the sandbox's init closed its connection")]
    Closed,
    /// No message came in time.
    #[error("the sandbox's init did not answer in time")]
    TimedOut,
    /// The message exceeds the limit on its size or its number of files.
    #[error("a message to or from the sandbox's init was cut short")]
    Truncated,
    /// The message came with an unexpected number of files.
    #[error("a message of the sandbox's init came with {found} files instead of {expected}")]
    Files {
        /// The number of files that came.
        found: usize,
        /// The number of files that belong to the message.
        expected: usize,
    },
    /// The message cannot be parsed.
    #[error("a message to or from the sandbox's init cannot be read: {0}")]
    Malformed(#[from] serde_json::Error),
    /// A kernel call failed.
    #[error("talk to the sandbox's init: {0}")]
    Os(std::io::Error),
}

impl From<Errno> for WireError {
    fn from(errno: Errno) -> Self {
        match errno {
            Errno::PIPE | Errno::CONNRESET | Errno::NOTCONN => Self::Closed,
            Errno::AGAIN | Errno::TIMEDOUT => Self::TimedOut,
            other => Self::Os(other.into()),
        }
    }
}

impl From<std::io::Error> for WireError {
    fn from(error: std::io::Error) -> Self {
        Self::Os(error)
    }
}

/// Sends one message with the files that belong to it.
pub(crate) fn send<T: Serialize>(
    socket: impl AsFd,
    message: &T,
    files: &[BorrowedFd<'_>],
) -> Result<(), WireError> {
    let bytes = serde_json::to_vec(message)?;
    if bytes.len() > MAX_DATAGRAM || files.len() > MAX_FILES {
        return Err(WireError::Truncated);
    }
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FILES))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !files.is_empty() && !control.push(SendAncillaryMessage::ScmRights(files)) {
        return Err(WireError::Truncated);
    }
    loop {
        match sendmsg(
            &socket,
            &[IoSlice::new(&bytes)],
            &mut control,
            SendFlags::NOSIGNAL,
        ) {
            Err(Errno::INTR) => {}
            other => return Ok(other.map(|_| ())?),
        }
    }
}

/// Receives one message. Waits until `deadline`, or without limit if there is none.
pub(crate) fn receive<T: DeserializeOwned>(
    socket: impl AsFd,
    deadline: Option<Instant>,
) -> Result<(T, Vec<OwnedFd>), WireError> {
    wait_readable(socket.as_fd(), deadline)?;
    let mut bytes = vec![0; MAX_DATAGRAM];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FILES))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let received = loop {
        match recvmsg(
            &socket,
            &mut [IoSliceMut::new(&mut bytes)],
            &mut control,
            RecvFlags::CMSG_CLOEXEC,
        ) {
            Err(Errno::INTR) => {}
            other => break other?,
        }
    };
    let mut files = Vec::new();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(passed) = message {
            files.extend(passed);
        }
    }
    if received
        .flags
        .intersects(ReturnFlags::TRUNC | ReturnFlags::CTRUNC)
    {
        return Err(WireError::Truncated);
    }
    if received.bytes == 0 {
        return Err(WireError::Closed);
    }
    Ok((serde_json::from_slice(&bytes[..received.bytes])?, files))
}

/// Checks that a message came with exactly `N` files.
pub(crate) fn exact_files<const N: usize>(files: Vec<OwnedFd>) -> Result<[OwnedFd; N], WireError> {
    let found = files.len();
    files
        .try_into()
        .map_err(|_| WireError::Files { found, expected: N })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

    fn pair() -> (OwnedFd, OwnedFd) {
        socketpair(
            AddressFamily::UNIX,
            SocketType::SEQPACKET,
            SocketFlags::CLOEXEC,
            None,
        )
        .unwrap()
    }

    fn soon() -> Option<Instant> {
        Some(Instant::now() + Duration::from_secs(10))
    }

    #[test]
    fn messages_come_with_their_files() {
        let (a, b) = pair();
        let memfd = payload::write(&vec!["large".to_owned(); 100_000]).unwrap();
        send(&a, &"hello", &[memfd.as_fd()]).unwrap();
        let (text, files) = receive::<String>(&b, soon()).unwrap();
        assert_eq!(text, "hello");
        let [file] = exact_files(files).unwrap();
        assert_eq!(payload::read::<Vec<String>>(file).unwrap().len(), 100_000);
        // The sealed memfd cannot be changed on the way.
        assert!(rustix::io::write(&memfd, b"x").is_err());
    }

    #[test]
    fn a_message_that_is_too_large_is_refused_at_both_ends() {
        let (a, b) = pair();
        let large = "x".repeat(MAX_DATAGRAM);
        assert!(matches!(send(&a, &large, &[]), Err(WireError::Truncated)));
        rustix::io::write(&a, format!("\"{large}\"").as_bytes()).unwrap();
        let cut = receive::<String>(&b, soon());
        assert!(matches!(cut, Err(WireError::Truncated)), "{cut:?}");
    }

    #[test]
    fn an_unexpected_number_of_files_is_an_error() {
        let (a, b) = pair();
        let file = std::fs::File::open("/dev/null").unwrap();
        send(&a, &1, &[file.as_fd(), file.as_fd()]).unwrap();
        let (_, files) = receive::<u32>(&b, soon()).unwrap();
        let error = exact_files::<1>(files).unwrap_err();
        assert!(matches!(
            error,
            WireError::Files {
                found: 2,
                expected: 1
            }
        ));
    }

    #[test]
    fn a_timeout_and_a_closed_connection_are_distinct_errors() {
        let (a, b) = pair();
        let silence = receive::<u32>(&b, Some(Instant::now()));
        assert!(matches!(silence, Err(WireError::TimedOut)), "{silence:?}");
        drop(a);
        assert!(matches!(receive::<u32>(&b, soon()), Err(WireError::Closed)));
        assert!(matches!(send(&b, &1, &[]), Err(WireError::Closed)));
    }

    #[test]
    fn a_message_that_is_not_json_is_malformed() {
        let (a, b) = pair();
        rustix::io::write(&a, b"GET / HTTP/1.1").unwrap();
        assert!(matches!(
            receive::<u32>(&b, soon()),
            Err(WireError::Malformed(_))
        ));
    }
}
