//! The server of a stub service.

use std::{
    collections::BTreeMap,
    io,
    net::{Ipv4Addr, SocketAddr, TcpListener as StdListener},
    sync::Arc,
    thread::{self, JoinHandle},
    time::Duration,
};

use bytes::Bytes;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use reqwest::Body;
use tokio::{
    net::{TcpListener, TcpStream},
    runtime::Builder,
    sync::oneshot,
    task::JoinSet,
};
use uuid::Uuid;

use super::{
    fault::{Fault, Route},
    operation::StubOperation,
    scripted_run::ScriptedRun,
    service::{StubImage, StubRequest, StubService},
};
use crate::{Backend, Client, Error, OperationStatus, RetryPolicy};

/// A Contree service on loopback that runs nothing, for tests.
///
/// It knows images, runs, events, cancellation, tags, files in images and uploads. Other requests
/// get 404. It has its own thread, so it answers whatever the test's runtime does. Dropping it
/// closes its connections.
pub struct StubServer {
    address: SocketAddr,
    service: Arc<StubService>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl StubServer {
    /// Starts a service on a free port of loopback.
    ///
    /// # Errors
    /// If the system refuses the port or the thread.
    pub fn start() -> io::Result<Self> {
        let listener = StdListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let listener = {
            let _entered = runtime.enter();
            TcpListener::from_std(listener)?
        };
        let service = Arc::<StubService>::default();
        let (stop, stopped) = oneshot::channel();
        let serving = serve(listener, Arc::clone(&service));
        let thread = thread::Builder::new()
            .name("contree-stub".to_owned())
            .spawn(move || {
                runtime.block_on(async {
                    tokio::select! {
                        () = serving => {}
                        _ = stopped => {}
                    }
                });
            })?;
        Ok(Self {
            address,
            service,
            stop: Some(stop),
            thread: Some(thread),
        })
    }

    /// The URL of the service.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// A backend with a token and with short delays between retries.
    ///
    /// # Errors
    /// None of its own: the URL is valid.
    pub fn backend(&self) -> Result<Backend, Error> {
        let retry = RetryPolicy {
            base_delay: Duration::from_millis(1),
            max_delay: Duration::from_millis(10),
            ..RetryPolicy::default()
        };
        let backend = Backend::new(&self.url())?;
        Ok(backend.with_token("stub").with_retry(retry))
    }

    /// A client of the service.
    ///
    /// # Errors
    /// The errors of [`Client::connect`].
    pub fn client(&self) -> Result<Client, Error> {
        Client::connect(self.backend()?)
    }

    /// Adds an image with a tag and files, each with its path and content.
    pub fn add_image(&self, tag: &str, files: &[(&str, &str)]) -> Uuid {
        let owned = |(path, content): &(&str, &str)| ((*path).to_owned(), (*content).to_owned());
        let files: BTreeMap<String, String> = files.iter().map(owned).collect();
        let tag = Some(tag.to_owned());
        self.service.state().add_image(StubImage { tag, files })
    }

    /// Sets the script of the runs of a command. A newer script for a command replaces an
    /// older one; [`ScriptedRun::default`] is for all commands without a script.
    ///
    /// A command without any script exits with 127.
    pub fn script(&self, script: ScriptedRun) {
        self.service.state().scripts.push(script);
    }

    /// The next request of a kind has a fault. Faults of the same kind come one after the other.
    pub fn inject(&self, route: Route, fault: Fault) {
        self.service.state().faults.push((route, fault, Some(1)));
    }

    /// Every further request of a kind has a fault, after those of [`inject`](Self::inject).
    pub fn inject_always(&self, route: Route, fault: Fault) {
        self.service.state().faults.push((route, fault, None));
    }

    /// Ends all faults.
    pub fn clear_faults(&self) {
        self.service.state().faults.clear();
    }

    /// The accepted runs, the oldest first.
    #[must_use]
    pub fn operations(&self) -> Vec<StubOperation> {
        self.service.state().operations.clone()
    }

    /// Number of runs that have not ended.
    #[must_use]
    pub fn running(&self) -> usize {
        let state = self.service.state();
        let running = state
            .operations
            .iter()
            .filter(|operation| operation.status == OperationStatus::Executing);
        running.count()
    }

    /// Method and path of every request, the oldest first.
    #[must_use]
    pub fn requests(&self) -> Vec<String> {
        self.service.state().requests.clone()
    }
}

impl Drop for StubServer {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl std::fmt::Debug for StubServer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StubServer")
            .field("url", &self.url())
            .finish_non_exhaustive()
    }
}

/// Serves connections, without an end.
async fn serve(listener: TcpListener, service: Arc<StubService>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                if let Ok((stream, _)) = accepted {
                    connections.spawn(serve_connection(stream, Arc::clone(&service)));
                }
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn serve_connection(stream: TcpStream, service: Arc<StubService>) {
    let answer = service_fn(move |request: hyper::Request<Incoming>| {
        let service = Arc::clone(&service);
        async move {
            let (head, body) = request.into_parts();
            let last_event = head.headers.get("last-event-id");
            let last_event = last_event.and_then(|id| id.to_str().ok()?.parse().ok());
            let request = StubRequest {
                method: head.method,
                uri: head.uri,
                last_event,
                body: read(body).await,
            };
            service.answer(request).await
        }
    });
    // A client that goes away is not a fault of the service.
    let _ = http1::Builder::new()
        .serve_connection(TokioIo::new(stream), answer)
        .await;
}

/// The whole body of a request; a body that breaks off is empty.
async fn read(body: Incoming) -> Bytes {
    let message = http::Response::new(Body::wrap(body));
    let bytes = reqwest::Response::from(message).bytes().await;
    bytes.unwrap_or_default()
}
