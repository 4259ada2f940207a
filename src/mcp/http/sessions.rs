//! MCP sessions, which clients use before protocol 2026-07-28. Bounds their number, and cancels the
//! calls of lost clients.

use std::collections::{BTreeMap, HashMap};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::{Stream, StreamExt};
use rmcp::model::{
    CancelledNotification, CancelledNotificationParam, ClientJsonRpcMessage, ClientNotification,
    ProtocolVersion, RequestId, ServerJsonRpcMessage, ServerResult,
};
use rmcp::transport::streamable_http_server::session::local::{
    LocalSessionManager, LocalSessionManagerError, SessionConfig,
};
use rmcp::transport::streamable_http_server::session::{
    ServerSseMessage, SessionId, SessionManager,
};
use tokio::time::Instant;

/// Maximum number of sessions at once.
const MAX_SESSIONS: usize = 256;
/// How long an idle session is kept.
const IDLE_TIMEOUT: Duration = Duration::from_secs(3600);
/// How long a client may take to resume a call after its connection was lost.
const RESUME_TIMEOUT: Duration = Duration::from_secs(5);
/// Reconnection delay sent to clients.
const RECONNECT_DELAY: Duration = Duration::from_secs(1);

/// The event id of the priming event of a stream without a request. A client that has seen no other
/// event resumes with it. rmcp gives the first event of such a stream the id [`FIRST_EVENT_ID`].
const STANDALONE_PRIMING_ID: &str = "start";
const FIRST_EVENT_ID: &str = "0";

/// rmcp's sessions, bounded in number.
#[derive(Clone)]
pub(super) struct Sessions(Arc<SharedSessions>);

struct SharedSessions {
    local: LocalSessionManager,
    known: Mutex<HashMap<SessionId, SessionRecord>>,
}

/// State of one session.
struct SessionRecord {
    last_used: Instant,
    /// Whether its client's protocol knows priming events: events without data that begin a stream
    /// (MCP 2025-11-25, transports, "Sending Messages to the Server"). The parsers of earlier
    /// clients take the empty data for JSON.
    knows_priming: bool,
    /// Open streams to its client.
    streams: usize,
    /// Calls in flight, by the number that rmcp puts into the ids of its events.
    calls: BTreeMap<u64, OpenCall>,
}

/// A call in flight.
struct OpenCall {
    request: RequestId,
    /// Open streams that carry the call's answer.
    streams: usize,
}

impl Sessions {
    pub(super) fn new() -> Self {
        let mut config = SessionConfig::default();
        // rmcp's keep-alive would end a session during a long call without output.
        config.keep_alive = None;
        config.sse_retry = Some(RECONNECT_DELAY);
        let mut local = LocalSessionManager::default();
        local.session_config = config;
        Self(Arc::new(SharedSessions {
            local,
            known: Mutex::default(),
        }))
    }

    /// Reports whether there is room for one more session.
    ///
    /// First ends idle sessions: those idle for more than an hour and, at the limit, the ones idle
    /// for longest.
    pub(super) async fn has_room(&self) -> bool {
        let (evicted, room) = {
            let known = self.0.known();
            let mut idle: Vec<(Instant, SessionId)> = known
                .iter()
                .filter(|(_, session)| session.streams == 0 && session.calls.is_empty())
                .map(|(id, session)| (session.last_used, id.clone()))
                .collect();
            idle.sort();
            let expired = idle
                .iter()
                .take_while(|(last_used, _)| last_used.elapsed() > IDLE_TIMEOUT)
                .count();
            let surplus = (known.len() + 1).saturating_sub(MAX_SESSIONS);
            let count = expired.max(surplus).min(idle.len());
            let evicted: Vec<SessionId> = idle.drain(..count).map(|(_, id)| id).collect();
            let room = known.len() - evicted.len() < MAX_SESSIONS;
            (evicted, room)
        };
        for id in evicted {
            let _ = self.close_session(&id).await;
        }
        room
    }

    /// Wraps a stream to the client, to detect its end.
    fn watch(
        &self,
        session: &SessionId,
        request: Option<RequestId>,
        number: Option<u64>,
        stream: impl Stream<Item = ServerSseMessage> + Send + Sync + 'static,
    ) -> WatchedStream {
        let mut knows_priming = false;
        if let Some(known) = self.0.known().get_mut(session) {
            knows_priming = known.knows_priming;
            known.last_used = Instant::now();
            known.streams += 1;
            if let Some(call) = number.and_then(|number| known.calls.get_mut(&number)) {
                call.streams += 1;
            }
        }
        WatchedStream {
            stream: Box::pin(stream),
            sessions: self.clone(),
            session: session.clone(),
            request,
            number,
            knows_priming,
            done: false,
        }
    }
}

impl SharedSessions {
    fn known(&self) -> MutexGuard<'_, HashMap<SessionId, SessionRecord>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn touch(&self, session: &SessionId) {
        if let Some(known) = self.known().get_mut(session) {
            known.last_used = Instant::now();
        }
    }

    async fn cancel(&self, session: &SessionId, request: RequestId) {
        let params =
            CancelledNotificationParam::new(Some(request), Some("the client is gone".to_owned()));
        let cancelled =
            ClientNotification::CancelledNotification(CancelledNotification::new(params));
        let message = ClientJsonRpcMessage::notification(cancelled);
        let _ = self.local.accept_message(session, message).await;
    }
}

/// Parses the number of a call in the id of an event, `INDEX/NUMBER`.
fn number(event: &str) -> Option<u64> {
    event.split_once('/')?.1.parse().ok()
}

/// A stream to a client. If it ends before the call's answer and the client does not resume it, the
/// call is cancelled.
struct WatchedStream {
    stream: Pin<Box<dyn Stream<Item = ServerSseMessage> + Send + Sync>>,
    sessions: Sessions,
    session: SessionId,
    /// The request whose answer the stream carries.
    request: Option<RequestId>,
    number: Option<u64>,
    /// Whether priming events are passed on.
    knows_priming: bool,
    /// Whether the answer was sent, or the stream carries none and has ended.
    done: bool,
}

impl WatchedStream {
    fn observe(&mut self, message: &ServerSseMessage) {
        let Some(request) = &self.request else { return };
        if self.number.is_none()
            && let Some(number) = message.event_id.as_deref().and_then(number)
        {
            self.number = Some(number);
            if let Some(known) = self.sessions.0.known().get_mut(&self.session) {
                let call = OpenCall {
                    request: request.clone(),
                    streams: 1,
                };
                known.calls.insert(number, call);
            }
        }
        let answered = match message.message.as_deref() {
            Some(ServerJsonRpcMessage::Response(answer)) => Some(&answer.id) == Some(request),
            Some(ServerJsonRpcMessage::Error(error)) => error.id.as_ref() == Some(request),
            _ => false,
        };
        self.done |= answered;
    }
}

impl Stream for WatchedStream {
    type Item = ServerSseMessage;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            let polled = self.stream.as_mut().poll_next(context);
            match &polled {
                Poll::Ready(Some(message)) => {
                    self.observe(message);
                    if message.message.is_none() && !self.knows_priming {
                        continue;
                    }
                }
                // A resumed call continues on another stream, so the end of a stream with a request
                // is not the call's end.
                Poll::Ready(None) => self.done |= self.request.is_none(),
                Poll::Pending => {}
            }
            return polled;
        }
    }
}

impl Drop for WatchedStream {
    fn drop(&mut self) {
        let mut lost = None;
        if let Some(known) = self.sessions.0.known().get_mut(&self.session) {
            known.last_used = Instant::now();
            known.streams = known.streams.saturating_sub(1);
            match self.number {
                Some(number) if self.done => drop(known.calls.remove(&number)),
                Some(number) => {
                    if let Some(call) = known.calls.get_mut(&number) {
                        call.streams = call.streams.saturating_sub(1);
                        lost = (call.streams == 0).then(|| call.request.clone());
                    }
                }
                // The client left before any event was sent.
                None if !self.done => lost = self.request.take(),
                None => {}
            }
        }
        let Some(request) = lost else { return };
        let (sessions, session, number) =
            (self.sessions.clone(), self.session.clone(), self.number);
        // The runtime itself may be shutting down.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            contree_tasks::spawn_on(&runtime, async move {
                tokio::time::sleep(RESUME_TIMEOUT).await;
                if let Some(number) = number {
                    let mut known = sessions.0.known();
                    let Some(known) = known.get_mut(&session) else {
                        return;
                    };
                    match known.calls.get(&number) {
                        Some(call) if call.streams == 0 => drop(known.calls.remove(&number)),
                        _ => return,
                    }
                }
                sessions.0.cancel(&session, request).await;
            });
        }
    }
}

impl SessionManager for Sessions {
    type Error = LocalSessionManagerError;
    type Transport = <LocalSessionManager as SessionManager>::Transport;

    async fn create_session(&self) -> Result<(SessionId, Self::Transport), Self::Error> {
        let (id, transport) = self.0.local.create_session().await?;
        let known = SessionRecord {
            last_used: Instant::now(),
            knows_priming: false,
            streams: 0,
            calls: BTreeMap::new(),
        };
        self.0.known().insert(id.clone(), known);
        Ok((id, transport))
    }

    async fn initialize_session(
        &self,
        id: &SessionId,
        message: ClientJsonRpcMessage,
    ) -> Result<ServerJsonRpcMessage, Self::Error> {
        let answer = self.0.local.initialize_session(id, message).await?;
        if let ServerJsonRpcMessage::Response(response) = &answer
            && let ServerResult::InitializeResult(result) = &response.result
            && let Some(known) = self.0.known().get_mut(id)
        {
            known.knows_priming = result.protocol_version >= ProtocolVersion::V_2025_11_25;
        }
        Ok(answer)
    }

    async fn has_session(&self, id: &SessionId) -> Result<bool, Self::Error> {
        self.0.local.has_session(id).await
    }

    /// Ends the session after cancelling its calls, which rmcp would let run for five more seconds.
    async fn close_session(&self, id: &SessionId) -> Result<(), Self::Error> {
        let known = self.0.known().remove(id);
        for call in known
            .into_iter()
            .flat_map(|known| known.calls.into_values())
        {
            self.0.cancel(id, call.request).await;
        }
        self.0.local.close_session(id).await
    }

    async fn create_stream(
        &self,
        id: &SessionId,
        message: ClientJsonRpcMessage,
    ) -> Result<impl Stream<Item = ServerSseMessage> + Send + Sync + 'static, Self::Error> {
        let request = match &message {
            ClientJsonRpcMessage::Request(request) => Some(request.id.clone()),
            _ => None,
        };
        let stream = self.0.local.create_stream(id, message).await?;
        Ok(self.watch(id, request, None, stream))
    }

    async fn accept_message(
        &self,
        id: &SessionId,
        message: ClientJsonRpcMessage,
    ) -> Result<(), Self::Error> {
        self.0.touch(id);
        self.0.local.accept_message(id, message).await
    }

    async fn create_standalone_stream(
        &self,
        id: &SessionId,
    ) -> Result<impl Stream<Item = ServerSseMessage> + Send + Sync + 'static, Self::Error> {
        let stream = self.0.local.create_standalone_stream(id).await?;
        let priming = ServerSseMessage::priming(STANDALONE_PRIMING_ID, RECONNECT_DELAY);
        let stream = futures_util::stream::iter([priming]).chain(stream);
        Ok(self.watch(id, None, None, stream))
    }

    async fn resume(
        &self,
        id: &SessionId,
        last_event_id: String,
    ) -> Result<impl Stream<Item = ServerSseMessage> + Send + Sync + 'static, Self::Error> {
        if last_event_id == STANDALONE_PRIMING_ID {
            let stream = self.0.local.resume(id, FIRST_EVENT_ID.to_owned()).await?;
            return Ok(self.watch(id, None, None, stream));
        }
        let number = number(&last_event_id);
        let request = number.and_then(|number| {
            let known = self.0.known();
            Some(known.get(id)?.calls.get(&number)?.request.clone())
        });
        let stream = self.0.local.resume(id, last_event_id.clone()).await?;
        // rmcp repeats the event that the client names as its last.
        let stream = stream.filter(move |message| {
            std::future::ready(message.event_id.as_deref() != Some(last_event_id.as_str()))
        });
        Ok(self.watch(id, request, number, stream))
    }
}
