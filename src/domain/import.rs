//! Importing images from registries.

use std::{fmt, pin::Pin, time::Duration};

use uuid::Uuid;

use super::{
    cancel::{self, CancelTarget},
    command::seconds,
    image::Image,
    output::{Changes as _, Keep, captured, failure},
    text::ToText,
};
use crate::{Client, Error, OperationStatus, events::Payload, output::PartialOutput, types};

/// An import of an image. Awaiting it waits for its end, and returns the image.
///
/// Dropping the future before its end cancels the import on the backend, at whatever point.
/// [`detach`](Self::detach) starts an import that continues by itself.
#[must_use = "an import starts when it is awaited or detached"]
pub struct Import {
    client: Client,
    url: Result<String, Error>,
    tag: Option<String>,
    timeout: Option<Duration>,
    credentials: Option<types::RegistryCredentials>,
    progress: Option<Box<dyn FnMut(ImportProgress) + Send>>,
}

/// A line about the progress of an import.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ImportProgress {
    /// The line, such as `downloaded 12 MiB of 48 MiB`. A backend need not report any.
    pub line: String,
}

/// Writes the line.
impl fmt::Display for ImportProgress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.line)
    }
}

impl Client {
    /// An import of an image, such as `docker://docker.io/library/python:3.12`.
    ///
    /// ```no_run
    /// # async fn example(client: contree::Client) -> Result<(), contree::Error> {
    /// let python = client.import("docker://python:3.12").tag("python").await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn import(&self, url: impl ToText) -> Import {
        Import {
            client: self.clone(),
            url: url.to_text(),
            tag: None,
            timeout: None,
            credentials: None,
            progress: None,
        }
    }
}

impl Import {
    /// Points a tag to the imported image. `tag` may begin with `tag:`.
    pub fn tag(mut self, tag: impl AsRef<str>) -> Self {
        let tag = tag.as_ref();
        self.tag = Some(tag.strip_prefix("tag:").unwrap_or(tag).to_owned());
        self
    }

    /// Sets the time after which the import fails, rounded up to seconds; the default is 300 s.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Sets the login for the registry.
    pub fn credentials(mut self, user: impl Into<String>, password: impl Into<String>) -> Self {
        self.credentials = Some(types::RegistryCredentials {
            username: Some(user.into()),
            password: Some(password.into()),
        });
        self
    }

    /// Calls a function with each line about the progress.
    pub fn on_progress(mut self, progress: impl FnMut(ImportProgress) + Send + 'static) -> Self {
        self.progress = Some(Box::new(progress));
        self
    }

    /// Starts the import and leaves it to the backend. Returns its operation.
    ///
    /// # Errors
    /// If the backend refuses or cannot be reached.
    pub async fn detach(self) -> Result<Uuid, Error> {
        let (operation, guard, ..) = self.start().await?;
        guard.release();
        Ok(operation)
    }

    async fn start(self) -> Result<(Uuid, cancel::CancelGuard, Client, ProgressLines), Error> {
        let request = types::ImageImportRequest {
            registry: types::Registry {
                url: self.url?,
                credentials: self.credentials,
            },
            tag: self.tag,
            timeout: self.timeout.map(seconds).transpose()?,
        };
        let client = self.client.clone();
        let start = async move {
            let answer = client.import_image().body(request).send().await?;
            Ok(answer.into_inner().uuid)
        };
        let target = |operation: &Uuid| CancelTarget::Operation(*operation);
        let (operation, guard) = cancel::start(&self.client, start, target).await?;
        let lines = ProgressLines {
            report: self.progress,
            line: Vec::new(),
        };
        Ok((operation, guard, self.client, lines))
    }

    async fn finish(self) -> Result<Image, Error> {
        let (operation, guard, client, mut lines) = self.start().await?;
        let watch = |event: &crate::events::Event| {
            if let Payload::Stdout(chunk) = &event.payload {
                lines.add(&chunk.bytes);
            }
        };
        let outcome = client.outcome(operation, watch).await?;
        guard.release();
        if outcome.status != OperationStatus::Success {
            let output = PartialOutput {
                stdout: captured(outcome.stdout),
                stderr: captured(outcome.stderr),
            };
            let code = outcome.error_code;
            return Err(failure(
                operation,
                outcome.status,
                outcome.error,
                code,
                output,
            ));
        }
        Keep::image(&client, operation, outcome.result_image)
    }
}

/// Splits the log of an import into lines.
struct ProgressLines {
    report: Option<Box<dyn FnMut(ImportProgress) + Send>>,
    /// The line that is not complete yet.
    line: Vec<u8>,
}

impl ProgressLines {
    fn add(&mut self, bytes: &[u8]) {
        /// Maximum number of bytes of a line. The rest of a longer one is dropped.
        const WIDTH: usize = 4096;
        let Some(report) = &mut self.report else {
            return;
        };
        for byte in bytes {
            match byte {
                b'\n' => report(ImportProgress {
                    line: String::from_utf8_lossy(&std::mem::take(&mut self.line)).into_owned(),
                }),
                byte if self.line.len() < WIDTH => self.line.push(*byte),
                _ => {}
            }
        }
    }
}

/// Waits for the end of the import, and returns the image.
impl IntoFuture for Import {
    type Output = Result<Image, Error>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.finish())
    }
}

impl fmt::Debug for Import {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The URL may have a password.
        f.debug_struct("Import")
            .field("tag", &self.tag)
            .finish_non_exhaustive()
    }
}
