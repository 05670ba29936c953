//! The report as an HTML page: one file that contains its pictures, and neither loads nor runs anything.
//!
//! All data from the machine is text, never markup: [`maud`] escapes it. The same report gives the same page.

use std::panic::catch_unwind;
use std::path::Path;

use maud::{Markup, PreEscaped, html};

use crate::base::files::output;
use crate::base::{Error, Message, Observer};
use crate::present::pictures::{self, Format, Picture};
use crate::report::{Outcome, Report, headline};
use crate::run::folder::PAGE;

mod html;
mod sections;
mod tables;

pub use html::{colour, text, whole};
pub(crate) use sections::origin;

/// Leaves page and pictures in the folder of a run, and the pictures in another as well, if one is named. A page or picture
/// that cannot be had is a note, and no fault of the run's; but pictures that were asked for are missed.
pub fn leave(outcome: &mut Outcome, pictures: Option<&Path>, observer: &mut dyn Observer) {
    let Some(folder) = outcome.run_dir.clone() else { return };
    if let Some(named) = pictures
        && let Err(error) = write_pictures(&outcome.report, named)
    {
        outcome.lacks(error);
    }
    if let Err(problem) = write(&outcome.report, &folder) {
        observer.receive(Message::Note(&format!("no {PAGE} in {}: {problem}", folder.display())));
    }
}

/// Writes the page and its pictures to a folder.
///
/// # Errors
/// A picture cannot be drawn, or a file cannot be written.
pub fn write(report: &Report, folder: &Path) -> Result<(), Box<dyn std::error::Error>> {
    let pictures = pictures::all(report)?;
    std::fs::create_dir_all(folder)?;
    write_files(&pictures, folder)?;
    let page = catch_unwind(|| page(report, &pictures)).map_err(|_| "the page cannot be made")?;
    output::write(&folder.join(PAGE), page.as_bytes())?;
    Ok(())
}

/// Writes the pictures into a folder that the user names, which is made if it is missing.
///
/// # Errors
/// They cannot be drawn, or not be written there.
pub fn write_pictures(report: &Report, folder: &Path) -> Result<(), Error> {
    let drawn = pictures::all(report);
    let drawn = drawn.map_err(Error::format(folder))?;
    let written = std::fs::create_dir_all(folder).and_then(|()| write_files(&drawn, folder));
    written.map_err(Error::unwritable("--pictures", folder))
}

fn write_files(pictures: &[Picture], folder: &Path) -> std::io::Result<()> {
    for picture in pictures {
        output::write(&folder.join(format!("{}.svg", picture.name)), picture.file().as_bytes())?;
    }
    Ok(())
}

/// The page.
pub fn page(report: &Report, pictures: &[Picture]) -> String {
    let (word, sentence) = headline::verdict(report);
    let what = headline::what_ran(report);
    let title = format!("octopod: {what}: {}", word.to_lowercase());
    let body = html! {
        h1 { (text(&what)) ": " span class=(colour(report.verdict)) { (word) } }
        p.lines { (text(&sentence)) }
        (sections::origin(&report.origin))
        (sections::machine(report))
        (sections::panic(report))
        (sections::heap_sites(report))
        (sections::warnings(report))
        (figure(pictures, "stages", sections::boot_stages(report)))
        (figure(pictures, "boot", sections::stages(report)))
        (figure(pictures, "memory", tables::memory(report)))
        (tables::heap(report))
        (tables::stress(report))
        (figure(pictures, "operations", html! {}))
        (figure(pictures, "scaling", html! {}))
        (figure(pictures, "latency", html! {}))
        (figure(pictures, "fragmentation", html! {}))
        (tables::bench(report))
        (tables::figures(report))
        (figure(pictures, "lateness", sections::lateness(report)))
        (tables::interrupts(report))
        (sections::events(report))
        (sections::scheduler(report))
        (sections::threads(report))
        (sections::facts(report))
        p.faint { "Schema " (report.schema) "; the same for programs is in " code { "report.json" } "." }
    };
    whole(&text(&title), body)
}

/// A section with a picture, if there is one, and what belongs below it.
fn figure(pictures: &[Picture], name: &str, below: Markup) -> Markup {
    let Some(picture) = pictures.iter().find(|picture| picture.name == name) else { return below };
    html! {
        h2 { (picture.title) }
        figure {
            div class="wide" { (PreEscaped(picture.part(Format::Wide))) }
            div class="narrow" { (PreEscaped(picture.part(Format::Narrow))) }
            figcaption { (text(&picture.legend)) }
        }
        (below)
    }
}

#[cfg(test)]
mod tests;
