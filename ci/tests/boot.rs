//! Boots the kernel in QEMU: a test for each row of the fast tier of `config/machines.toml`.
//!
//! `cargo test --test boot NAME` runs the rows whose name contains NAME; `OCTOPOD_TIER=full` runs all tiers.

use std::collections::HashMap;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use libtest_mimic::{Arguments, Failed, Trial};
use octopod_ci::notice::Silent;
use octopod_ci::rows::{self, Row, Tier};
use octopod_ci::rundir::Workspace;
use octopod_ci::{kernel_build, launch, setup};

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    match trials(&arguments) {
        Ok(trials) => libtest_mimic::run(&arguments, trials).exit_code(),
        Err(problem) => {
            eprintln!("{problem}");
            ExitCode::FAILURE
        }
    }
}

fn trials(arguments: &Arguments) -> Result<Vec<Trial>, String> {
    let workspace = Workspace::find();
    let full = std::env::var("OCTOPOD_TIER").is_ok_and(|tier| tier == "full");
    let mut rows = rows::read(&workspace.root).map_err(|error| error.to_string())?;
    rows.retain(|row| full || row.tier == Tier::Fast);
    let qemu = std::env::var_os("OCTOPOD_QEMU");
    let qemu = setup::qemu::provide(qemu.as_deref(), &mut Silent).map_err(|error| error.to_string())?;

    // Each kernel is built once, before the rows that boot it compete for the processor.
    let mut kernels = HashMap::new();
    let wanted = |row: &Row| {
        let is_named = arguments.filter.as_ref().is_none_or(|filter| row.name.contains(filter));
        is_named && !arguments.list
    };
    for row in rows.iter().filter(|row| wanted(row)) {
        let options = row.options()?;
        let variant = (options.debug, options.fault.is_some());
        if let std::collections::hash_map::Entry::Vacant(slot) = kernels.entry(variant) {
            setup::target::provide(&mut Silent).map_err(|error| error.to_string())?;
            let kernel = kernel_build::provide(&options, &workspace, &mut Silent);
            slot.insert(kernel.map_err(|error| error.to_string())?.path);
        }
    }
    let kernels = Arc::new(kernels);
    rows.into_iter()
        .map(|row| {
            let too_old = row.oldest_qemu()?.filter(|oldest| qemu.version < *oldest);
            let kernels = kernels.clone();
            let name = match &too_old {
                // The runner knows no reasons for a skipped test but its name.
                Some(oldest) => format!("{} (needs QEMU {oldest})", row.name),
                None => row.name.clone(),
            };
            Ok(Trial::test(name, move || boot(&row, &kernels)).with_ignored_flag(too_old.is_some()))
        })
        .collect()
}

fn boot(row: &Row, kernels: &HashMap<(bool, bool), PathBuf>) -> Result<(), Failed> {
    let mut options = row.options()?;
    options.kernel = kernels.get(&(options.debug, options.fault.is_some())).cloned();
    let outcome = launch(&options);
    let wrong = row.check(&outcome);
    if wrong.is_empty() {
        return Ok(());
    }
    let reason = outcome.report.reason.as_deref().unwrap_or("none");
    Err(format!(
        "{}\nreason: {reason}\ncargo run -- {}\n--- the kernel said\n{}\n--- QEMU said\n{}",
        wrong.join("\n"),
        row.run,
        outcome.serial.join("\n"),
        outcome.complaint
    )
    .into())
}
