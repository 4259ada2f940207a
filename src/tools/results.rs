//! What tools answer: one struct a tool, which is both the structured content and its published schema.
//!
//! Left out are null, "", [], {} and false, except what every answer of a tool has. [`Render`] gives the text
//! rendering, which says the same, for clients that show only text.

use std::collections::BTreeMap;
use std::fmt::Write;

use schemars::JsonSchema;
use serde::Serialize;

use super::answer::Link;

/// The text rendering of an answer.
pub trait Render {
    /// All of the answer, for a reader who sees nothing else.
    fn text(&self) -> String;

    /// Resources of this server that the answer leads to, for clients that follow links.
    fn links(&self) -> Vec<Link> {
        Vec::new()
    }
}

fn no(value: &bool) -> bool {
    !value
}

/// An operation: a command that ran or runs, or an import.
#[derive(Clone, Debug, Default, PartialEq, Serialize, JsonSchema)]
#[non_exhaustive]
pub struct Operation {
    /// The operation
    #[serde(skip_serializing_if = "String::is_empty")]
    pub uuid: String,
    /// PENDING, ASSIGNED, EXECUTING, SUCCESS, FAILED or CANCELLED
    pub status: String,
    /// instance or image_import
    #[serde(skip_serializing_if = "String::is_empty")]
    pub kind: String,
    /// Why it failed
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// When it was started
    #[serde(skip_serializing_if = "String::is_empty")]
    pub created_at: String,
    /// Image and tag that it made
    #[serde(skip_serializing_if = "Option::is_none")]
    pub result: Option<OperationResult>,
    /// Seconds
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duration: Option<f64>,
    /// Bytes of the result image
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image_size: Option<i64>,
    /// Processor seconds
    #[serde(skip_serializing_if = "Option::is_none")]
    pub consumed_cpu: Option<f64>,
    /// Bytes
    #[serde(skip_serializing_if = "Option::is_none")]
    pub consumed_memory: Option<i64>,
    /// The image it ran on
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image_uuid: Option<String>,
    /// The image with its changes
    #[serde(skip_serializing_if = "Option::is_none")]
    pub result_image_uuid: Option<String>,
    /// The command's exit status, -1 if it was killed; absent while it runs
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i64>,
    /// The signal that ended it
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signal: Option<i64>,
    /// It was killed because its time was up
    #[serde(skip_serializing_if = "no")]
    pub timed_out: bool,
    /// Its standard output
    #[serde(skip_serializing_if = "String::is_empty")]
    pub stdout: String,
    /// Its standard error
    #[serde(skip_serializing_if = "String::is_empty")]
    pub stderr: String,
    /// A stream was cut
    #[serde(skip_serializing_if = "no")]
    pub truncated: bool,
    /// Bytes of the whole standard output, if cut
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stdout_bytes: Option<u64>,
    /// Bytes of the whole standard error, if cut
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stderr_bytes: Option<u64>,
    /// Bytes that are not UTF-8 were replaced
    #[serde(skip_serializing_if = "no")]
    pub lossy: bool,
    /// How to see the rest
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// What an import made.
#[derive(Clone, Debug, Default, PartialEq, Serialize, JsonSchema)]
#[non_exhaustive]
pub struct OperationResult {
    /// The image
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// Its tag
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tag: Option<String>,
}

impl Render for Operation {
    fn text(&self) -> String {
        let mut text = String::new();
        for (name, stream) in [("stdout", &self.stdout), ("stderr", &self.stderr)] {
            if !stream.is_empty() {
                let _ = write!(text, "{name}:\n{stream}");
                if !stream.ends_with('\n') {
                    text.push('\n');
                }
            }
        }
        text.push_str(&self.status);
        if let Some(code) = self.exit_code {
            let _ = write!(text, ", exit code {code}");
        }
        if let Some(signal) = self.signal {
            let _ = write!(text, ", killed by signal {signal}");
        }
        if self.timed_out {
            text.push_str(", timed out");
        }
        if let Some(duration) = self.duration {
            let _ = write!(text, ", {duration} s");
        }
        text.push('\n');
        let mut line = |name: &str, value: Option<&str>| {
            if let Some(value) = value.filter(|value| !value.is_empty()) {
                let _ = writeln!(text, "{name}: {value}");
            }
        };
        line("error", self.error.as_deref());
        line("result image", self.result_image_uuid.as_deref());
        let result = self.result.as_ref();
        line(
            "result image",
            result
                .filter(|_| self.result_image_uuid.is_none())
                .and_then(|made| made.image.as_deref()),
        );
        line("tag", result.and_then(|made| made.tag.as_deref()));
        line("image", self.image_uuid.as_deref());
        line("operation", Some(&self.uuid));
        if self.truncated {
            let whole = |name: &str, bytes: Option<u64>| {
                bytes.map(|bytes| format!("{name} has {bytes} bytes"))
            };
            let cut = [
                whole("stdout", self.stdout_bytes),
                whole("stderr", self.stderr_bytes),
            ];
            let cut: Vec<String> = cut.into_iter().flatten().collect();
            let _ = writeln!(
                text,
                "output cut: {}",
                if cut.is_empty() {
                    "its size is unknown".into()
                } else {
                    cut.join(", ")
                }
            );
        }
        if self.lossy {
            text.push_str("bytes that are not UTF-8 were replaced\n");
        }
        if let Some(next) = &self.next {
            let _ = writeln!(text, "next: {next}");
        }
        text
    }

    fn links(&self) -> Vec<Link> {
        let made = self.result_image_uuid.as_deref();
        made.filter(|made| self.image_uuid.as_deref() != Some(made))
            .map(Link::files_of)
            .into_iter()
            .collect()
    }
}

/// What `run` answers: the operation's end, or with `wait=false` its id alone.
#[derive(Clone, Debug, Default, PartialEq, Serialize, JsonSchema)]
#[non_exhaustive]
pub struct Run {
    /// The operation that was started (wait=false)
    #[serde(skip_serializing_if = "Option::is_none")]
    pub operation_id: Option<String>,
    /// How it ended.
    #[serde(flatten)]
    pub ended: Option<Operation>,
}

impl Run {
    /// The answer of an operation that is over.
    pub(super) fn over(operation: Operation) -> Self {
        Self {
            operation_id: None,
            ended: Some(operation),
        }
    }
}

impl Render for Run {
    fn text(&self) -> String {
        match (&self.operation_id, &self.ended) {
            (_, Some(ended)) => ended.text(),
            (Some(id), None) => {
                format!("started operation {id}\nnext: wait_operations(operation_ids=[\"{id}\"])\n")
            }
            (None, None) => String::new(),
        }
    }

    fn links(&self) -> Vec<Link> {
        self.ended.as_ref().map(Render::links).unwrap_or_default()
    }
}

/// What `import_image` answers: the operation's end, or with `wait=false` its id alone.
pub type ImportImage = Run;

/// What `get_operation` answers.
pub type GetOperation = Operation;

/// One line of `list_operations`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, JsonSchema)]
#[non_exhaustive]
pub struct OperationSummary {
    /// The operation
    pub uuid: String,
    /// instance or image_import
    #[serde(skip_serializing_if = "String::is_empty")]
    pub kind: String,
    /// How far it is
    pub status: String,
    /// Why it failed
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// When it was started
    #[serde(skip_serializing_if = "String::is_empty")]
    pub created_at: String,
    /// Seconds
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duration: Option<f64>,
    /// The image it ran on
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image_uuid: Option<String>,
    /// The image it made
    #[serde(skip_serializing_if = "Option::is_none")]
    pub result_image_uuid: Option<String>,
}

/// What `list_operations` answers.
#[derive(Clone, Debug, Default, PartialEq, Serialize, JsonSchema)]
#[non_exhaustive]
pub struct ListOperations {
    /// Newest first
    pub operations: Vec<OperationSummary>,
}

impl Render for ListOperations {
    fn text(&self) -> String {
        let mut text = format!("{}\n", counted(self.operations.len(), "operation"));
        for operation in &self.operations {
            let _ = write!(
                text,
                "{} {} {} {}",
                operation.uuid, operation.status, operation.kind, operation.created_at
            );
            if let Some(duration) = operation.duration {
                let _ = write!(text, ", {duration} s");
            }
            if let Some(image) = &operation.image_uuid {
                let _ = write!(text, ", image {image}");
            }
            if let Some(image) = &operation.result_image_uuid {
                let _ = write!(text, ", result {image}");
            }
            if let Some(error) = &operation.error {
                let _ = write!(text, ", error: {error}");
            }
            text.push('\n');
        }
        text
    }
}

/// What `wait_operations` answers.
#[derive(Clone, Debug, Default, PartialEq, Serialize, JsonSchema)]
#[non_exhaustive]
pub struct WaitOperations {
    /// The operations that ended, by id
    pub results: BTreeMap<String, Operation>,
    /// The ids that ended by themselves
    pub completed: Vec<String>,
    /// The ids that mode any cancelled
    pub cancelled: Vec<String>,
    /// Ids that could not be followed, with the reason
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub errors: BTreeMap<String, String>,
    /// Ids that were still running when the time was over
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub pending: Vec<String>,
    /// The time was over before all had ended
    #[serde(skip_serializing_if = "no")]
    pub timed_out: bool,
    /// How to wait on
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

impl Render for WaitOperations {
    fn text(&self) -> String {
        let mut text = format!("{} completed", self.completed.len());
        for (count, what) in [
            (self.cancelled.len(), "cancelled"),
            (self.errors.len(), "with errors"),
            (self.pending.len(), "pending"),
        ] {
            if count > 0 {
                let _ = write!(text, ", {count} {what}");
            }
        }
        if self.timed_out {
            text.push_str("; the time was over");
        }
        text.push('\n');
        for (id, operation) in &self.results {
            let _ = write!(text, "\n{id}\n{}", operation.text());
        }
        for (id, error) in &self.errors {
            let _ = write!(text, "\n{id}\nerror: {error}\n");
        }
        if !self.pending.is_empty() {
            let _ = write!(text, "\npending: {}\n", self.pending.join(", "));
        }
        if let Some(next) = &self.next {
            let _ = writeln!(text, "next: {next}");
        }
        text
    }
}

/// What `cancel_operation` answers.
#[derive(Clone, Debug, Default, PartialEq, Serialize, JsonSchema)]
#[non_exhaustive]
pub struct CancelOperation {
    /// false: it was over already
    pub cancelled: bool,
    /// The operation
    pub operation_id: String,
}

impl Render for CancelOperation {
    fn text(&self) -> String {
        let Self {
            cancelled,
            operation_id,
        } = self;
        if *cancelled {
            format!("cancelled operation {operation_id}\n")
        } else {
            format!("operation {operation_id} was over already\n")
        }
    }
}

/// An image.
#[derive(Clone, Debug, Default, PartialEq, Serialize, JsonSchema)]
#[non_exhaustive]
pub struct Image {
    /// The image
    pub uuid: String,
    /// Its tag
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tag: Option<String>,
    /// When it was made
    #[serde(skip_serializing_if = "String::is_empty")]
    pub created_at: String,
    /// The operation that made it
    #[serde(skip_serializing_if = "Option::is_none")]
    pub operation_uuid: Option<String>,
}

impl Render for Image {
    fn text(&self) -> String {
        let mut text = format!("image {}", self.uuid);
        for (name, value) in [
            ("tag", &self.tag),
            ("made by operation", &self.operation_uuid),
        ] {
            if let Some(value) = value {
                let _ = write!(text, ", {name} {value}");
            }
        }
        if !self.created_at.is_empty() {
            let _ = write!(text, ", {}", self.created_at);
        }
        text.push('\n');
        text
    }
}

/// What `get_image` answers.
pub type GetImage = Image;
/// What `set_tag` answers.
pub type SetTag = Image;

/// What `list_images` answers.
#[derive(Clone, Debug, Default, PartialEq, Serialize, JsonSchema)]
#[non_exhaustive]
pub struct ListImages {
    /// Newest first
    pub images: Vec<Image>,
    /// The call for more
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

impl Render for ListImages {
    fn text(&self) -> String {
        let mut text = format!("{}\n", counted(self.images.len(), "image"));
        for image in &self.images {
            text.push_str(&image.text());
        }
        if let Some(next) = &self.next {
            let _ = writeln!(text, "next: {next}");
        }
        text
    }
}

/// Where an image comes from.
#[derive(Clone, Debug, Default, PartialEq, Serialize, JsonSchema)]
#[non_exhaustive]
pub struct Lineage {
    /// The image
    pub image: String,
    /// The image it was made from
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parent: Option<String>,
    /// The images made directly from it
    pub children: Vec<String>,
    /// Its parent, the parent of that, and so on
    pub ancestors: Vec<String>,
    /// The last of them, or the image itself
    pub root: String,
    /// How many ancestors there are
    pub depth: u64,
    /// Whether the operation that made it is known
    pub is_known: bool,
    /// How it was made
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data: Option<LineageData>,
}

/// How an image was made.
#[derive(Clone, Debug, Default, PartialEq, Serialize, JsonSchema)]
#[non_exhaustive]
pub struct LineageData {
    /// The operation
    #[serde(skip_serializing_if = "Option::is_none")]
    pub operation_uuid: Option<String>,
    /// instance or image_import
    #[serde(skip_serializing_if = "String::is_empty")]
    pub kind: String,
    /// The command, or the reference that was imported
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// When
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created_at: Option<String>,
}

impl Render for Lineage {
    fn text(&self) -> String {
        let mut text = format!(
            "image {}, {} from its root {}\n",
            self.image,
            counted_depth(self.depth),
            self.root
        );
        if let Some(data) = &self.data {
            let _ = write!(text, "made by {}", data.kind);
            if let Some(source) = &data.source {
                let _ = write!(text, ": {source}");
            }
            text.push('\n');
        }
        for ancestor in &self.ancestors {
            let _ = writeln!(text, "ancestor {ancestor}");
        }
        for child in &self.children {
            let _ = writeln!(text, "child {child}");
        }
        text
    }
}

fn counted_depth(depth: u64) -> String {
    counted(usize::try_from(depth).unwrap_or(usize::MAX), "generation")
}

/// What `upload` answers.
#[derive(Clone, Debug, Default, PartialEq, Serialize, JsonSchema)]
#[non_exhaustive]
pub struct Upload {
    /// The stored file, for `files` of `run`
    pub uuid: String,
    /// SHA-256 of the content
    pub sha256: String,
    /// Bytes
    pub size: u64,
}

impl Render for Upload {
    fn text(&self) -> String {
        format!(
            "file {}, {} bytes, sha256 {}\n",
            self.uuid, self.size, self.sha256
        )
    }
}

/// Something that was not sent.
#[derive(Clone, Debug, Default, PartialEq, Serialize, JsonSchema)]
#[non_exhaustive]
pub struct SkippedPath {
    /// Below the source
    pub path: String,
    /// Why
    pub reason: String,
}

/// What `rsync` answers.
#[derive(Clone, Debug, Default, PartialEq, Serialize, JsonSchema)]
#[non_exhaustive]
pub struct Rsync {
    /// For `run`
    pub directory_state_id: i64,
    /// Files in the state
    pub files: u64,
    /// Their bytes
    pub bytes: u64,
    /// Contents that had to be sent
    pub uploaded: u64,
    /// What could not be sent; the first of them
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub skipped: Vec<SkippedPath>,
    /// All that could not be sent, by reason
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub skipped_counts: BTreeMap<String, u64>,
}

impl Render for Rsync {
    fn text(&self) -> String {
        let mut text = format!(
            "directory state {}: {} files, {} bytes, {} uploaded\n",
            self.directory_state_id, self.files, self.bytes, self.uploaded
        );
        for (reason, count) in &self.skipped_counts {
            let _ = writeln!(text, "skipped ({reason}): {count}");
        }
        for skipped in &self.skipped {
            let _ = writeln!(text, "  {} ({})", skipped.path, skipped.reason);
        }
        let _ = writeln!(
            text,
            "next: run(image=…, command=…, directory_state_id={})",
            self.directory_state_id
        );
        text
    }
}

/// A line that matched.
#[derive(Clone, Debug, Default, PartialEq, Serialize, JsonSchema)]
#[non_exhaustive]
pub struct GrepMatch {
    /// The file
    pub path: String,
    /// From 1
    pub line_number: u64,
    /// The line, cut if it is long
    pub line_text: String,
}

/// What `grep` answers.
#[derive(Clone, Debug, Default, PartialEq, Serialize, JsonSchema)]
#[non_exhaustive]
pub struct Grep {
    /// Where it searched
    pub path: String,
    /// What for
    pub patterns: Vec<String>,
    /// There are more
    pub truncated: bool,
    /// By file and line
    pub matches: Vec<GrepMatch>,
    /// How to see the rest
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

impl Render for Grep {
    fn text(&self) -> String {
        let count = self.matches.len();
        let mut text = format!("{count} {}\n", if count == 1 { "match" } else { "matches" });
        for found in &self.matches {
            let _ = writeln!(
                text,
                "{}:{}:{}",
                found.path, found.line_number, found.line_text
            );
        }
        if let Some(next) = &self.next {
            let _ = writeln!(text, "next: {next}");
        }
        text
    }
}

/// What `registry_token_obtain` answers.
#[derive(Clone, Debug, Default, PartialEq, Serialize, JsonSchema)]
#[non_exhaustive]
pub struct RegistryTokenObtain {
    /// success; a failure is an error
    pub status: String,
    /// The registry
    pub registry: String,
    /// The page for tokens
    pub url: String,
    /// What was done
    pub message: String,
    /// What to do now
    pub agent_instruction: String,
}

impl Render for RegistryTokenObtain {
    fn text(&self) -> String {
        format!(
            "{}\n{}\nnext: {}\n",
            self.message, self.url, self.agent_instruction
        )
    }
}

/// What `registry_auth` answers.
#[derive(Clone, Debug, Default, PartialEq, Serialize, JsonSchema)]
#[non_exhaustive]
pub struct RegistryAuth {
    /// success; a failure is an error
    pub status: String,
    /// The registry
    pub registry: String,
    /// What was done
    pub message: String,
}

impl Render for RegistryAuth {
    fn text(&self) -> String {
        format!("{}\n", self.message)
    }
}

/// Where a download comes from.
#[derive(Clone, Debug, Default, PartialEq, Serialize, JsonSchema)]
#[non_exhaustive]
pub struct DownloadSource {
    /// The image
    pub image: String,
    /// The file in it
    pub path: String,
}

/// What `download` answers.
#[derive(Clone, Debug, Default, PartialEq, Serialize, JsonSchema)]
#[non_exhaustive]
pub struct Download {
    /// Always true: a failure is an error
    pub success: bool,
    /// Where it comes from
    pub source: DownloadSource,
    /// Where it was saved
    pub destination: String,
    /// Bytes
    pub size: u64,
    /// Whether it was made executable
    pub executable: bool,
}

impl Render for Download {
    fn text(&self) -> String {
        let how = if self.executable { ", executable" } else { "" };
        format!(
            "saved {} of image {} as {}: {} bytes{how}\n",
            self.source.path, self.source.image, self.destination, self.size
        )
    }
}

/// One entry of a directory.
#[derive(Clone, Debug, Default, PartialEq, Serialize, JsonSchema)]
#[non_exhaustive]
pub struct FileEntry {
    /// Its name
    pub name: String,
    /// Its whole path
    pub path: String,
    /// file, directory, symlink or other
    #[serde(rename = "type")]
    pub kind: String,
    /// Bytes
    pub size: u64,
    /// Permissions, octal
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode: Option<String>,
    /// Where a symbolic link leads
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
}

/// What `list_files` answers.
#[derive(Clone, Debug, Default, PartialEq, Serialize, JsonSchema)]
#[non_exhaustive]
pub struct ListFiles {
    /// The directory
    pub path: String,
    /// Entries in all
    pub count: u64,
    /// The entries asked for, by name
    pub files: Vec<FileEntry>,
    /// The call for the rest
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

impl Render for ListFiles {
    fn text(&self) -> String {
        let mut text = format!(
            "{}: {}\n",
            self.path,
            if self.count == 1 {
                "1 entry".into()
            } else {
                format!("{} entries", self.count)
            }
        );
        for file in &self.files {
            let _ = write!(
                text,
                "{} {} {:>9} {}",
                file.kind,
                file.mode.as_deref().unwrap_or("----"),
                file.size,
                file.name
            );
            if let Some(target) = &file.target {
                let _ = write!(text, " -> {target}");
            }
            text.push('\n');
        }
        if let Some(next) = &self.next {
            let _ = writeln!(text, "next: {next}");
        }
        text
    }
}

/// What `read_file` answers.
#[derive(Clone, Debug, Default, PartialEq, Serialize, JsonSchema)]
#[non_exhaustive]
pub struct ReadFile {
    /// The file
    pub path: String,
    /// The bytes asked for
    pub content: String,
    /// utf-8 or base64
    pub encoding: String,
    /// Bytes of the whole file
    pub bytes_size: u64,
    /// Where the content begins
    #[serde(skip_serializing_if = "Option::is_none")]
    pub offset: Option<u64>,
    /// The call for the rest
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

impl Render for ReadFile {
    fn text(&self) -> String {
        if self.encoding == "utf-8" && self.offset.is_none() && self.next.is_none() {
            return self.content.clone();
        }
        let mut text = format!("{}: {} bytes", self.path, self.bytes_size);
        if let Some(offset) = self.offset {
            let _ = write!(text, ", from byte {offset}");
        }
        let _ = writeln!(text, ", {}\n\n{}", self.encoding, self.content);
        if let Some(next) = &self.next {
            let _ = writeln!(text, "next: {next}");
        }
        text
    }
}

/// What `whoami` answers.
#[derive(Clone, Debug, Default, PartialEq, Serialize, JsonSchema)]
#[non_exhaustive]
pub struct Whoami {
    /// The token, or the local store
    pub token_uuid: String,
    /// Unix seconds; absent if it does not expire
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token_expiration: Option<i64>,
    /// What is allowed
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub permissions: BTreeMap<String, bool>,
    /// How much is allowed
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub limits: BTreeMap<String, i64>,
    /// Operations by status
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub operations_stat: BTreeMap<String, i64>,
    /// Version of this server
    pub mcp_version: String,
    /// cloud or local
    pub backend: String,
    /// Where it is
    pub backend_url: String,
    /// Why this one
    pub backend_reason: String,
    /// What to know about it
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

impl Render for Whoami {
    fn text(&self) -> String {
        let mut text = format!(
            "backend {} at {} ({})\n",
            self.backend, self.backend_url, self.backend_reason
        );
        let _ = writeln!(
            text,
            "identity {}, contree-mcp {}",
            self.token_uuid, self.mcp_version
        );
        if let Some(expiration) = self.token_expiration {
            let _ = writeln!(text, "token expires at {expiration} (Unix time)");
        }
        let allowed = |allowed: bool| {
            let names = self
                .permissions
                .iter()
                .filter(|(_, value)| **value == allowed)
                .map(|(name, _)| name.as_str());
            names.collect::<Vec<_>>().join(", ")
        };
        let pairs = |map: &BTreeMap<String, i64>| {
            map.iter()
                .map(|(name, value)| format!("{name} {value}"))
                .collect::<Vec<_>>()
                .join(", ")
        };
        for (name, list) in [
            ("allowed", allowed(true)),
            ("not allowed", allowed(false)),
            ("limits", pairs(&self.limits)),
            ("operations", pairs(&self.operations_stat)),
            ("notes", self.notes.join("; ")),
        ] {
            if !list.is_empty() {
                let _ = writeln!(text, "{name}: {list}");
            }
        }
        text
    }
}

fn counted(count: usize, what: &str) -> String {
    if count == 1 {
        format!("1 {what}")
    } else {
        format!("{count} {what}s")
    }
}

/// What `get_guide` answers.
#[derive(Clone, Debug, Default, PartialEq, Serialize, JsonSchema)]
#[non_exhaustive]
pub struct GetGuide {
    /// The guide
    pub section: String,
    /// Its text, in Markdown
    pub content: String,
    /// All guides
    pub available_sections: Vec<String>,
}

impl Render for GetGuide {
    fn text(&self) -> String {
        format!(
            "{}\n\nOther guides: {}\n",
            self.content.trim_end(),
            self.available_sections.join(", ")
        )
    }
}

/// An answer of the API as it is, for tools that need no type of their own.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(transparent)]
pub struct Plain(serde_json::Map<String, serde_json::Value>);

impl Plain {
    /// The answer of an operation; one that is no object becomes the field `result` of one.
    #[allow(
        dead_code,
        reason = "generated handlers of tools with `answer: plain` call it"
    )]
    pub(super) fn of(answer: impl Serialize) -> Result<Self, super::ToolError> {
        let value = serde_json::to_value(answer)
            .map_err(|error| super::ToolError::new(format!("the answer is no JSON: {error}")))?;
        Ok(Self(match value {
            serde_json::Value::Object(fields) => fields,
            other => std::iter::once(("result".to_owned(), other)).collect(),
        }))
    }
}

impl JsonSchema for Plain {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Plain".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({"type": "object", "additionalProperties": true})
    }
}

impl Render for Plain {
    fn text(&self) -> String {
        let value = serde_json::Value::Object(self.0.clone());
        format!("{value:#}\n")
    }
}
