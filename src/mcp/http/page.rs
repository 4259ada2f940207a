//! The web page: documentation rendered from the manifest, and scripts that show images and
//! operations.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::digest::{SHA256, digest};
use serde_json::{Map, Value, json};

use super::markdown;
use crate::tools::{self, ToolSelection};

/// The template of the page.
const TEMPLATE: &str = "page/index.html.j2";
/// The scripts, in the order in which they run. They share their top-level names.
const SCRIPTS: [(&str, &str); 8] = [
    ("text.js", include_str!("../../../templates/page/text.js")),
    ("ansi.js", include_str!("../../../templates/page/ansi.js")),
    (
        "search.js",
        include_str!("../../../templates/page/search.js"),
    ),
    (
        "server.js",
        include_str!("../../../templates/page/server.js"),
    ),
    ("lists.js", include_str!("../../../templates/page/lists.js")),
    (
        "drawer.js",
        include_str!("../../../templates/page/drawer.js"),
    ),
    ("panes.js", include_str!("../../../templates/page/panes.js")),
    ("app.js", include_str!("../../../templates/page/app.js")),
];
const STYLE: &str = include_str!("../../../templates/page/app.css");
const ICON: &str = include_str!("../../../templates/page/icon.svg");

/// Allows only content from this server, and no inline scripts or styles.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
    base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'";
/// Cache header of the script and style. Their URLs contain a digest, so they never change.
const IMMUTABLE: &str = "public, max-age=31536000, immutable";

/// The facts for the page's template, except the URL of the server and the kind of page.
#[derive(Clone)]
struct Page(Arc<Map<String, Value>>);

/// Routes of `/`, `/docs` and their assets. With `requires_token`, the page explains how to send a
/// token.
pub(super) fn router(selection: &ToolSelection, requires_token: bool) -> Router {
    let page = Page(Arc::new(facts(selection, requires_token)));
    let pages = Router::new()
        .route("/", get(index))
        .route("/docs", get(reference))
        .route("/docs/", get(reference))
        .with_state(page);
    let scripts = SCRIPTS.into_iter().fold(pages, |router, (name, text)| {
        let serve = move || asset(text, "text/javascript; charset=utf-8");
        router.route(&format!("/{name}"), get(serve))
    });
    scripts
        .route("/app.css", get(|| asset(STYLE, "text/css; charset=utf-8")))
        .route("/icon.svg", get(icon))
        .route("/favicon.ico", get(icon))
}

/// Serves the live view, with the reference for browsers without scripts.
async fn index(State(page): State<Page>, request: Request) -> Response {
    rendered(&page, "live", &request)
}

/// Serves the reference alone.
async fn reference(State(page): State<Page>, request: Request) -> Response {
    rendered(&page, "docs", &request)
}

fn rendered(page: &Page, kind: &str, request: &Request) -> Response {
    let mut facts = (*page.0).clone();
    facts["page"]["url"] = json!(url(request));
    facts["page"]["kind"] = json!(kind);
    match tools::render(TEMPLATE, &facts) {
        Ok(html) => {
            let mut headers = HeaderMap::new();
            headers.insert(
                header::CONTENT_TYPE,
                HeaderValue::from_static("text/html; charset=utf-8"),
            );
            headers.insert(
                header::CONTENT_SECURITY_POLICY,
                HeaderValue::from_static(POLICY),
            );
            headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
            (headers, html).into_response()
        }
        Err(error) => {
            tracing::error!("{error}");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

async fn asset(text: &'static str, kind: &'static str) -> Response {
    let headers = [
        (header::CONTENT_TYPE, kind),
        (header::CACHE_CONTROL, IMMUTABLE),
    ];
    (headers, text).into_response()
}

/// Serves the icon. Its URL never changes, so browsers must check for a new version.
async fn icon() -> Response {
    let headers = [
        (header::CONTENT_TYPE, "image/svg+xml"),
        (header::CACHE_CONTROL, "no-cache"),
    ];
    (headers, ICON).into_response()
}

/// Returns the URL in the reader's address bar. The host was checked before, and the template
/// escapes it.
fn url(request: &Request) -> String {
    let host = request
        .headers()
        .get(header::HOST)
        .and_then(|host| host.to_str().ok())
        .unwrap_or("127.0.0.1");
    let forwarded = request.headers().get("x-forwarded-proto");
    let scheme = match forwarded.map(HeaderValue::as_bytes) {
        Some(b"https") => "https",
        _ => "http",
    };
    format!("{scheme}://{host}")
}

/// Returns the manifest's facts, with its texts also as HTML.
fn facts(selection: &ToolSelection, requires_token: bool) -> Map<String, Value> {
    let mut facts = selection.facts();
    let html = |entry: &mut Value, from: &str, to: &str, render: fn(&str) -> String| {
        let text = entry[from].as_str().map(render);
        entry[to] = json!(text.unwrap_or_default());
    };
    for tool in entries(&mut facts, "tools") {
        html(tool, "description", "description_html", markdown::block);
        for param in tool["params"]
            .as_object_mut()
            .into_iter()
            .flat_map(Map::values_mut)
        {
            html(param, "doc", "doc_html", markdown::inline);
        }
    }
    for guide in entries(&mut facts, "guides") {
        html(guide, "text", "text_html", markdown::block);
    }
    let instructions = facts.get("instructions").and_then(Value::as_str);
    let instructions = instructions.map(markdown::block).unwrap_or_default();
    facts.insert(
        "page".to_owned(),
        json!({
            "url": "",
            "kind": "live",
            "token": requires_token,
            "instructions": instructions,
            "css": asset_version("app.css", STYLE),
            "scripts": SCRIPTS.map(|(name, text)| asset_version(name, text)),
        }),
    );
    facts
}

fn entries<'a>(
    facts: &'a mut Map<String, Value>,
    name: &str,
) -> impl Iterator<Item = &'a mut Value> {
    facts
        .get_mut(name)
        .and_then(Value::as_object_mut)
        .into_iter()
        .flat_map(Map::values_mut)
}

/// Returns an asset's name, its version for its URL and its subresource integrity digest.
fn asset_version(name: &str, text: &str) -> Value {
    let digest = digest(&SHA256, text.as_bytes());
    let version: String = digest
        .as_ref()
        .iter()
        .take(6)
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let integrity = format!("sha256-{}", STANDARD.encode(digest));
    json!({"name": name, "version": version, "integrity": integrity})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_shows_all_of_the_manifest_and_escapes_its_address() {
        let mut facts = facts(&ToolSelection::default(), true);
        facts["page"]["url"] = json!("http://<script>alert(1)</script>");
        let html = tools::render(TEMPLATE, &facts).unwrap();
        assert!(
            !html.contains("<script>alert"),
            "the address is not escaped"
        );
        for tool in &tools::TOOLS {
            assert!(
                html.contains(&format!("id=\"tool-{}\"", tool.name)),
                "{}",
                tool.name
            );
            for argument in tool.input_schema()["properties"]
                .as_object()
                .unwrap()
                .keys()
            {
                assert!(
                    html.contains(&format!("<code>{argument}</code>")),
                    "{argument}"
                );
            }
        }
        for prompt in &tools::PROMPTS {
            assert!(html.contains(&format!("id=\"prompt-{}\"", prompt.name)));
        }
        for guide in &tools::GUIDES {
            assert!(html.contains(&format!("id=\"guide-{}\"", guide.name)));
        }
        assert!(html.contains("Authorization: Bearer TOKEN"));
        assert!(
            !html.contains(" style="),
            "styles within the page are refused by its policy"
        );
        assert!(!html.contains(" onclick="));
        let scripts = html.matches("<script").count();
        assert_eq!(scripts, SCRIPTS.len(), "only those from files");
        assert!(!html.contains("https://"), "nothing from elsewhere");
    }
}
