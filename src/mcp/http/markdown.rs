//! Renders the manifest's Markdown as HTML: no raw HTML, no images, and links to this page only.

use pulldown_cmark::{CowStr, Event, HeadingLevel, Options, Parser, Tag, TagEnd, html};

/// Renders a text of several paragraphs. Its headings are three levels lower, below those of the
/// page.
pub(super) fn block(text: &str) -> String {
    let mut rendered = String::with_capacity(text.len() * 2);
    html::push_html(&mut rendered, events(text).into_iter());
    rendered
}

/// Renders a text without paragraphs, for use within a line.
pub(super) fn inline(text: &str) -> String {
    let mut rendered = String::with_capacity(text.len() * 2);
    let within = events(text).into_iter().filter(|event| {
        !matches!(
            event,
            Event::Start(Tag::Paragraph) | Event::End(TagEnd::Paragraph)
        )
    });
    html::push_html(&mut rendered, within);
    rendered
}

fn events(text: &str) -> Vec<Event<'_>> {
    let mut kept = Vec::new();
    // For each open link, whether it was kept.
    let mut links = Vec::new();
    for event in Parser::new_ext(text, Options::ENABLE_TABLES) {
        match event {
            Event::Html(text) | Event::InlineHtml(text) => kept.push(Event::Text(text)),
            Event::Start(Tag::HtmlBlock | Tag::Image { .. })
            | Event::End(TagEnd::HtmlBlock | TagEnd::Image) => {}
            Event::Start(Tag::Heading {
                level,
                id: _,
                classes: _,
                attrs: _,
            }) => kept.push(Event::Start(Tag::Heading {
                level: below(level),
                id: None,
                classes: Vec::new(),
                attrs: Vec::new(),
            })),
            Event::End(TagEnd::Heading(level)) => {
                kept.push(Event::End(TagEnd::Heading(below(level))));
            }
            Event::Start(Tag::Link {
                link_type,
                dest_url,
                title: _,
                id: _,
            }) => {
                let target = local_target(&dest_url);
                links.push(target.is_some());
                if let Some(dest_url) = target {
                    kept.push(Event::Start(Tag::Link {
                        link_type,
                        dest_url,
                        title: CowStr::Borrowed(""),
                        id: CowStr::Borrowed(""),
                    }));
                }
            }
            Event::End(TagEnd::Link) => {
                if links.pop().unwrap_or_default() {
                    kept.push(Event::End(TagEnd::Link));
                }
            }
            other => kept.push(other),
        }
    }
    kept
}

/// Returns the target of a link on this page. Other links become plain text.
fn local_target(link: &str) -> Option<CowStr<'static>> {
    if let Some(guide) = link.strip_prefix("contree://guide/") {
        return Some(format!("#guide-{guide}").into());
    }
    link.starts_with('#').then(|| link.to_owned().into())
}

fn below(level: HeadingLevel) -> HeadingLevel {
    match level {
        HeadingLevel::H1 => HeadingLevel::H4,
        HeadingLevel::H2 => HeadingLevel::H5,
        _ => HeadingLevel::H6,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_markup_becomes_text() {
        let hostile = "# <b>x</b>\n\n<script>alert(1)</script>\n\na <img src=x onerror=alert(1)> b\n\n\
            [j](javascript:alert(1)) ![i](http://evil.example/i.png) [w](https://evil.example) `<i>`";
        let html = block(hostile);
        assert!(html.starts_with("<h4>&lt;b&gt;x&lt;/b&gt;</h4>"), "{html}");
        for bad in ["<script", "<img", "<a", "<b>", "<i>", "href"] {
            assert!(!html.contains(bad), "{bad}: {html}");
        }
        assert!(html.contains("<code>&lt;i&gt;</code>"));
    }

    #[test]
    fn links_to_guides_stay_on_the_page() {
        assert_eq!(
            block("[State](contree://guide/state)"),
            "<p><a href=\"#guide-state\">State</a></p>\n"
        );
        assert_eq!(
            inline("UUID or `tag:NAME`"),
            "UUID or <code>tag:NAME</code>"
        );
        assert!(block("|a|b|\n|-|-|\n|1|2|\n").contains("<td>1</td>"));
    }
}
