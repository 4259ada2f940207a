//! The route for searching the files of an image.

use std::borrow::Cow;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::Json as Answer;
use axum::extract::State;
use axum::http::Uri;
use contree_error_codes::ErrorCode;
use contree_sandbox::{ViewError, Walk};
use url::form_urlencoded;
use uuid::Uuid;

use super::{Path, image_path, own_view, view_error};
use crate::api::types::{GrepResult, InspectImageGrepQuery, InspectImageGrepQueryCase};
use crate::blocking::blocking;
use crate::engine::Engine;
use crate::error::ApiError;
use crate::image::search::{Search, SearchResult, TIME_LIMIT};

/// Maximum number of patterns of a request.
const MAX_PATTERNS: usize = 16;
/// Maximum number of paths of a request.
const MAX_PATHS: usize = 16;
/// Maximum number of globs of a request.
const MAX_GLOBS: usize = 64;
/// The longest pattern or glob, in characters.
const MAX_CHARACTERS: usize = 1024;
/// The largest `max_count` and `max_total`.
const MAX_MATCHES: u64 = 10_000;
/// The largest `before` and `after`.
const MAX_CONTEXT: u64 = 50;

/// The parsed parameters of a search.
struct SearchRequest {
    query: InspectImageGrepQuery,
    paths: Vec<PathBuf>,
}

impl SearchRequest {
    fn parse(text: &str) -> Result<Self, ApiError> {
        let mut paths = Vec::new();
        let mut query = InspectImageGrepQuery {
            pattern: Vec::new(),
            path: Vec::new(),
            glob: Vec::new(),
            max_count: None,
            max_total: InspectImageGrepQuery::default_max_total(),
            case: InspectImageGrepQuery::default_case(),
            before: 0,
            after: 0,
        };
        for (name, value) in form_urlencoded::parse(text.as_bytes()) {
            match &*name {
                "pattern" => push(&mut query.pattern, "pattern", value, MAX_PATTERNS)?,
                "glob" => push(&mut query.glob, "glob", value, MAX_GLOBS)?,
                "path" if paths.len() == MAX_PATHS => {
                    return Err(too_many("path", MAX_PATHS));
                }
                "path" => {
                    paths.push(image_path(&value)?);
                    query.path.push(value.into_owned());
                }
                "max_count" => {
                    query.max_count = Some(number("max_count", &value, 1, MAX_MATCHES)?);
                }
                "max_total" => query.max_total = number("max_total", &value, 1, MAX_MATCHES)?,
                "before" => query.before = number("before", &value, 0, MAX_CONTEXT)?,
                "after" => query.after = number("after", &value, 0, MAX_CONTEXT)?,
                "case" => {
                    query.case = value.parse::<InspectImageGrepQueryCase>().map_err(|()| {
                        ApiError::bad(format!(
                            "`case` must be sensitive, insensitive or smart, not `{value}`"
                        ))
                    })?;
                }
                _ => {}
            }
        }
        if query.pattern.is_empty() {
            return Err(ApiError::bad(
                "`pattern` is missing: give a regular expression",
            ));
        }
        if paths.is_empty() {
            paths.push(PathBuf::from("/"));
        }
        Ok(Self { query, paths })
    }
}

fn push(
    list: &mut Vec<String>,
    name: &str,
    value: Cow<'_, str>,
    max: usize,
) -> Result<(), ApiError> {
    if list.len() == max {
        return Err(too_many(name, max));
    }
    let length = value.chars().count();
    if length > MAX_CHARACTERS {
        return Err(ApiError::bad(format!(
            "`{name}` can have at most {MAX_CHARACTERS} characters, not {length}"
        )));
    }
    list.push(value.into_owned());
    Ok(())
}

fn too_many(name: &str, max: usize) -> ApiError {
    ApiError::bad(format!("`{name}` can be given at most {max} times"))
}

fn number(name: &str, value: &str, min: u64, max: u64) -> Result<u64, ApiError> {
    value
        .parse()
        .ok()
        .filter(|number| (min..=max).contains(number))
        .ok_or_else(|| {
            ApiError::bad(format!(
                "`{name}` must be a whole number from {min} to {max}, not `{value}`"
            ))
        })
}

/// A flag that stops the search when its request is dropped.
struct StopOnDrop(Arc<AtomicBool>);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// `GET /inspect/{image_uuid}/grep`.
pub(in crate::api::routes) async fn grep(
    State(engine): State<Arc<Engine>>,
    Path(uuid): Path<Uuid>,
    uri: Uri,
) -> Result<Answer<GrepResult>, ApiError> {
    let SearchRequest { query, paths } = SearchRequest::parse(uri.query().unwrap_or_default())?;
    let stop_on_drop = StopOnDrop(Arc::default());
    let stop = Arc::clone(&stop_on_drop.0);
    let patterns = query.pattern.clone();
    let first_path = paths[0].to_string_lossy().into_owned();
    // Before the image is looked up, so an invalid pattern is reported even if the image is
    // missing. Compiling patterns can take a while.
    let search = blocking(move || Search::new(&query, stop).map_err(ApiError::bad)).await?;
    let view = own_view(&engine, uuid).await?.view;
    let permit = Arc::clone(&engine.views.searches).acquire_owned();
    let found = match tokio::time::timeout(TIME_LIMIT, permit).await {
        Ok(Ok(permit)) => {
            blocking(move || {
                let _permit = permit;
                let mut walk = Walk::new(view);
                search
                    .run(&mut walk, &paths)
                    .map_err(|(path, error)| search_error(&path, error))
            })
            .await?
        }
        // Other searches have used up the time.
        _ => SearchResult {
            truncated: true,
            ..SearchResult::default()
        },
    };
    drop(stop_on_drop);
    Ok(Answer(GrepResult {
        path: first_path,
        patterns,
        matches: found.lines,
        truncated: found.truncated,
    }))
}

/// The answer to an error of a search. The API has no 422 for it, so a path of the wrong kind gets
/// 404.
fn search_error(path: &std::path::Path, error: ViewError) -> ApiError {
    match error {
        ViewError::NotADirectory | ViewError::TooManyLinks | ViewError::NotAFile => {
            ApiError::missing(
                ErrorCode::PathNotFound,
                format!("the image has no {}: {error}", path.display()),
            )
        }
        other => view_error(path, other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_repeat_up_to_their_bounds() {
        let request = SearchRequest::parse("pattern=a&pattern=b%26c&path=etc/&path=/x&glob=*.rs&glob=!y&max_count=3&max_total=10&case=smart&before=1&after=50")
            .unwrap();
        assert_eq!(request.query.pattern, ["a", "b&c"]);
        assert_eq!(request.paths, [PathBuf::from("/etc"), PathBuf::from("/x")]);
        assert_eq!(request.query.glob, ["*.rs", "!y"]);
        assert_eq!(request.query.max_count, Some(3));
        assert_eq!((request.query.before, request.query.after), (1, 50));
        assert_eq!(
            SearchRequest::parse("pattern=x").unwrap().paths,
            [PathBuf::from("/")]
        );
        for bad in [
            String::new(),
            "path=/".into(),
            "pattern=x&case=upper".into(),
            "pattern=x&max_total=0".into(),
            "pattern=x&max_total=10001".into(),
            "pattern=x&max_count=-1".into(),
            "pattern=x&before=51".into(),
            "pattern=x&after=1.5".into(),
            "pattern=x&path=%00".into(),
            "pattern=x&".repeat(17),
            format!("pattern={}", "é".repeat(1025)),
            format!("pattern=x{}", "&path=/".repeat(17)),
        ] {
            assert!(SearchRequest::parse(&bad).is_err(), "{bad}");
        }
        assert!(SearchRequest::parse(&format!("pattern={}", "é".repeat(1024))).is_ok());
    }
}
