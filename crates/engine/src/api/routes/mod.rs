//! The routes of the API, in one file for each group of the API document.

mod account;
mod extensions;
mod files;
mod follow;
mod forward;
mod images;
mod import;
mod inspect;
mod instances;
mod live_runs;
mod operations;
mod subprocesses;

use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::{Method, Uri};
use axum::routing::{delete, get, patch, post};
use contree_error_codes::ErrorCode;

use crate::engine::Engine;
use crate::error::ApiError;
use crate::limits;

/// All paths below `/v1`.
pub(crate) fn router(engine: Arc<Engine>) -> Router {
    let v1 = Router::new()
        .route("/whoami", get(account::whoami))
        .route("/images", get(images::list))
        .route("/images/import", post(import::import))
        .route(
            "/images/{image}/tag",
            patch(images::set_tag).delete(images::remove_tag),
        )
        .route("/files", get(files::list).post(files::upload))
        .route("/files/{sha256}", get(files::get))
        .route("/instances", post(instances::spawn))
        .route("/operations", get(operations::list))
        .route(
            "/operations/{operation}",
            get(operations::get).delete(operations::cancel),
        )
        .route("/operations/{operation}/events", get(follow::events))
        .route(
            "/operations/{operation}/subprocesses",
            post(subprocesses::create),
        )
        .route(
            "/operations/{operation}/subprocesses/{spid}",
            get(subprocesses::get).delete(subprocesses::kill),
        )
        .route(
            "/operations/{operation}/subprocesses/{spid}/stdin",
            post(subprocesses::stdin),
        )
        .route("/inspect", get(inspect::redirect))
        .route("/inspect/", get(inspect::find))
        .route("/inspect/{image}", get(inspect::redirect_image))
        .route("/inspect/{image}/", get(inspect::image))
        .route("/inspect/{image}/list", get(inspect::list))
        .route(
            "/inspect/{image}/download",
            get(inspect::download).head(inspect::check_file),
        )
        .route(
            "/inspect/{image}/archive",
            get(inspect::archive).head(inspect::check_archive),
        )
        .route("/inspect/{image}/grep", get(inspect::grep))
        .route("/x/images/{image}", delete(extensions::delete))
        .route("/x/images/{image}/log", get(extensions::log))
        .route("/x/images/{image}/diff", get(extensions::diff))
        .route("/x/images/{image}/push", post(extensions::push))
        .route(
            "/x/operations/{operation}/snapshot",
            post(extensions::snapshot),
        )
        .route(
            "/x/operations/{operation}/processes/{spid}/output",
            get(extensions::output),
        )
        .route(
            "/x/operations/{operation}/ports",
            get(extensions::list_ports).post(extensions::publish_port),
        )
        .route(
            "/x/operations/{operation}/subprocesses/{spid}/terminal",
            get(extensions::terminal_output).patch(extensions::resize_terminal),
        );
    Router::new()
        .nest("/v1", v1)
        .fallback(unknown_path)
        .method_not_allowed_fallback(method_not_allowed)
        .layer(DefaultBodyLimit::max(limits::MAX_BODY_BYTES))
        .with_state(engine)
}

async fn unknown_path(uri: Uri) -> ApiError {
    ApiError::missing(
        ErrorCode::UnknownRoute,
        format!(
            "the API has no path {}; all paths begin with /v1",
            uri.path()
        ),
    )
}

async fn method_not_allowed(method: Method, uri: Uri) -> ApiError {
    let message = format!("{} does not support {method}", uri.path());
    ApiError::new(
        axum::http::StatusCode::METHOD_NOT_ALLOWED,
        ErrorCode::UnknownRoute,
        message,
    )
}
