//! The history of an image.

use std::collections::{HashMap, HashSet};

use futures_util::future::BoxFuture;
use uuid::Uuid;

use crate::{Client, Error, ImageRef, OperationKind, OperationStatus, types};

/// Operations in one request.
const PAGE: u64 = 1000;
/// Maximum number of requests for operations.
const MAX_PAGES: u64 = 10;

/// The part of a history that is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogRequest {
    /// Maximum number of images, from 1 to 1000.
    pub limit: u64,
    /// Number of images to skip.
    pub offset: u64,
    /// Whether to list the images that were made directly from the image, instead of those that it
    /// was made from.
    pub children: bool,
}

impl Default for LogRequest {
    fn default() -> Self {
        Self {
            limit: 100,
            offset: 0,
            children: false,
        }
    }
}

/// The origin of an image that the caller remembers and the backend may have forgotten.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct RememberedOrigin {
    pub(crate) parent: Option<Uuid>,
    pub(crate) operation: Option<Uuid>,
    pub(crate) kind: Option<String>,
    pub(crate) command: Option<String>,
    pub(crate) created_at: Option<String>,
}

/// A memory of the origins of images.
pub(crate) trait OriginMemory: Send + Sync {
    /// The remembered origin of an image.
    fn origin(&self, image: Uuid) -> BoxFuture<'_, Option<RememberedOrigin>>;

    /// The remembered images that were made directly from an image, oldest first.
    fn children(&self, image: Uuid) -> BoxFuture<'_, Vec<Uuid>>;
}

/// A memory without anything in it.
struct NoMemory;

impl OriginMemory for NoMemory {
    fn origin(&self, _: Uuid) -> BoxFuture<'_, Option<RememberedOrigin>> {
        Box::pin(async { None })
    }

    fn children(&self, _: Uuid) -> BoxFuture<'_, Vec<Uuid>> {
        Box::pin(async { Vec::new() })
    }
}

impl Client {
    /// Lists an image and the images that it was made from, the newest first, with what made each.
    ///
    /// A backend without this extension knows less: the client asks for each image and its
    /// operation, and the numbers of changed files are unknown.
    ///
    /// # Errors
    /// [`Error::Api`] with 404 if there is no such image.
    pub async fn log(&self, image: Uuid, request: LogRequest) -> Result<types::ImageLog, Error> {
        self.log_with(image, request, &NoMemory).await
    }

    /// Like [`log`](Self::log), with what the caller remembers.
    pub(crate) async fn log_with(
        &self,
        image: Uuid,
        request: LogRequest,
        memory: &dyn OriginMemory,
    ) -> Result<types::ImageLog, Error> {
        if self.has_extension("log").await? {
            let ask = self
                .get_image_log()
                .image_uuid(image)
                .limit(request.limit)
                .offset(request.offset)
                .children(u64::from(request.children));
            return Ok(ask.send().await?.into_inner());
        }
        let history = ServiceHistory::read(self, memory).await?;
        if request.children {
            history.children(image, request).await
        } else {
            history.ancestors(image, request).await
        }
    }

    /// The image that an image was made from, if that is known.
    pub(crate) async fn parent_of(
        &self,
        image: Uuid,
        memory: &dyn OriginMemory,
    ) -> Result<Option<Uuid>, Error> {
        let request = LogRequest {
            limit: 1,
            ..LogRequest::default()
        };
        let log = self.log_with(image, request, memory).await?;
        Ok(log.images.first().and_then(|image| image.parent_uuid))
    }

    /// Like [`parent_of`](Self::parent_of), without a memory.
    pub(crate) async fn recorded_parent(&self, image: Uuid) -> Result<Option<Uuid>, Error> {
        self.parent_of(image, &NoMemory).await
    }
}

/// The history of images on a service without the extension.
struct ServiceHistory<'a> {
    client: &'a Client,
    memory: &'a dyn OriginMemory,
    /// The parent and the operation of each image that a listed operation made.
    made: HashMap<Uuid, Made>,
    /// The images made from each image, the newest first.
    children: HashMap<Uuid, Vec<Uuid>>,
    /// Whether there are more operations than were listed.
    truncated: bool,
}

/// The origin of an image in the list of operations.
#[derive(Clone, Copy)]
struct Made {
    parent: Option<Uuid>,
    operation: Option<Uuid>,
}

impl<'a> ServiceHistory<'a> {
    async fn read(client: &'a Client, memory: &'a dyn OriginMemory) -> Result<Self, Error> {
        let mut history = Self {
            client,
            memory,
            made: HashMap::new(),
            children: HashMap::new(),
            truncated: true,
        };
        for page in 0..MAX_PAGES {
            let request = client.list_operations().limit(PAGE).offset(page * PAGE);
            let operations = request.send().await?.into_inner();
            let last = (operations.len() as u64) < PAGE;
            for operation in operations {
                history.add(&operation);
            }
            if last {
                history.truncated = false;
                break;
            }
        }
        Ok(history)
    }

    fn add(&mut self, operation: &types::OperationSummary) {
        let ended = operation.status == Some(OperationStatus::Success);
        let Some(result) = operation.result_image_uuid.filter(|_| ended) else {
            return;
        };
        let is_import = operation.kind == Some(OperationKind::ImageImport);
        let parent = operation.image_uuid.filter(|_| !is_import);
        // A run that changed nothing has the image on which it ran as its result.
        if parent == Some(result) {
            return;
        }
        if let Some(parent) = parent {
            self.children.entry(parent).or_default().push(result);
        }
        self.made.entry(result).or_insert(Made {
            parent,
            operation: operation.uuid,
        });
    }

    async fn ancestors(&self, image: Uuid, request: LogRequest) -> Result<types::ImageLog, Error> {
        // An unknown image is an error, not an empty history.
        self.client.resolve(&ImageRef::Uuid(image)).await?;
        let mut images = Vec::new();
        let (mut skipped, mut more) = (0, false);
        let mut seen = HashSet::new();
        let mut next = Some(image);
        let mut last_is_base = false;
        while let Some(uuid) = next {
            // No backend creates a circle, but a wrong record must not cause an endless loop.
            if !seen.insert(uuid) {
                break;
            }
            if images.len() as u64 == request.limit {
                more = true;
                break;
            }
            if skipped < request.offset
                && let Some(made) = self.made.get(&uuid)
            {
                skipped += 1;
                next = made.parent;
                continue;
            }
            let entry = self.entry(uuid).await?;
            next = entry.parent_uuid;
            last_is_base = entry.kind.as_deref() == Some("image_import");
            if skipped < request.offset {
                skipped += 1;
            } else {
                images.push(entry);
            }
        }
        let end = images.last().filter(|_| !more && !last_is_base);
        let note = end.map(|end| {
            format!(
                "the history before image {} is unknown to this service",
                end.uuid
            )
        });
        Ok(types::ImageLog {
            next: more.then(|| request.offset + images.len() as u64),
            images,
            note,
        })
    }

    async fn children(&self, image: Uuid, request: LogRequest) -> Result<types::ImageLog, Error> {
        self.client.resolve(&ImageRef::Uuid(image)).await?;
        let mut all = self.children.get(&image).cloned().unwrap_or_default();
        let remembered = self.memory.children(image).await;
        all.extend(remembered.into_iter().rev());
        let mut seen = HashSet::new();
        all.retain(|child| seen.insert(*child));
        let rest = all
            .into_iter()
            .skip(usize::try_from(request.offset).unwrap_or(usize::MAX));
        let rest: Vec<Uuid> = rest.collect();
        let limit = usize::try_from(request.limit).unwrap_or(usize::MAX);
        let mut images = Vec::new();
        for uuid in rest.iter().take(limit) {
            images.push(self.entry(*uuid).await?);
        }
        Ok(types::ImageLog {
            next: (rest.len() > limit).then(|| request.offset + limit as u64),
            images,
            note: self.truncated.then(|| {
                format!(
                    "only the newest {} operations of this service were searched",
                    PAGE * MAX_PAGES
                )
            }),
        })
    }

    /// Asks for an image, its tags and the operation that made it.
    async fn entry(&self, uuid: Uuid) -> Result<types::ImageLogEntry, Error> {
        let found = match self.client.resolve(&ImageRef::Uuid(uuid)).await {
            Ok(found) => Some(found),
            Err(error) if error.is_not_found() => None,
            Err(error) => return Err(error),
        };
        let remembered = self.memory.origin(uuid).await.unwrap_or_default();
        let made = self.made.get(&uuid).copied();
        let operation = found
            .as_ref()
            .and_then(|found| found.operation_uuid)
            .or(made.and_then(|made| made.operation))
            .or(remembered.operation);
        let record = match operation {
            Some(operation) => self.record(operation).await?,
            None => None,
        };
        let origin = Origin::of(uuid, record.as_ref());
        let tags = match &found {
            Some(_) => self.tags(uuid).await?,
            None => Vec::new(),
        };
        let children = self.children.get(&uuid).map_or(0, Vec::len);
        Ok(types::ImageLogEntry {
            uuid,
            parent_uuid: origin
                .parent
                .or(made.and_then(|made| made.parent))
                .or(remembered.parent),
            operation_uuid: operation,
            kind: origin.kind.or(remembered.kind),
            command: origin.command.or(remembered.command),
            created_at: found
                .as_ref()
                .and_then(|found| found.created_at.clone())
                .or(remembered.created_at),
            duration: record.as_ref().and_then(|record| record.duration),
            exit_code: origin.exit_code,
            tags,
            client: None,
            changed_files: None,
            changed_bytes: None,
            children: children as u64,
            removed: found.is_none(),
        })
    }

    async fn record(&self, operation: Uuid) -> Result<Option<types::OperationResponse>, Error> {
        let asked = self.client.get_operation_status().operation_id(operation);
        match asked.send().await.map_err(Error::from) {
            Ok(record) => Ok(Some(record.into_inner())),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn tags(&self, image: Uuid) -> Result<Vec<String>, Error> {
        let listed = self.client.list_images().uuid(image).send().await?;
        let images = listed.into_inner().images.into_iter();
        let mut tags: Vec<String> = images
            .filter(|listed| listed.uuid == Some(image))
            .filter_map(|listed| listed.tag)
            .collect();
        tags.sort_unstable();
        Ok(tags)
    }
}

/// The origin of an image in the record of the operation that made it.
#[derive(Default)]
struct Origin {
    parent: Option<Uuid>,
    kind: Option<String>,
    command: Option<String>,
    exit_code: Option<i64>,
}

impl Origin {
    fn of(image: Uuid, record: Option<&types::OperationResponse>) -> Self {
        let Some(record) = record else {
            return Self::default();
        };
        let kind = record.kind.as_ref().map(ToString::to_string);
        if record.kind == Some(OperationKind::ImageImport) {
            let command = match &record.metadata {
                Some(types::OperationMetadata::ImageImportMetadata(import)) => import
                    .registry
                    .as_ref()
                    .and_then(|registry| registry.url.clone()),
                _ => None,
            };
            return Self {
                kind,
                command,
                ..Self::default()
            };
        }
        let Some(types::OperationMetadata::OperationInstanceMetadata(run)) = &record.metadata
        else {
            return Self {
                parent: record.image_uuid.filter(|parent| *parent != image),
                kind,
                ..Self::default()
            };
        };
        let words =
            std::iter::once(run.command.as_str()).chain(run.args.iter().map(String::as_str));
        let state = run.result.as_ref().and_then(|result| result.state.as_ref());
        Self {
            parent: record
                .image_uuid
                .or(Some(run.image))
                .filter(|parent| *parent != image),
            kind,
            command: Some(words.collect::<Vec<_>>().join(" ")),
            exit_code: state.and_then(|state| state.exit_code),
        }
    }
}
