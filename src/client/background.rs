//! The thread for requests that must not end with the caller's runtime.
//!
//! It starts with its first task and lives as long as the process. It has its own runtime, and so
//! connections of its own.

use std::{io, sync::Mutex, sync::PoisonError, thread};

use tokio::runtime::{Builder, Handle};

use crate::Error;

/// The runtime of the thread, once it has started.
static RUNTIME: Mutex<Option<Handle>> = Mutex::new(None);

/// Runs `task` on the background thread.
///
/// # Errors
/// If the system refuses the thread.
pub(super) fn spawn(task: impl Future<Output = ()> + Send + 'static) -> Result<(), Error> {
    let mut runtime = RUNTIME.lock().unwrap_or_else(PoisonError::into_inner);
    let handle = match &*runtime {
        Some(handle) => handle.clone(),
        None => {
            let started = start().map_err(|error| {
                Error::Connection(format!(
                    "the system refused a thread for requests in the background: {error}; raise the limit of processes (ulimit -u)"
                ).into())
            })?;
            runtime.insert(started).clone()
        }
    };
    drop(runtime);
    // The task runs on the thread, which polls nothing else.
    drop(contree_tasks::spawn_on(&handle, task));
    Ok(())
}

fn start() -> io::Result<Handle> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let handle = runtime.handle().clone();
    thread::Builder::new()
        .name("contree-requests".to_owned())
        .spawn(move || runtime.block_on(std::future::pending::<()>()))?;
    Ok(handle)
}
