//! The boot of one run: what it needs, the emulator, and the run itself.

use octopod::wire::NONCE_PARAMETER;

use crate::base::files::{RunFolder, Scratch, input};
use crate::base::values::ModuleFile;
use crate::base::{Error, Message, Observer, WorkspaceKind, interrupt};
use crate::commands::launch::{Launch, LaunchKind};
use crate::commands::launch_outcome::{Finish, outcome};
use crate::commands::launch_report::{Begun, run_folder, with_report};
use crate::commands::stress;
use crate::kernel::{Kernel, KernelSource, build, image, registry};
use crate::machine::accelerator::Host;
use crate::machine::emulator::{Emulator, MAX_SOCKET_BYTES, QMP};
use crate::machine::media::{self, Loaded};
use crate::machine::{BootProtocol, EmulatorKind, limits};
use crate::report::{Outcome, origin};
use crate::run::command_line::SEED_PARAMETER;
use crate::run::console::Names;
use crate::run::session::{self, Booted};
use crate::run::{debugger, replay};
use crate::setup::{self, cargo_lines};

/// Boots what is asked for.
pub fn launch_on(launch: &Launch, host: &Host, observer: &mut dyn Observer, finish: Finish<'_>) -> Outcome {
    with_report(launch, observer, |begun, observer| boot(launch, host, begun, observer, finish))
}

fn boot(
    launch: &Launch,
    host: &Host,
    begun: &mut Begun,
    observer: &mut dyn Observer,
    finish: Finish<'_>,
) -> Result<Outcome, Error> {
    let Begun { workspace, files, .. } = &begun;
    let is_unnamed =
        launch.kind == LaunchKind::Run && matches!(launch.kernel.source, KernelSource::Workspace);
    if is_unnamed && workspace.kind == WorkspaceKind::Checkout {
        return Err(Error::Usage("run what? --example NAME, or an ELF file".to_owned()));
    }
    build::check(&launch.kernel, workspace)?;
    // A kernel that cargo has built is there, and the launcher is its runner.
    if let (KernelSource::Workspace, Some(project)) = (&launch.kernel.source, workspace.project()) {
        let missing = cargo_lines::missing(&project.folder);
        for line in missing.into_iter().filter(|line| !line.is_reported_by_build()) {
            let text = format!("{}: write into .cargo/config.toml: {}", line.consequence(), line.text());
            observer.receive(Message::Note(&text));
        }
    }
    let mut emulator = setup::emulator::provide(&launch.machine, host, observer)?;
    if matches!(launch.kernel.source, KernelSource::Workspace | KernelSource::Example(_)) {
        setup::target::provide(observer)?;
    }
    if launch.kind == LaunchKind::Gdb {
        setup::gdb::provide(observer)?;
    }
    let tools = setup::media::provide(launch.machine.boot, emulator.qemu_program(), observer)?;
    let kernel = build::provide(&launch.kernel, workspace, observer)?;
    if kernel.is_users {
        let elf = input::read(&kernel.symbols, build::MOST_BYTES)?;
        if let Some(reason) = image::defect(&elf) {
            return Err(Error::NotAKernel { path: kernel.symbols.clone(), reason: reason.to_owned() });
        }
        registry::learn(&elf).map_err(|error| error.of_file(&kernel.symbols))?;
        launch.command_line.check()?;
    }
    let launch = &*stress::with_workloads_of_program(launch);
    limits::check_image(kernel.image_end, launch.machine.mem.bytes())?;
    if interrupt::requested() {
        return Err(Error::Interrupted);
    }
    let folder = run_folder(launch, workspace, files, observer)?;
    begun.folder = Some(folder.clone());
    let (folder, workspace) = (&folder, &begun.workspace);
    let kernel = adopted(kernel, folder)?;
    let scratch = match launch.machine.emulator {
        EmulatorKind::Qemu => Some(Scratch::new(QMP, MAX_SOCKET_BYTES)?),
        EmulatorKind::Bochs => None,
    };
    let nonce = launch.nonce();
    // First, so that no parameter of the user's can hide it; one of the same name counts instead.
    let seed = begun.seed.filter(|seed| seed.is_drawn);
    let seed = seed.map(|seed| format!("{SEED_PARAMETER}={:#x} ", seed.value)).unwrap_or_default();
    let command_line = format!("{NONCE_PARAMETER}={nonce} {seed}{}", launch.command_line);
    // First: the kernel replays the first module.
    let trace = launch.replay.as_deref().map(|path| replay::place(path, folder)).transpose()?;
    let trace = trace.map(|path| ModuleFile { path, name: replay::NAME.to_owned() });
    let modules: Vec<ModuleFile> = trace.into_iter().chain(launch.modules.iter().cloned()).collect();
    let (protocol, scratch) = (launch.machine.boot, scratch.as_ref());
    let loaded = Loaded { kernel: &kernel.path, command_line: &command_line, modules: &modules };
    let medium = media::prepare(protocol, loaded, &tools, folder, scratch, observer)?;
    let run = loop {
        let mut machine = emulator.set_up(&launch.machine, &medium, folder, scratch)?;
        announce(launch, &emulator, &kernel, &machine.script, observer);
        begun.emulator_command = Some(origin::command_of(&machine.script, &folder.path));
        if let Some(scratch) = scratch.filter(|_| launch.kind == LaunchKind::Gdb) {
            machine.arguments.extend(debugger::arguments(scratch).into_iter().flatten());
            let is_at_link_address =
                matches!(protocol, BootProtocol::Pvh | BootProtocol::Multiboot1) && !launch.kernel.compressed;
            let symbols = &kernel.symbols;
            let script = debugger::write_script(symbols, scratch, folder, is_at_link_address)?;
            let line = debugger::line(&script);
            observer.receive(Message::Note(&format!("waiting for gdb; in another terminal: {line}")));
        }
        let booted = Booted { nonce, names: Names::of(&kernel.symbols, &workspace.root) };
        let run = session::run(&launch.run, &machine, folder, booted, observer)?;
        let failed = Some(&run).filter(|run| run.may_have_failed_by_kvm());
        let Some(reason) = failed.and_then(|run| emulator.fall_back_to_tcg(&run.complaint)) else {
            break run;
        };
        // The next run listens at a new socket.
        machine.socket(QMP).map(std::fs::remove_file);
        observer.receive(Message::Note(&reason));
    };
    outcome(launch, &emulator, &kernel, run, begun, observer, finish)
}

/// The same kernel in the run's own files.
fn adopted(kernel: Kernel, folder: &RunFolder) -> Result<Kernel, Error> {
    let path = folder.adopt(&kernel.path, "octopod-kernel", kernel.is_users)?;
    let symbols = match kernel.symbols == kernel.path {
        true => path.clone(),
        false => folder.adopt(&kernel.symbols, "octopod-symbols", kernel.is_users)?,
    };
    Ok(kernel.moved_to(path, symbols, None))
}

fn announce(
    launch: &Launch,
    emulator: &Emulator,
    kernel: &Kernel,
    script: &[u8],
    observer: &mut dyn Observer,
) {
    let kib = |bytes: u64| bytes.div_ceil(1024);
    let compressed = kernel.compressed_bytes.map(|bytes| format!(", {} KiB compressed", kib(bytes)));
    let config = &launch.machine;
    let line = format!(
        "{} {}, {}, {} with -smp {} and {}; kernel `{}`, {} KiB{}",
        config.emulator.title(),
        emulator.version(),
        emulator.accel(),
        emulator.machine(config),
        config.smp,
        config.mem,
        kernel.variant,
        kib(kernel.image_bytes),
        compressed.unwrap_or_default(),
    );
    observer.receive(Message::Note(&line));
    observer.receive(Message::Tool(&format!("{}: {}", emulator.accel(), emulator.accel_reason())));
    observer.receive(Message::Tool(&String::from_utf8_lossy(script)));
    observer.receive(Message::Step("booting"));
}
