//! What the checks need of a page: its anchors, links, code spans and code blocks.

use std::collections::BTreeMap;

use pulldown_cmark::{CodeBlockKind, Event, Options, Parser, Tag, TagEnd};

/// A page in Markdown.
pub(crate) struct Page {
    /// Its path from the root of the checkout.
    pub name: String,
    /// The anchors of its headings, as GitHub makes them.
    pub anchors: Vec<String>,
    /// The targets of its links and pictures, each with its line.
    pub links: Vec<(usize, String)>,
    /// Its code spans, each with its line.
    pub spans: Vec<(usize, String)>,
    /// Its code blocks: the line of the fence, the language, and the text.
    pub code: Vec<(usize, String, String)>,
}

impl Page {
    /// Reads a page.
    pub(crate) fn new(name: &str, text: &str) -> Page {
        let mut page = Page {
            name: name.to_owned(),
            anchors: Vec::new(),
            links: Vec::new(),
            spans: Vec::new(),
            code: Vec::new(),
        };
        let line_of = |offset: usize| text[..offset].matches('\n').count() + 1;
        let mut heading: Option<String> = None;
        let mut code: Option<(usize, String, String)> = None;
        let mut times: BTreeMap<String, usize> = BTreeMap::new();
        for (event, range) in Parser::new_ext(text, Options::ENABLE_TABLES).into_offset_iter() {
            match event {
                Event::Start(Tag::Heading { .. }) => heading = Some(String::new()),
                Event::End(TagEnd::Heading(_)) => {
                    let slug = slug(&heading.take().unwrap_or_default());
                    let before = times.entry(slug.clone()).or_default();
                    page.anchors.push(if *before == 0 { slug } else { format!("{slug}-{before}") });
                    *before += 1;
                }
                Event::Start(Tag::Link { dest_url, .. } | Tag::Image { dest_url, .. }) => {
                    page.links.push((line_of(range.start), dest_url.into_string()));
                }
                Event::Start(Tag::CodeBlock(kind)) => {
                    let language = match kind {
                        CodeBlockKind::Fenced(language) => language.into_string(),
                        CodeBlockKind::Indented => String::new(),
                    };
                    code = Some((line_of(range.start), language, String::new()));
                }
                Event::End(TagEnd::CodeBlock) => page.code.extend(code.take()),
                Event::Text(text) => {
                    if let Some((_, _, all)) = &mut code {
                        all.push_str(&text);
                    } else if let Some(all) = &mut heading {
                        all.push_str(&text);
                    }
                }
                Event::Code(text) => {
                    if let Some(all) = &mut heading {
                        all.push_str(&text);
                    }
                    page.spans.push((line_of(range.start), text.into_string()));
                }
                _ => {}
            }
        }
        page
    }
}

/// The anchor that GitHub gives to a heading.
fn slug(heading: &str) -> String {
    let kept = heading.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.flat_map(char::to_lowercase).map(|c| if c == ' ' { '-' } else { c }).collect()
}

#[test]
fn headings_become_anchors_and_links_have_lines() {
    let page = Page::new(
        "a.md",
        "# `report.json`, schema 2\n\n## Bring-up\n## Bring-up\n\n[b](c.md#d) and `x::y`\n\n```rust\ncode `no`\n```\n",
    );
    assert_eq!(page.anchors, ["reportjson-schema-2", "bring-up", "bring-up-1"]);
    assert_eq!(page.links, [(6, "c.md#d".to_owned())]);
    assert_eq!(page.spans, [(1, "report.json".to_owned()), (6, "x::y".to_owned())]);
    assert_eq!(page.code, [(8, "rust".to_owned(), "code `no`\n".to_owned())]);
}
