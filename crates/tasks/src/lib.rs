//! Starts asynchronous tasks and blocking work on Tokio.
//!
//! Tokio's functions have the type of the future as a parameter. So the compiler makes a copy of
//! the task, its scheduling and its end for each future, for each kind of runtime, and again for
//! the future in a box. The functions here put the future into a box with a type of its result
//! alone. That costs one allocation for each task.

#![forbid(unsafe_code)]

use std::any::Any;
use std::future::Future;

use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, LocalBoxFuture};
use tokio::runtime::{Handle, Runtime};
use tokio::task::{JoinError, JoinHandle};

/// Blocking work without the type of its function.
type Work<T> = Box<dyn FnOnce() -> T + Send>;

/// Starts a task on the runtime of the caller, as [`tokio::spawn`] does.
///
/// # Panics
/// Outside of a runtime.
#[track_caller]
pub fn spawn<T: Send + 'static>(future: impl Future<Output = T> + Send + 'static) -> JoinHandle<T> {
    spawn_boxed(&Handle::current(), future.boxed())
}

/// Starts a task on a runtime, as [`Handle::spawn`] does.
pub fn spawn_on<T: Send + 'static>(
    runtime: &Handle,
    future: impl Future<Output = T> + Send + 'static,
) -> JoinHandle<T> {
    spawn_boxed(runtime, future.boxed())
}

fn spawn_boxed<T: Send + 'static>(
    runtime: &Handle,
    future: BoxFuture<'static, T>,
) -> JoinHandle<T> {
    runtime.spawn(future)
}

/// Runs a future to its end on a runtime, as [`Runtime::block_on`] does.
///
/// # Panics
/// Inside a runtime.
#[track_caller]
pub fn block_on<T>(runtime: &Runtime, future: impl Future<Output = T>) -> T {
    block_on_boxed(runtime, future.boxed_local())
}

#[track_caller]
fn block_on_boxed<T>(runtime: &Runtime, future: LocalBoxFuture<'_, T>) -> T {
    runtime.block_on(future)
}

/// Runs work that may block, on a thread for such work. The work begins at once, and is not
/// cancelled if the returned future is dropped.
///
/// # Errors
/// If the work panics, or if the runtime ends before the work begins.
///
/// # Panics
/// Outside of a runtime.
#[track_caller]
pub fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> impl Future<Output = Result<T, JoinError>> + Send + 'static {
    let running = start(Box::new(move || Box::new(work())));
    async move { Ok(unpacked(running.await?)) }
}

#[track_caller]
fn start(work: Work<Box<dyn Any + Send>>) -> JoinHandle<Box<dyn Any + Send>> {
    tokio::task::spawn_blocking(work)
}

/// The result of blocking work, with its type again.
fn unpacked<T: 'static>(result: Box<dyn Any + Send>) -> T {
    match result.downcast() {
        Ok(result) => *result,
        Err(_) => unreachable!("`blocking` gives each result the type of its work"),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    #[tokio::test]
    async fn results_and_panics_arrive() {
        assert_eq!(super::spawn(async { 1 }).await.ok(), Some(1));
        assert_eq!(super::blocking(|| "two").await.ok(), Some("two"));
        let panicked = super::spawn(async { panic!("meant") }).await;
        assert!(panicked.is_err_and(|error: tokio::task::JoinError| error.is_panic()));
        let panicked = super::blocking(|| panic!("meant")).await;
        assert!(panicked.is_err_and(|error: tokio::task::JoinError| error.is_panic()));
    }

    #[tokio::test]
    async fn blocking_work_begins_before_it_is_awaited() {
        let (sender, receiver) = mpsc::channel();
        drop(super::blocking(move || sender.send(())));
        assert!(receiver.recv().is_ok());
    }

    #[test]
    fn a_runtime_runs_futures_that_borrow() {
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        let text = String::from("text");
        let length = super::block_on(&runtime, async { text.len() });
        assert_eq!(length, 4);
        let spawned = super::spawn_on(runtime.handle(), async { 5 });
        assert_eq!(super::block_on(&runtime, spawned).ok(), Some(5));
    }
}
