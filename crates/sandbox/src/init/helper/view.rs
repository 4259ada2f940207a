//! The helper of a view: it mounts a read-only image for itself and answers requests about paths in
//! it.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;
use rustix::io::Errno;

use super::lookup::{list, open, stat};
use super::walk::DirectoryWalk;
use crate::init::error::InitError;
use crate::init::setup::overlay;
use crate::protocol::reply::Reply;
use crate::protocol::request::{PathQuery, ViewRequest};
use crate::protocol::wire::{self, WireError, payload};

/// Serves requests until the engine closes the socket.
pub(crate) fn serve(
    socket: &OwnedFd,
    store: &OwnedFd,
    lowers: &[PathBuf],
    old_mount: bool,
) -> Result<(), InitError> {
    let root = overlay::mount_read_only(store, lowers, old_mount)?;
    wire::send(socket, &Reply::Ready, &[])?;
    let mut walk = None;
    loop {
        match wire::receive::<ViewRequest>(socket, None)?.0 {
            ViewRequest::Query { query, path } => answer(socket, root.as_fd(), query, &path)?,
            ViewRequest::Walk { path } => match DirectoryWalk::begin(root.as_fd(), &path) {
                Ok((entry, begun)) => {
                    walk = begun;
                    wire::send(socket, &Reply::Entry { entry }, &[])?;
                }
                Err(error) => wire::send(socket, &failed(error), &[])?,
            },
            ViewRequest::Next { enter } => {
                let next = walk.as_mut().map_or(Ok(None), |walk| walk.next(enter));
                let reply = match next {
                    Ok(batch) => {
                        let (depth, entries) = batch.unwrap_or_default();
                        Reply::WalkEntries { depth, entries }
                    }
                    Err(error) => failed(error),
                };
                wire::send(socket, &reply, &[])?;
            }
            ViewRequest::OpenFiles { indices } => {
                let opened = walk.as_ref().map(|walk| walk.open_files(&indices));
                let (errnos, files) = opened.unwrap_or_default();
                let files: Vec<BorrowedFd<'_>> = files.iter().map(AsFd::as_fd).collect();
                wire::send(socket, &Reply::Opened { errnos }, &files)?;
            }
        }
    }
}

fn answer(
    socket: &OwnedFd,
    root: BorrowedFd<'_>,
    query: PathQuery,
    path: &Path,
) -> Result<(), WireError> {
    let result = match query {
        PathQuery::Stat => {
            stat(root, path, OFlags::NOFOLLOW).map(|entry| (Reply::Entry { entry }, None))
        }
        PathQuery::Follow => {
            stat(root, path, OFlags::empty()).map(|entry| (Reply::Entry { entry }, None))
        }
        PathQuery::Open => {
            open(root, path).map(|(entry, file)| (Reply::Entry { entry }, Some(file)))
        }
        PathQuery::List => match list(root, path) {
            Ok(entries) => Ok((Reply::Listed, Some(payload::write(&entries)?))),
            Err(error) => Err(error),
        },
    };
    let (reply, file) = result.unwrap_or_else(|error| (failed(error), None));
    let files: Vec<BorrowedFd<'_>> = file.iter().map(AsFd::as_fd).collect();
    wire::send(socket, &reply, &files)
}

fn failed(error: Errno) -> Reply {
    Reply::ViewFailed {
        errno: error.raw_os_error(),
    }
}
