//! Resolves names with this machine's resolver.
//!
//! A look-up cannot be stopped: its thread waits until the resolver answers or gives up. So one
//! sandbox with names that no server answers must not use up the look-ups of all sandboxes.

use std::collections::HashSet;
use std::io;
use std::net::{IpAddr, ToSocketAddrs as _};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::time::timeout;

/// The most concurrent look-ups of one sandbox; further ones wait.
const MAX_OF_SANDBOX: usize = 8;
/// The most concurrent look-ups that all sandboxes share. Each sandbox has one more of its own, so
/// it never waits for others.
const MAX_SHARED: usize = 32;
/// The stack of a look-up's thread, in bytes.
const STACK_BYTES: usize = 512 * 1024;

/// The resolver: returns the addresses of a name. Tests have their own.
pub(super) type Resolver = Arc<dyn Fn(&str) -> io::Result<Vec<IpAddr>> + Send + Sync>;

/// The look-ups that all sandboxes of an engine share.
pub(super) struct LookupPool {
    shared: Arc<Semaphore>,
    resolver: Resolver,
}

/// The look-ups of one sandbox.
pub(super) struct SandboxLookups {
    /// The permits for all look-ups of the sandbox.
    all: Arc<Semaphore>,
    /// The permit for the look-up that no other sandbox can take.
    own: Arc<Semaphore>,
    /// The permits that all sandboxes share.
    shared: Arc<Semaphore>,
    resolver: Resolver,
}

/// The reason why a name does not resolve.
#[derive(Debug, thiserror::Error)]
pub(super) enum ResolveError {
    /// The resolver reports an error.
    #[error("{}", resolver_message(.0))]
    Resolver(#[source] io::Error),
    /// The resolver does not respond in time.
    #[error("the resolver does not answer")]
    TimedOut,
    /// The look-up's thread cannot be started.
    #[error("the look-up cannot be started: {0}")]
    Start(#[source] io::Error),
    /// The look-up's thread ended without a result.
    #[error("the look-up failed")]
    Failed(#[from] oneshot::error::RecvError),
    /// The engine is shutting down.
    #[error(transparent)]
    Closed(#[from] tokio::sync::AcquireError),
}

impl ResolveError {
    /// Returns whether the name may exist nevertheless. The standard library has only the text of
    /// the resolver's error.
    pub(super) fn is_temporary(&self) -> bool {
        match self {
            Self::Resolver(error) => {
                let text = error.to_string();
                ["Temporary", "Try again", "recoverable"]
                    .iter()
                    .any(|word| text.contains(word))
            }
            _ => true,
        }
    }
}

impl LookupPool {
    /// A pool with this machine's resolver.
    pub(super) fn new() -> Self {
        Self::with_resolver(Arc::new(|name| {
            let found = (name, 0).to_socket_addrs()?;
            Ok(found.map(|address| address.ip()).collect())
        }))
    }

    pub(super) fn with_resolver(resolver: Resolver) -> Self {
        Self {
            shared: Arc::new(Semaphore::new(MAX_SHARED)),
            resolver,
        }
    }

    /// The look-ups of a new sandbox.
    pub(super) fn for_sandbox(&self) -> SandboxLookups {
        SandboxLookups {
            all: Arc::new(Semaphore::new(MAX_OF_SANDBOX)),
            own: Arc::new(Semaphore::new(1)),
            shared: Arc::clone(&self.shared),
            resolver: Arc::clone(&self.resolver),
        }
    }
}

impl SandboxLookups {
    /// Resolves a name within `limit`, which includes the time until the look-up's turn. The result
    /// has no address twice.
    pub(super) async fn resolve(
        &self,
        name: &str,
        limit: Duration,
    ) -> Result<Vec<IpAddr>, ResolveError> {
        let mut addresses = timeout(limit, self.look_up(name))
            .await
            .unwrap_or(Err(ResolveError::TimedOut))?;
        let mut seen = HashSet::new();
        addresses.retain(|address| seen.insert(*address));
        Ok(addresses)
    }

    async fn look_up(&self, name: &str) -> Result<Vec<IpAddr>, ResolveError> {
        let permits = self.acquire().await?;
        let (sender, receiver) = oneshot::channel();
        let (name, resolver) = (name.to_owned(), Arc::clone(&self.resolver));
        // Not a thread of the runtime's pool, on which the rest of the engine waits for the disk.
        std::thread::Builder::new()
            .name("lookup".to_owned())
            .stack_size(STACK_BYTES)
            .spawn(move || {
                let found = resolver(&name);
                // Held until the resolver is done, even if the caller no longer waits.
                drop(permits);
                let _ = sender.send(found);
            })
            .map_err(ResolveError::Start)?;
        receiver.await?.map_err(ResolveError::Resolver)
    }

    async fn acquire(&self) -> Result<[OwnedSemaphorePermit; 2], tokio::sync::AcquireError> {
        let all = Arc::clone(&self.all).acquire_owned().await?;
        let one = tokio::select! {
            biased;
            own = Arc::clone(&self.own).acquire_owned() => own?,
            shared = Arc::clone(&self.shared).acquire_owned() => shared?,
        };
        Ok([all, one])
    }
}

/// The resolver's message without the prefix that the standard library adds.
fn resolver_message(error: &io::Error) -> String {
    let text = error.to_string();
    text.rsplit(": ").next().unwrap_or(&text).to_owned()
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::sync::{Condvar, Mutex};

    use super::*;

    /// A resolver that holds every name below `stuck.example` until it is released.
    #[derive(Default)]
    struct Gate {
        waiting: Mutex<usize>,
        another: Condvar,
        released: Mutex<bool>,
        release: Condvar,
    }

    impl Gate {
        fn resolver(self: &Arc<Self>) -> Resolver {
            let gate = Arc::clone(self);
            Arc::new(move |name| {
                if name.ends_with("stuck.example") {
                    *gate.waiting.lock().expect("a lock") += 1;
                    gate.another.notify_all();
                    let mut released = gate.released.lock().expect("a lock");
                    while !*released {
                        released = gate.release.wait(released).expect("a lock");
                    }
                }
                Ok(vec![Ipv4Addr::LOCALHOST.into(); 2])
            })
        }

        fn release(&self) {
            *self.released.lock().expect("a lock") = true;
            self.release.notify_all();
        }

        fn wait_for(&self, count: usize) {
            let mut waiting = self.waiting.lock().expect("a lock");
            while *waiting < count {
                waiting = self.another.wait(waiting).expect("a lock");
            }
            assert_eq!(*waiting, count);
        }
    }

    const LIMIT: Duration = Duration::from_secs(60);

    #[tokio::test]
    async fn look_ups_that_hang_stop_only_their_own_sandbox() {
        let gate = Arc::new(Gate::default());
        let pool = LookupPool::with_resolver(gate.resolver());
        let mut hanging = tokio::task::JoinSet::new();
        // Each of them tries to use up everything.
        let sandboxes: Vec<_> = (0..6).map(|_| Arc::new(pool.for_sandbox())).collect();
        for lookups in &sandboxes {
            for number in 0..100 {
                let lookups = Arc::clone(lookups);
                hanging.spawn(async move {
                    let name = format!("{number}.stuck.example");
                    lookups.resolve(&name, LIMIT).await
                });
            }
        }
        let waiting = Arc::clone(&gate);
        let all = MAX_SHARED + sandboxes.len();
        tokio::task::spawn_blocking(move || waiting.wait_for(all))
            .await
            .expect("a task");
        let other = pool.for_sandbox();
        for _ in 0..3 {
            let found = other
                .resolve("fine.example", LIMIT)
                .await
                .expect("an address");
            assert_eq!(found, [IpAddr::from(Ipv4Addr::LOCALHOST)]);
        }
        gate.release();
        while let Some(result) = hanging.join_next().await {
            result.expect("a task").expect("an address");
        }
    }

    #[tokio::test]
    async fn a_look_up_ends_in_time_even_if_the_resolver_does_not() {
        let gate = Arc::new(Gate::default());
        let lookups = LookupPool::with_resolver(gate.resolver()).for_sandbox();
        let limit = Duration::from_millis(20);
        for _ in 0..2 * MAX_OF_SANDBOX {
            let late = lookups.resolve("a.stuck.example", limit).await;
            assert!(matches!(late, Err(ResolveError::TimedOut)), "{late:?}");
        }
        gate.wait_for(MAX_OF_SANDBOX);
        gate.release();
    }
}
