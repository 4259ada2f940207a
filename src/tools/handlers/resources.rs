//! Handlers of the resources, which return the same as the tools.

use uuid::Uuid;

use crate::tools::catalogue::find_guide;
use crate::tools::lineage::lineage;
use crate::tools::results::ToolResult;
use crate::tools::{
    CacheLifetime, ContentBody, Context, FilesTools, Handlers, OperationsTools, ResourceContent,
    ResourceHandlers, ToolError, params, uris, visible, visible_json,
};
use crate::{ImageRef, OperationKind, OperationStatus};

/// Maximum number of bytes of a resource, and of entries of a listing. The tools have the same
/// limits.
const MAX_BYTES: u64 = 1024 * 1024;
const MAX_ENTRIES: u64 = 10_000;

impl ResourceHandlers for Handlers {
    async fn read_file(
        &self,
        uri: uris::ReadFile,
        cx: &Context,
    ) -> Result<ResourceContent, ToolError> {
        let arguments = params::ReadFile {
            image: uri.image.clone(),
            path: absolute(&uri.path),
            offset: 0,
            limit: MAX_BYTES,
        };
        let read = FilesTools::read_file(self, arguments, cx).await?;
        if read.next.is_some() {
            return Err(ToolError::invalid(format!(
                "`{}` has {} bytes, but a resource can have at most {MAX_BYTES}",
                read.path, read.bytes_size
            ))
            .with_hint(format!(
                "Call `read_file(image={:?}, path={:?})` to read it in parts, or `download` to save it.",
                uri.image, read.path
            )));
        }
        let body = match read.encoding.as_str() {
            "base64" => ContentBody::Base64(read.content),
            _ => ContentBody::Text(read.content),
        };
        Ok(ResourceContent {
            body,
            lifetime: lifetime(&uri.image),
        })
    }

    async fn image_ls(
        &self,
        uri: uris::ImageLs,
        cx: &Context,
    ) -> Result<ResourceContent, ToolError> {
        let arguments = params::ListFiles {
            image: uri.image.clone(),
            path: absolute(&uri.path),
            offset: 0,
            limit: MAX_ENTRIES,
        };
        let list = FilesTools::list_files(self, arguments, cx).await?;
        let text = visible(&list.text()).into_owned();
        Ok(ResourceContent::text(text, lifetime(&uri.image)))
    }

    async fn image_lineage(
        &self,
        uri: uris::ImageLineage,
        cx: &Context,
    ) -> Result<ResourceContent, ToolError> {
        let lineage = lineage(cx, &uri.image).await?;
        let lineage = serde_json::to_value(&lineage)
            .map_err(|error| ToolError::internal("cannot serialise the lineage", error))?;
        let text = format!("{lineage:#}");
        let text = visible_json(&text).into_owned();
        // An image may get a new child at any time.
        Ok(ResourceContent::text(text, CacheLifetime::None))
    }

    async fn instance_operation(
        &self,
        uri: uris::InstanceOperation,
        cx: &Context,
    ) -> Result<ResourceContent, ToolError> {
        self.operation(&uri.operation_id, OperationKind::Instance, cx)
            .await
    }

    async fn import_operation(
        &self,
        uri: uris::ImportOperation,
        cx: &Context,
    ) -> Result<ResourceContent, ToolError> {
        self.operation(&uri.operation_id, OperationKind::ImageImport, cx)
            .await
    }

    async fn guide(&self, uri: uris::Guide, cx: &Context) -> Result<ResourceContent, ToolError> {
        let text = cx.session().selection().guide(find_guide(&uri.section)?);
        Ok(ResourceContent::text(text, CacheLifetime::ThisVersion))
    }
}

impl Handlers {
    async fn operation(
        &self,
        id: &str,
        kind: OperationKind,
        cx: &Context,
    ) -> Result<ResourceContent, ToolError> {
        let operation_id: Uuid = id
            .trim()
            .parse()
            .map_err(|_| ToolError::not_found(format!("`{id}` is not the UUID of an operation")))?;
        let arguments = params::GetOperation {
            operation_id,
            truncate_output_at: None,
            tail: None,
            offset: None,
        };
        let operation = OperationsTools::get_operation(self, arguments, cx).await?;
        if !operation.kind.is_empty() && operation.kind != kind.to_string() {
            return Err(ToolError::not_found(format!(
                "operation {operation_id} is of kind {}, not {kind}",
                operation.kind
            )));
        }
        let over = OperationStatus::from(operation.status.as_str()).is_terminal();
        let operation = serde_json::to_value(&operation)
            .map_err(|error| ToolError::internal("cannot serialise the operation", error))?;
        let text = format!("{operation:#}");
        Ok(ResourceContent::text(
            visible_json(&text).into_owned(),
            if over {
                CacheLifetime::Immutable
            } else {
                CacheLifetime::None
            },
        ))
    }
}

/// Converts the path in a URI, which has no leading slash, to an absolute path.
fn absolute(path: &str) -> String {
    let path = path.trim_start_matches('/');
    let path = path.strip_prefix("./").unwrap_or(path);
    match path {
        "" | "." => "/".to_owned(),
        path => format!("/{path}"),
    }
}

/// Returns how long content of an image may be cached: by UUID it never changes, but a tag can
/// move.
fn lifetime(image: &str) -> CacheLifetime {
    match image.parse() {
        Ok(ImageRef::Uuid(_)) => CacheLifetime::Immutable,
        _ => CacheLifetime::None,
    }
}
