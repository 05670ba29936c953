//! `matrix`: runs the rows of `config/machines.toml`, several at once, and says which did not do what they must.
//!
//! [`options`] says which rows; [`runner`] finds the tools, builds the kernels and runs one row; [`schedule`] runs as
//! many at once as the host can bear; [`result`] tells a failure from a skip and from a machine that did not start;
//! [`screen`], [`junit`] and `matrix.json` pass it on. Of all this only [`command`] prints and writes, so that the boot
//! tests can share the rest.

pub mod junit;
pub mod options;
pub mod result;
pub mod rows;
pub mod runner;
pub mod schedule;
pub mod screen;

use std::path::Path;
use std::time::Instant;

pub use options::MatrixOptions;
use result::{Counts, Ended, Results, SCHEMA, Skip};
use runner::Runner;
use schedule::Weight;
use screen::Screen;

use crate::base::checkout::Workspace;
use crate::base::error::Error;
use crate::base::files::output;
use crate::commands::cli::Options;

/// Does what `options` ask for, and returns the exit status.
pub fn command(options: &Options) -> u8 {
    let screen = Screen::new(options);
    run(options, &screen).unwrap_or_else(|error| {
        screen.error(&error);
        error.verdict().status()
    })
}

fn run(options: &Options, screen: &Screen) -> Result<u8, Error> {
    options.check()?;
    let workspace = Workspace::find()?;
    options.plan(&workspace).check(Some(&workspace.root))?;
    let wanted = &options.matrix;
    let file = wanted.rows.clone().unwrap_or_else(|| workspace.root.join(rows::FILE));
    let all = rows::read(&file)?;
    let rows = all.len();
    let asked_for = wanted.asked_for(all);
    // A shard may be empty, where there are more of them than rows; a name that nothing is called is a mistake.
    if asked_for.is_empty() && !wanted.names.is_empty() {
        return Err(Error::NoSuchRow { path: file, names: wanted.names.clone(), rows });
    }
    let folder = options.out.clone().unwrap_or_else(|| workspace.own().join("matrix"));

    let junit = wanted.junit.clone().unwrap_or_else(|| folder.join("junit.xml"));
    let json = folder.join("matrix.json");
    // If this run has no results, an earlier one's must not be taken for them.
    for earlier in [&junit, &json] {
        let _ = std::fs::remove_file(earlier);
    }

    let mut preparation = screen.preparation();
    let qemu = options.qemu_program.as_deref();
    let runner = Runner::new(qemu, options.accel, folder.join("rows"), &mut preparation)?
        .with_bochs(options.bochs_program.clone());
    let mut jobs = runner.jobs(wanted.shard_of(asked_for))?;
    runner.prepare(&mut jobs, &mut preparation)?;

    let host = Weight::of_the_host(wanted.jobs);
    let version = runner.qemu_version().to_string();
    screen.begin(jobs.len(), host.slots, &version, options.accel.name());
    let began = Instant::now();
    let rows = schedule::run(&jobs, host, screen);
    let results = Results {
        schema: SCHEMA,
        accel: options.accel.name(),
        qemu_version: version,
        tier: wanted.tier(),
        shard: wanted.shard.map(|shard| shard.to_string()),
        interrupted: rows.iter().any(|row| row.ended == Ended::Skipped(Skip::Interrupted)),
        time: began.elapsed(),
        counts: Counts::of(&rows),
        rows,
    };

    // Each is tried: what cannot be written to one place may be to another, and the counts are shown in any case.
    std::fs::create_dir_all(&folder).map_err(Error::file("make the folder", &folder))?;
    let asked_for = options.json.as_deref().filter(|path| path.as_os_str() != "-");
    let mut written = vec![junit::to_xml(&results).and_then(|xml| write("--junit", &junit, &xml))];
    written.extend(
        [Some(json.as_path()), asked_for]
            .into_iter()
            .flatten()
            .map(|path| write("--json", path, &results.to_json())),
    );
    let shown = screen.finish(&results, &[&json, &junit]);
    written.push(shown.map_err(|source| Error::Unwritable {
        what: "--json".to_owned(),
        path: "-".into(),
        source,
    }));
    written.into_iter().collect::<Result<(), Error>>()?;
    Ok(results.status())
}

fn write(what: &str, path: &Path, text: &str) -> Result<(), Error> {
    output::write(path, text.as_bytes()).map_err(|source| Error::Unwritable {
        what: what.to_owned(),
        path: path.to_owned(),
        source,
    })
}
