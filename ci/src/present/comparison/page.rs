//! The comparison as a page, built like the page of a single run.

use maud::{Markup, PreEscaped, html};

use crate::present::comparison::text::{figure, ratio};
use crate::present::page::{colour, origin, text, whole};
use crate::present::pictures::{self, Format, Picture, PictureError};
use crate::report::comparison::{Change, Group, differences, groups};
use crate::report::{Report, headline};

/// Two runs side by side.
///
/// # Errors
/// A picture that cannot be drawn.
pub fn page(old: &Report, new: &Report) -> Result<String, PictureError> {
    let pictures = [pictures::all(old)?, pictures::all(new)?];
    let heading = |report: &Report| {
        let (word, _) = headline::verdict(report);
        html! { (text(&headline::what_ran(report))) ": " span class=(colour(report.verdict)) { (word) } }
    };
    let groups = groups(old, new);
    let all = || groups.iter().flat_map(|group| &group.rows);
    let count = |change| all().filter(|row| row.change() == change).count();
    let body = html! {
        h1 { "Two runs compared" }
        div.pair { @for (name, report) in [("old", old), ("new", new)] {
            div { p { (name) ": " (heading(report)) } (origin(&report.origin)) }
        } }
        p { (count(Change::Better)) " figures are better, " (count(Change::Worse)) " worse, "
            (count(Change::Same)) " the same to a tenth." }
        (differing(old, new))
        @for group in &groups { (section(group)) }
        (pairs(&pictures))
    };
    Ok(whole("octopod: two runs", body))
}

/// The pictures of both runs beside each other, as on a phone: two of these are as wide as a page.
fn pairs([old, new]: &[Vec<Picture>; 2]) -> Markup {
    let missing = |one: &&Picture| !new.iter().any(|other| other.name == one.name);
    let find = |pictures: &[Picture], name: &str| pictures.iter().find(|one| one.name == name).cloned();
    html! {
        @for picture in new.iter().chain(old.iter().filter(missing)) {
            h2 { (picture.title) }
            div.pair { @for (name, of) in [("old", old), ("new", new)] {
                figure {
                    figcaption { (name) }
                    @match find(of, picture.name) {
                        Some(found) => (PreEscaped(found.part(Format::Narrow))),
                        None => p.faint { "none" },
                    }
                }
            } }
            p.faint { (text(&picture.legend)) }
        }
    }
}

fn differing(old: &Report, new: &Report) -> Markup {
    let differences = differences(old, new);
    html! { @if !differences.is_empty() {
        h2 { "What ran" }
        div.scroll { table {
            tr { th { "" } th { "old" } th { "new" } }
            @for (name, old, new) in differences {
                tr { td { (name) } td { (text(&old)) } td { (text(&new)) } }
            }
        } }
    } }
}

fn section(group: &Group) -> Markup {
    html! {
        h2 { (group.name) }
        div.scroll.tall { table {
            tr { th { "" } @for name in ["old", "new", "ratio"] { th.number { (name) } } th { "" } }
            @for row in &group.rows {
                @let class = match row.change() { Change::Better => "good", Change::Worse => "bad", _ => "faint" };
                tr {
                    td { (text(&row.name)) }
                    td.number { (figure(row.old)) } td.number { (figure(row.new)) } td.number { (ratio(row)) }
                    td class=(class) { (row.word()) }
                }
            }
        } }
    }
}
