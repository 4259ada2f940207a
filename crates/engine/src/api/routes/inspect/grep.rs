//! Searching the files of an image.

use std::borrow::Cow;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::Json as Answer;
use axum::extract::State;
use axum::http::Uri;
use contree_sandbox::{ViewError, Walk};
use url::form_urlencoded;
use uuid::Uuid;

use super::{Path, inside, own_view, refused};
use crate::api::types::{GrepResult, InspectImageGrepQuery, InspectImageGrepQueryCase};
use crate::blocking::blocking;
use crate::engine::Engine;
use crate::error::ApiError;
use crate::image::search::{Search, SearchResult, TIME_LIMIT};

/// The most patterns, paths and globs.
const MOST_PATTERNS: usize = 16;
const MOST_PATHS: usize = 16;
const MOST_GLOBS: usize = 64;
/// The longest pattern or glob, in characters.
const LONGEST: usize = 1024;
/// The bound of `max_count` and `max_total`.
const MOST_MATCHES: u64 = 10_000;
/// The bound of `before` and `after`.
const MOST_CONTEXT: u64 = 50;

/// What a request asks for.
struct Asked {
    query: InspectImageGrepQuery,
    paths: Vec<PathBuf>,
}

impl Asked {
    fn read(query: &str) -> Result<Self, ApiError> {
        let mut paths = Vec::new();
        let mut asked = InspectImageGrepQuery {
            pattern: Vec::new(),
            path: Vec::new(),
            glob: Vec::new(),
            max_count: None,
            max_total: InspectImageGrepQuery::default_max_total(),
            case: InspectImageGrepQuery::default_case(),
            before: 0,
            after: 0,
        };
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            match &*name {
                "pattern" => push(&mut asked.pattern, "pattern", value, MOST_PATTERNS)?,
                "glob" => push(&mut asked.glob, "glob", value, MOST_GLOBS)?,
                "path" if paths.len() == MOST_PATHS => {
                    return Err(too_many("path", MOST_PATHS));
                }
                "path" => {
                    paths.push(inside(&value)?);
                    asked.path.push(value.into_owned());
                }
                "max_count" => {
                    asked.max_count = Some(number("max_count", &value, 1, MOST_MATCHES)?);
                }
                "max_total" => asked.max_total = number("max_total", &value, 1, MOST_MATCHES)?,
                "before" => asked.before = number("before", &value, 0, MOST_CONTEXT)?,
                "after" => asked.after = number("after", &value, 0, MOST_CONTEXT)?,
                "case" => {
                    asked.case = value.parse::<InspectImageGrepQueryCase>().map_err(|()| {
                        ApiError::bad(format!(
                            "`case` is sensitive, insensitive or smart, not `{value}`"
                        ))
                    })?;
                }
                _ => {}
            }
        }
        if asked.pattern.is_empty() {
            return Err(ApiError::bad(
                "`pattern` is missing: give a regular expression",
            ));
        }
        if paths.is_empty() {
            paths.push(PathBuf::from("/"));
        }
        Ok(Self {
            query: asked,
            paths,
        })
    }
}

fn push(
    list: &mut Vec<String>,
    name: &str,
    value: Cow<'_, str>,
    most: usize,
) -> Result<(), ApiError> {
    if list.len() == most {
        return Err(too_many(name, most));
    }
    let length = value.chars().count();
    if length > LONGEST {
        return Err(ApiError::bad(format!(
            "`{name}` can have {LONGEST} characters, not {length}"
        )));
    }
    list.push(value.into_owned());
    Ok(())
}

fn too_many(name: &str, most: usize) -> ApiError {
    ApiError::bad(format!("`{name}` can be given {most} times, not more"))
}

fn number(name: &str, value: &str, least: u64, most: u64) -> Result<u64, ApiError> {
    value
        .parse()
        .ok()
        .filter(|number| (least..=most).contains(number))
        .ok_or_else(|| {
            ApiError::bad(format!(
                "`{name}` must be a whole number from {least} to {most}, not `{value}`"
            ))
        })
}

/// Tells a search that nobody waits for it any more.
struct Waiting(Arc<AtomicBool>);

impl Drop for Waiting {
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
    let Asked { query, paths } = Asked::read(uri.query().unwrap_or_default())?;
    let waiting = Waiting(Arc::default());
    let stop = Arc::clone(&waiting.0);
    let patterns = query.pattern.clone();
    let first = paths[0].to_string_lossy().into_owned();
    // A pattern that cannot be meant is told before an image that is not there, and compiling can take a while.
    let prepared = blocking(move || Search::new(&query, stop).map_err(ApiError::bad)).await?;
    let view = own_view(&engine, uuid).await?.view;
    let slot = Arc::clone(&engine.views.searches).acquire_owned();
    let found = match tokio::time::timeout(TIME_LIMIT, slot).await {
        Ok(Ok(slot)) => {
            blocking(move || {
                let _slot = slot;
                let mut walk = Walk::new(view);
                prepared
                    .run(&mut walk, &paths)
                    .map_err(|(path, error)| unfit(&path, error))
            })
            .await?
        }
        // Others have taken all the time there was.
        _ => SearchResult {
            truncated: true,
            ..SearchResult::default()
        },
    };
    drop(waiting);
    Ok(Answer(GrepResult {
        path: first,
        patterns,
        matches: found.lines,
        truncated: found.truncated,
    }))
}

/// The API has no 422 here: a path that leads nowhere is not there.
fn unfit(path: &std::path::Path, error: ViewError) -> ApiError {
    match error {
        ViewError::NotADirectory | ViewError::TooManyLinks | ViewError::NotAFile => {
            ApiError::missing(format!("the image has no {}: {error}", path.display()))
        }
        other => refused(path, other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_have_bounds_and_repeat() {
        let asked = Asked::read("pattern=a&pattern=b%26c&path=etc/&path=/x&glob=*.rs&glob=!y&max_count=3&max_total=10&case=smart&before=1&after=50")
            .unwrap();
        assert_eq!(asked.query.pattern, ["a", "b&c"]);
        assert_eq!(asked.paths, [PathBuf::from("/etc"), PathBuf::from("/x")]);
        assert_eq!(asked.query.glob, ["*.rs", "!y"]);
        assert_eq!(asked.query.max_count, Some(3));
        assert_eq!((asked.query.before, asked.query.after), (1, 50));
        assert_eq!(
            Asked::read("pattern=x").unwrap().paths,
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
            assert!(Asked::read(&bad).is_err(), "{bad}");
        }
        assert!(Asked::read(&format!("pattern={}", "é".repeat(1024))).is_ok());
    }
}
