//! Lists and reads resources.

use std::sync::{Arc, LazyLock};

use rmcp::RoleServer;
use rmcp::model::{
    CacheScope, ErrorData, ListResourceTemplatesResult, ListResourcesResult,
    PaginatedRequestParams, ReadResourceRequestParams, ReadResourceResult, Resource,
    ResourceContents, ResourceTemplate,
};
use rmcp::service::RequestContext;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::call_shutdown::CallShutdown;
use super::paging::{LIST_TTL_MS, PAGE_SIZE, page};
use crate::tools::{
    self, CacheLifetime, ContentBody, Context, GUIDES, Handlers, ResourceContent, Session,
    SilentWatcher,
};

/// Media type of the guides, which are the only listed resources.
const MARKDOWN: &str = "text/markdown";
/// Media type of contents that are not text.
const BINARY: &str = "application/octet-stream";

const DAY_MS: u64 = 24 * 3_600_000;
/// How long clients may cache a guide. It is valid for this server version, and clients cannot see
/// an upgrade.
const GUIDE_TTL_MS: u64 = 365 * DAY_MS;
/// How long clients may cache contents that cannot change but can be deleted.
const IMMUTABLE_TTL_MS: u64 = 30 * DAY_MS;

/// The resources without variables: the guides.
static LISTED: LazyLock<Vec<Resource>> = LazyLock::new(|| {
    let guides = GUIDES.iter().map(|guide| {
        Resource::new(guide.uri, guide.name)
            .with_title(guide.title)
            .with_description(guide.doc)
            .with_mime_type(MARKDOWN)
            .with_size(guide.text.len() as u64)
    });
    guides.collect()
});

/// The guides, and the resources whose tool is offered.
pub(super) struct Resources {
    session: Arc<Session>,
    shutdown: CallShutdown,
    /// Descriptions of the resource templates. They never change while the server runs.
    templates: Vec<ResourceTemplate>,
}

impl Resources {
    /// Creates the resources that `session` offers.
    pub(super) fn new(session: Arc<Session>, shutdown: CallShutdown) -> Self {
        let templates = session.selection().resources().map(|resource| {
            ResourceTemplate::new(resource.uri, resource.name)
                .with_title(resource.title)
                .with_description(resource.doc)
                .with_mime_type(resource.mime)
        });
        Self {
            templates: templates.collect(),
            session,
            shutdown,
        }
    }

    /// Returns one page of the resources without variables.
    pub(super) fn page(
        &self,
        request: Option<PaginatedRequestParams>,
    ) -> Result<ListResourcesResult, ErrorData> {
        let (resources, next) = page(&LISTED, request.as_ref(), PAGE_SIZE)?;
        let mut list = ListResourcesResult::with_all_items(resources).with_ttl_ms(LIST_TTL_MS);
        list.next_cursor = next;
        Ok(list)
    }

    /// Returns one page of the resource templates.
    pub(super) fn template_page(
        &self,
        request: Option<PaginatedRequestParams>,
    ) -> Result<ListResourceTemplatesResult, ErrorData> {
        let (templates, next) = page(&self.templates, request.as_ref(), PAGE_SIZE)?;
        let mut list =
            ListResourceTemplatesResult::with_all_items(templates).with_ttl_ms(LIST_TTL_MS);
        list.next_cursor = next;
        Ok(list)
    }

    /// Reads a resource.
    pub(super) async fn read(
        &self,
        request: ReadResourceRequestParams,
        context: &RequestContext<RoleServer>,
    ) -> Result<ReadResourceResult, ErrorData> {
        let _in_flight = self.shutdown.track_call();
        let uri = request.uri;
        let error_data = |error: tools::ToolError| {
            let data = Some(json!({"uri": uri, "code": error.code().name()}));
            let text = self.session.explain(error.clone()).to_string();
            if error.is_missing() {
                ErrorData::resource_not_found(text, data)
            } else if error.is_backend_fault() {
                ErrorData::internal_error(text, data)
            } else {
                ErrorData::invalid_params(text, data)
            }
        };
        let (resource, variables) =
            tools::find_resource(&uri).ok_or_else(|| error_data(tools::unknown_resource(&uri)))?;
        // Guides can be read whichever tools are offered.
        let listed = LISTED.iter().any(|known| known.uri == uri);
        if !listed && !self.session.selection().has(resource.tool) {
            return Err(error_data(
                self.session.selection().refusal(&format!("`{uri}`")),
            ));
        }
        let cancelled = CancellationToken::new();
        let tool_context = Context::new(
            self.session.clone(),
            Arc::new(SilentWatcher),
            cancelled.clone(),
        );
        let read = tools::read_resource(&Handlers, resource.name, variables, &tool_context);
        let mut read = std::pin::pin!(read);
        let read = tokio::select! {
            biased;
            read = &mut read => read,
            () = self.shutdown.abandoned(&context.ct) => {
                cancelled.cancel();
                read.await
            }
        };
        // A server that offers only some tools answers differently, so shared caches must not keep
        // its guides.
        let guide_scope = match self.session.selection().is_whole() {
            true => CacheScope::Public,
            false => CacheScope::Private,
        };
        Ok(contents(
            &uri,
            resource,
            read.map_err(error_data)?,
            guide_scope,
        ))
    }
}

fn contents(
    uri: &str,
    resource: &tools::Resource,
    content: ResourceContent,
    guide_scope: CacheScope,
) -> ReadResourceResult {
    let contents = match content.body {
        ContentBody::Text(text) => ResourceContents::text(text, uri).with_mime_type(resource.mime),
        ContentBody::Base64(blob) => ResourceContents::blob(blob, uri).with_mime_type(BINARY),
    };
    let (ttl_ms, scope) = match content.lifetime {
        CacheLifetime::ThisVersion => (GUIDE_TTL_MS, guide_scope),
        CacheLifetime::Immutable => (IMMUTABLE_TTL_MS, CacheScope::Private),
        CacheLifetime::None => (0, CacheScope::Private),
    };
    ReadResourceResult::new(vec![contents])
        .with_ttl_ms(ttl_ms)
        .with_cache_scope(scope)
}
