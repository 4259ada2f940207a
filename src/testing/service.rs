//! The state of a stub service, and its answers to requests.

use std::{
    collections::BTreeMap,
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use futures_util::{Stream, StreamExt as _, stream};
use http::{Method, Response, StatusCode, Uri};
use reqwest::Body;
use tokio::sync::watch;
use url::form_urlencoded;
use uuid::Uuid;

use super::{
    answers,
    fault::{Fault, Route},
    operation::{StubOperation, TIME},
    scripted_run::{End, ScriptedRun},
};
use crate::{ImageRef, OperationStatus, types};

/// The exit code of a command that was not found, as of a shell.
const NOT_FOUND: i64 = 127;

/// A request that the stub does not answer: the connection is closed.
#[derive(Debug, thiserror::Error)]
#[error("a fault of the stub service closed the connection")]
pub(super) struct Disconnected;

/// A request with its whole body.
pub(super) struct StubRequest {
    pub(super) method: Method,
    pub(super) uri: Uri,
    pub(super) last_event: Option<u64>,
    pub(super) body: Bytes,
}

/// A service that runs nothing.
#[derive(Default)]
pub(super) struct StubService {
    state: Mutex<ServiceState>,
    /// Changes whenever an operation ends.
    changes: watch::Sender<u64>,
}

#[derive(Default)]
pub(super) struct ServiceState {
    pub(super) images: BTreeMap<Uuid, StubImage>,
    pub(super) scripts: Vec<ScriptedRun>,
    pub(super) operations: Vec<StubOperation>,
    /// The faults, with the number of requests that have them; none for all.
    pub(super) faults: Vec<(Route, Fault, Option<usize>)>,
    /// Method and path of every request.
    pub(super) requests: Vec<String>,
    uploads: BTreeMap<String, types::File>,
}

/// An image of a stub service.
#[derive(Clone, Debug, Default)]
pub(super) struct StubImage {
    pub(super) tag: Option<String>,
    pub(super) files: BTreeMap<String, String>,
}

impl StubService {
    pub(super) fn state(&self) -> MutexGuard<'_, ServiceState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Answers a request.
    ///
    /// # Errors
    /// If the connection is to be closed.
    pub(super) async fn answer(
        self: Arc<Self>,
        request: StubRequest,
    ) -> Result<Response<Body>, Disconnected> {
        let path = request.uri.path().to_owned();
        let route = Route::of(&request.method, &path);
        let fault = {
            let mut state = self.state();
            state.requests.push(format!("{} {path}", request.method));
            state.take_fault(route)
        };
        match fault {
            Some(Fault::Refuse {
                status,
                retry_after,
            }) => Ok(answers::refusal(status, retry_after)),
            Some(Fault::Redirect { status }) => {
                Ok(answers::redirect(status, &request.uri.to_string()))
            }
            Some(Fault::Disconnect) => Err(Disconnected),
            Some(Fault::LoseAnswer) => {
                self.carry_out(route, &request, None);
                Err(Disconnected)
            }
            Some(Fault::Silence) => std::future::pending().await,
            Some(Fault::EndlessBody) => Ok(answers::endless(StatusCode::OK, " ")),
            Some(Fault::EndlessError { status }) => {
                let status = StatusCode::from_u16(status);
                let status = status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
                Ok(answers::endless(status, "no "))
            }
            fault => Ok(self.carry_out(route, &request, fault)),
        }
    }

    /// Acts on a request. `fault` is one of the events or of the status.
    fn carry_out(
        self: &Arc<Self>,
        route: Option<Route>,
        request: &StubRequest,
        fault: Option<Fault>,
    ) -> Response<Body> {
        let mut parts = request.uri.path().split('/').skip(3);
        let id = parts.next().unwrap_or_default();
        let query = |name: &str| query(&request.uri, name);
        let answer = match route {
            Some(Route::Spawn) => self.state().spawn(&request.body),
            Some(Route::Status) => self.state().status(id, fault),
            Some(Route::Events) => return self.events(id, request.last_event, fault),
            Some(Route::Cancel) => {
                let answer = self.state().cancel(id);
                self.changes.send_modify(|changes| *changes += 1);
                answer
            }
            Some(Route::Images) if request.uri.path() == "/v1/images" => {
                Ok(self.state().list(query("tag")))
            }
            Some(Route::Images) if id.is_empty() => self.state().find(query("tag")),
            Some(Route::Images) => self.state().image(id),
            Some(Route::Tag) => self.state().set_tag(id, &request.method, &request.body),
            Some(Route::Download) => self.state().download(id, query("path")),
            Some(Route::FindFile) => self.state().find_file(id),
            Some(Route::Upload) => Ok(self.state().upload(&request.body)),
            Some(Route::Any) | None => Err(missing("route")),
        };
        answer.unwrap_or_else(Refusal::into_answer)
    }

    /// The event stream of an operation, which ends with the operation.
    fn events(
        self: &Arc<Self>,
        id: &str,
        last: Option<u64>,
        fault: Option<Fault>,
    ) -> Response<Body> {
        let frames = match self.state().operation(id) {
            Ok(operation) => operation.frames(),
            Err(refusal) => return refusal.into_answer(),
        };
        let seen = last.and_then(|last| usize::try_from(last).ok());
        let seen = seen.unwrap_or_default().min(frames.len());
        match fault {
            Some(Fault::BreakAfter(count)) => {
                let some = frames.into_iter().skip(seen).take(count).collect();
                answers::frames(some, answers::broken())
            }
            Some(Fault::RepeatEvents) => {
                let without_end = frames.len().saturating_sub(1).max(1);
                let repeated: String = frames.into_iter().take(without_end).collect();
                answers::endless_events("", &repeated)
            }
            Some(Fault::EventErrors) => {
                answers::endless_events("", "event: sse_error\ndata: a fault\n\n")
            }
            Some(Fault::EndlessEvent) => answers::endless_events("data: ", "x"),
            Some(Fault::EndlessLines) => answers::endless_events("", "data: x\r"),
            Some(Fault::KeepAlive) => answers::frames(Vec::new(), keep_alive()),
            _ => answers::events(self.follow(id.to_owned(), seen)),
        }
    }

    /// The frames of an operation after the first `seen` ones, as they happen.
    fn follow(
        self: &Arc<Self>,
        id: String,
        seen: usize,
    ) -> impl Stream<Item = io::Result<Bytes>> + Send + 'static {
        let service = Arc::clone(self);
        let changes = self.changes.subscribe();
        let start = (service, changes, seen, false);
        stream::unfold(start, move |(service, mut changes, mut seen, is_over)| {
            let id = id.clone();
            async move {
                if is_over {
                    return None;
                }
                loop {
                    changes.borrow_and_update();
                    let found = service.state().operation(&id).ok().cloned();
                    let operation = found?;
                    let new: String = operation.frames().into_iter().skip(seen).collect();
                    let is_over = operation.status.is_terminal();
                    if !new.is_empty() || is_over {
                        seen = operation.frames().len();
                        let bytes = Ok(Bytes::from(new));
                        return Some((bytes, (service, changes, seen, is_over)));
                    }
                    changes.changed().await.ok()?;
                }
            }
        })
    }
}

/// Comments without an end, each after a pause.
fn keep_alive() -> impl Stream<Item = io::Result<Bytes>> + Send + 'static {
    const PAUSE: std::time::Duration = std::time::Duration::from_millis(5);
    stream::repeat(()).then(|()| async {
        tokio::time::sleep(PAUSE).await;
        Ok(Bytes::from_static(b": keep-alive\n\n"))
    })
}

/// The value of a query parameter.
fn query(uri: &Uri, name: &str) -> Option<String> {
    let query = uri.query().unwrap_or_default();
    form_urlencoded::parse(query.as_bytes())
        .find(|(found, _)| found == name)
        .map(|(_, value)| value.into_owned())
}

/// The refusal of a request.
struct Refusal {
    status: StatusCode,
    message: String,
}

impl Refusal {
    fn into_answer(self) -> Response<Body> {
        answers::error(self.status, &self.message)
    }
}

/// An answer, or the refusal of the request.
type Answer = Result<Response<Body>, Refusal>;

fn missing(what: &str) -> Refusal {
    Refusal {
        status: StatusCode::NOT_FOUND,
        message: format!("the stub service has no such {what}"),
    }
}

fn invalid(message: impl ToString) -> Refusal {
    Refusal {
        status: StatusCode::BAD_REQUEST,
        message: message.to_string(),
    }
}

impl ServiceState {
    /// The fault of the next request of a kind, if it has one. The oldest fault comes first.
    fn take_fault(&mut self, route: Option<Route>) -> Option<Fault> {
        let of_route =
            |of: Route| of == Route::Any || route.is_some_and(|route| of.includes(route));
        let found = self
            .faults
            .iter()
            .position(|(of, _, left)| of_route(*of) && *left != Some(0))?;
        let (_, fault, left) = &mut self.faults[found];
        if let Some(left) = left {
            *left -= 1;
        }
        Some(*fault)
    }

    /// Adds an image and returns its id.
    pub(super) fn add_image(&mut self, image: StubImage) -> Uuid {
        let id = Uuid::new_v4();
        if let Some(tag) = &image.tag {
            self.remove_tag(tag);
        }
        self.images.insert(id, image);
        id
    }

    fn remove_tag(&mut self, tag: &str) {
        for image in self.images.values_mut() {
            image.tag.take_if(|found| found == tag);
        }
    }

    fn spawn(&mut self, body: &[u8]) -> Answer {
        let request: types::InstanceSpawnRequest = serde_json::from_slice(body).map_err(invalid)?;
        let image = match &request.image {
            ImageRef::Uuid(id) => self.images.contains_key(id).then_some(*id),
            ImageRef::Tag(tag) => self.tagged(tag),
        };
        let image = image.ok_or_else(|| {
            invalid(format_args!(
                "the stub service has no image `{}`",
                request.image
            ))
        })?;
        let script = self.script(&request.command);
        let status = match script.end {
            End::Never => OperationStatus::Executing,
            End::Failure(_) => OperationStatus::Failed,
            End::Exit(_) | End::Signal(_) | End::TimeOut => OperationStatus::Success,
        };
        let has_result =
            status == OperationStatus::Success && !request.disposable.unwrap_or_default();
        let result_image = has_result.then(|| self.result(image, &script));
        let operation = StubOperation {
            operation: Uuid::new_v4(),
            image,
            command: request.command.clone(),
            request,
            status,
            result_image,
            script,
        };
        let answer = types::InstanceSpawnResponse {
            uuid: Some(operation.operation),
            image: Some(image),
            command: Some(operation.command.clone()),
            timeout: operation.request.timeout,
            ..types::InstanceSpawnResponse::default()
        };
        self.operations.push(operation);
        Ok(answers::json(StatusCode::CREATED, &answer))
    }

    /// The newest script for a command, else the newest one for all commands.
    fn script(&self, command: &str) -> ScriptedRun {
        let newest = |wanted: Option<&str>| {
            let mut scripts = self.scripts.iter().rev();
            scripts.find(|script| script.command.as_deref() == wanted)
        };
        newest(Some(command))
            .or_else(|| newest(None))
            .cloned()
            .unwrap_or_else(|| {
                ScriptedRun::default()
                    .stderr(format!("the stub service has no script for `{command}`\n"))
                    .exit_code(NOT_FOUND)
            })
    }

    /// Adds the result image of a run.
    fn result(&mut self, image: Uuid, script: &ScriptedRun) -> Uuid {
        let mut files = self
            .images
            .get(&image)
            .map(|image| image.files.clone())
            .unwrap_or_default();
        files.extend(script.files.iter().cloned());
        self.add_image(StubImage { tag: None, files })
    }

    fn operation(&self, id: &str) -> Result<&StubOperation, Refusal> {
        let mut operations = self.operations.iter();
        operations
            .find(|operation| operation.operation.to_string() == id)
            .ok_or_else(|| missing("operation"))
    }

    fn status(&self, id: &str, fault: Option<Fault>) -> Answer {
        let mut operation = self.operation(id)?.clone();
        if fault == Some(Fault::NeverEnds) {
            operation.status = OperationStatus::Executing;
        }
        Ok(answers::json(StatusCode::OK, &operation.record()))
    }

    fn cancel(&mut self, id: &str) -> Answer {
        let mut operations = self.operations.iter_mut();
        let operation = operations
            .find(|operation| operation.operation.to_string() == id)
            .ok_or_else(|| missing("operation"))?;
        if operation.status.is_terminal() {
            return Err(Refusal {
                status: StatusCode::CONFLICT,
                message: "the operation has ended".to_owned(),
            });
        }
        operation.status = OperationStatus::Cancelled;
        Ok(answers::empty(StatusCode::ACCEPTED))
    }

    fn tagged(&self, tag: &str) -> Option<Uuid> {
        let mut images = self.images.iter();
        images
            .find(|(_, image)| image.tag.as_deref() == Some(tag))
            .map(|(id, _)| *id)
    }

    fn list(&self, tag: Option<String>) -> Response<Body> {
        let images = self.images.iter();
        let images = images
            .filter(|(_, image)| tag.is_none() || image.tag == tag)
            .map(|(id, image)| record(*id, image))
            .collect();
        answers::json(StatusCode::OK, &types::ImageListResponse { images })
    }

    fn find(&self, tag: Option<String>) -> Answer {
        let id = tag.and_then(|tag| self.tagged(&tag));
        self.image(&id.map(|id| id.to_string()).unwrap_or_default())
    }

    fn image(&self, id: &str) -> Answer {
        let (id, image) = self.parse_image(id)?;
        Ok(answers::json(StatusCode::OK, &record(id, image)))
    }

    fn parse_image(&self, id: &str) -> Result<(Uuid, &StubImage), Refusal> {
        let id = id.parse::<Uuid>().map_err(|_| missing("image"))?;
        let image = self.images.get(&id).ok_or_else(|| missing("image"))?;
        Ok((id, image))
    }

    fn set_tag(&mut self, id: &str, method: &Method, body: &[u8]) -> Answer {
        let (id, _) = self.parse_image(id)?;
        let mut tag = None;
        if method == Method::PATCH {
            let request: types::ImageTagRequest = serde_json::from_slice(body).map_err(invalid)?;
            self.remove_tag(&request.tag);
            tag = Some(request.tag);
        }
        if let Some(image) = self.images.get_mut(&id) {
            image.tag = tag;
        }
        self.image(&id.to_string())
    }

    fn download(&self, id: &str, path: Option<String>) -> Answer {
        let (_, image) = self.parse_image(id)?;
        let content = path.and_then(|path| image.files.get(&path));
        let content = content.ok_or_else(|| missing("file"))?;
        Ok(answers::file(content.clone()))
    }

    fn find_file(&self, sha256: &str) -> Answer {
        let file = self.uploads.get(sha256);
        let file = file.ok_or_else(|| missing("file"))?;
        Ok(answers::json(StatusCode::OK, file))
    }

    fn upload(&mut self, body: &[u8]) -> Response<Body> {
        let sha256 = crate::client::sha256(body);
        let size = i64::try_from(body.len()).unwrap_or(i64::MAX);
        let file = self
            .uploads
            .entry(sha256.clone())
            .or_insert_with(|| types::File {
                uuid: Uuid::new_v4(),
                sha256,
                size,
                created_at: TIME.to_owned(),
                updated_at: TIME.to_owned(),
            });
        let answer = types::FileResponse {
            uuid: file.uuid,
            sha256: file.sha256.clone(),
            size: file.size,
        };
        answers::json(StatusCode::CREATED, &answer)
    }
}

/// The record of an image.
fn record(id: Uuid, image: &StubImage) -> types::Image {
    types::Image {
        uuid: Some(id),
        tag: image.tag.clone(),
        created_at: Some(TIME.to_owned()),
        operation_uuid: None,
    }
}
