//! The parts that every page has.

use maud::{DOCTYPE, Markup, PreEscaped, html};

use crate::base::{VerdictKind, text as clean};
use crate::present::pictures;

/// A page around its body.
pub fn whole(title: &str, body: Markup) -> String {
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { (title) }
                style { (PreEscaped(style())) }
            }
            body { (body) }
        }
    };
    page.into_string()
}

fn style() -> String {
    let dark = pictures::dark_rules();
    format!("\n{}@media (prefers-color-scheme: dark) {{\n{dark}}}\n", include_str!("page.css"))
}

/// Text from a machine, without characters that a browser must not get.
pub fn text(words: &str) -> String {
    clean::lines(words)
}

/// A verdict's class.
pub fn colour(verdict: VerdictKind) -> &'static str {
    match verdict {
        VerdictKind::Pass => "good",
        VerdictKind::Refused | VerdictKind::Interrupted => "warn",
        _ => "bad",
    }
}
