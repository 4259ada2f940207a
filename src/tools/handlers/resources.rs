//! What can be read as a resource: the same as with the tools, under a URI.

use uuid::Uuid;

use crate::tools::catalogue::find_guide;
use crate::tools::lineage::lineage;
use crate::tools::results::Render;
use crate::tools::{
    Body, Content, Context, FilesTools, Handlers, Kept, OperationsTools, ResourceHandlers,
    ToolError, params, uris,
};
use crate::{ImageRef, OperationKind, OperationStatus};

/// The most bytes that a resource holds, and entries that it lists: as much as the tools give at once.
const MOST_BYTES: u64 = 1024 * 1024;
const MOST_ENTRIES: u64 = 10_000;

impl ResourceHandlers for Handlers {
    async fn read_file(&self, uri: uris::ReadFile, cx: &Context) -> Result<Content, ToolError> {
        let arguments = params::ReadFile {
            image: uri.image.clone(),
            path: absolute(&uri.path),
            offset: 0,
            limit: MOST_BYTES,
        };
        let read = FilesTools::read_file(self, arguments, cx).await?;
        if read.next.is_some() {
            return Err(ToolError::invalid(format!(
                "`{}` has {} bytes, and a resource holds at most {MOST_BYTES}",
                read.path, read.bytes_size
            ))
            .with_hint(format!(
                "`read_file(image={:?}, path={:?})` reads it in parts, `download` saves it whole",
                uri.image, read.path
            )));
        }
        let body = match read.encoding.as_str() {
            "base64" => Body::Base64(read.content),
            _ => Body::Text(read.content),
        };
        Ok(Content {
            body,
            kept: kept(&uri.image),
        })
    }

    async fn image_ls(&self, uri: uris::ImageLs, cx: &Context) -> Result<Content, ToolError> {
        let arguments = params::ListFiles {
            image: uri.image.clone(),
            path: absolute(&uri.path),
            offset: 0,
            limit: MOST_ENTRIES,
        };
        let list = FilesTools::list_files(self, arguments, cx).await?;
        Ok(Content::text(list.text(), kept(&uri.image)))
    }

    async fn image_lineage(
        &self,
        uri: uris::ImageLineage,
        cx: &Context,
    ) -> Result<Content, ToolError> {
        let lineage = lineage(cx, &uri.image).await?;
        let text = serde_json::to_string_pretty(&lineage)
            .map_err(|error| ToolError::internal("the lineage is no JSON", error))?;
        // An image may have another child at once.
        Ok(Content::text(text, Kept::No))
    }

    async fn instance_operation(
        &self,
        uri: uris::InstanceOperation,
        cx: &Context,
    ) -> Result<Content, ToolError> {
        self.operation(&uri.operation_id, OperationKind::Instance, cx)
            .await
    }

    async fn import_operation(
        &self,
        uri: uris::ImportOperation,
        cx: &Context,
    ) -> Result<Content, ToolError> {
        self.operation(&uri.operation_id, OperationKind::ImageImport, cx)
            .await
    }

    async fn guide(&self, uri: uris::Guide, cx: &Context) -> Result<Content, ToolError> {
        let text = cx.session().selection().guide(find_guide(&uri.section)?);
        Ok(Content::text(text, Kept::Forever))
    }
}

impl Handlers {
    async fn operation(
        &self,
        id: &str,
        kind: OperationKind,
        cx: &Context,
    ) -> Result<Content, ToolError> {
        let operation_id: Uuid = id
            .trim()
            .parse()
            .map_err(|_| ToolError::not_found(format!("`{id}` is not the UUID of an operation")))?;
        let arguments = params::GetOperation { operation_id };
        let operation = OperationsTools::get_operation(self, arguments, cx).await?;
        if !operation.kind.is_empty() && operation.kind != kind.to_string() {
            return Err(ToolError::not_found(format!(
                "operation {operation_id} is of the kind {}",
                operation.kind
            )));
        }
        let over = OperationStatus::from(operation.status.as_str()).is_terminal();
        let text = serde_json::to_string_pretty(&operation)
            .map_err(|error| ToolError::internal("the operation is no JSON", error))?;
        Ok(Content::text(
            text,
            if over { Kept::Long } else { Kept::No },
        ))
    }
}

/// A path of a URI, which has no slash at its beginning, as tools take it.
fn absolute(path: &str) -> String {
    let path = path.trim_start_matches('/');
    let path = path.strip_prefix("./").unwrap_or(path);
    match path {
        "" | "." => "/".to_owned(),
        path => format!("/{path}"),
    }
}

/// What is read by UUID stays true; a tag may point elsewhere at once.
fn kept(image: &str) -> Kept {
    match image.parse() {
        Ok(ImageRef::Uuid(_)) => Kept::Long,
        _ => Kept::No,
    }
}
