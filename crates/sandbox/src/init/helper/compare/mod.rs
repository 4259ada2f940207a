//! The helper of a comparison: it finds the files that differ between two chains of layers.
//!
//! It mounts nothing. It resolves names in the directories of the layers as overlayfs does. So it
//! reads only the layers above the common ones, and looks up the touched names in the common ones.

mod merged;
mod walk;

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use crate::init::error::InitError;
use crate::protocol::compare::{CompareBoot, CompareRequest};
use crate::protocol::reply::Reply;
use crate::protocol::wire::{self, payload};
use walk::ComparisonWalk;

/// Serves requests until the engine closes the socket.
pub(crate) fn serve(
    socket: &OwnedFd,
    store: &OwnedFd,
    boot: &CompareBoot,
) -> Result<(), InitError> {
    wire::send(socket, &Reply::Ready, &[])?;
    let mut walk = ComparisonWalk::begin(store, boot);
    loop {
        let (request, _) = wire::receive::<CompareRequest>(socket, None)?;
        let result = match (&mut walk, request) {
            (Err(error), _) => Err(*error),
            (Ok(walk), CompareRequest::Next) => match walk.next_batch() {
                Ok((differences, done)) => {
                    let list = payload::write(&differences)?;
                    Ok((Reply::Differences { done }, Some(list)))
                }
                Err(error) => Err(error),
            },
            (Ok(walk), CompareRequest::Open { side, path }) => walk
                .open(side, &path)
                .map(|(entry, file)| (Reply::Entry { entry }, Some(file))),
        };
        let (reply, file) = result.unwrap_or_else(|error| {
            let errno = error.raw_os_error();
            (Reply::ViewFailed { errno }, None)
        });
        let files: Vec<BorrowedFd<'_>> = file.iter().map(AsFd::as_fd).collect();
        wire::send(socket, &reply, &files)?;
    }
}
