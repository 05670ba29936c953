//! The build script of the kernel's package. It turns `kernel.toml` and the list of modules into constants, and passes
//! the linker script to the linker.
//!
//! [`LIMITS`] lists the keys and their ranges. [`constants_of`] checks `kernel.toml` against it and generates the Rust
//! source that `src/config.rs` includes. An error ends the build with a line that names the file and the key.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs, process};

/// The sizes of stacks, in pages. Code without optimisation needs twice as much.
const STACKS: [&str; 2] = ["stack_pages", "ist_stack_pages"];

/// The keys, each with its minimum and maximum. The key's last word is its unit and determines the constant's type.
const LIMITS: &[(&str, i64, i64)] = &[
    // x2APIC IDs have 32 bits, but no supported emulator offers more CPUs.
    ("max_cpus", 1, 4096),
    // The table of distances has the square of this many entries.
    ("max_nodes", 1, 64),
    // The formatting of a panic needs four; many more would make CPUs expensive.
    ("stack_pages", 4, 64),
    ("ist_stack_pages", 1, 16),
    ("trace_ring_pages", 1, 4096),
    // At least one record each second, and no more records than the serial port transmits.
    ("progress_ms", 1, 1000),
    // Less causes false alarms; more looks like a hang.
    ("ap_bringup_timeout_ms", 100, 60_000),
    ("cpu_offline_timeout_ms", 100, 60_000),
    ("ipi_call_timeout_ms", 100, 60_000),
    // An eighth of it is the period of a timer.
    ("watchdog_ms", 80, 600_000),
    // Longer than watchdog_ms, so that a stall is reported first. A host may stop a CPU that holds a lock for seconds.
    ("lock_timeout_ms", 1000, 3_600_000),
    // Less causes false alarms on a slow host. The interrupt compares with a constant of 31 bits.
    ("timer_callback_ms", 100, 2_000),
    ("nmi_response_timeout_ms", 1, 10_000),
    ("ipi_delivery_ms", 1, 10_000),
    ("panic_stop_timeout_ms", 1, 10_000),
    ("machine_check_ms", 1, 10_000),
    ("stress_grace_ms", 1000, 3_600_000),
    // The PIT counts 16 bits at 1.193 MHz and wraps after 54.9 ms. A measurement takes three windows of at most four
    // times this.
    ("calibration_ms", 1, 4),
];

fn main() {
    if let Err(message) = run() {
        // Cargo prints this line alone; it prints a script's standard error with much other output.
        println!("cargo::error={message}");
        process::exit(1);
    }
}

fn run() -> Result<(), String> {
    let root = PathBuf::from(variable("CARGO_MANIFEST_DIR")?);
    println!("cargo::rustc-check-cfg=cfg(loom)");
    println!("cargo::rustc-check-cfg=cfg(octopod_host_program)");
    println!("cargo::rerun-if-env-changed={HOST_PROGRAM}");
    if env::var_os(HOST_PROGRAM).is_some() {
        println!("cargo::rustc-cfg=octopod_host_program");
    }
    for input in ["config/build.rs", "config/kernel.toml", "linker", "src/lib.rs"] {
        println!("cargo::rerun-if-changed={input}");
    }
    let text = read(&root.join("config/kernel.toml"))?;
    let stack_factor = if variable("OPT_LEVEL")? == "0" { 2 } else { 1 };
    let mut constants =
        constants_of(&text, stack_factor).map_err(|problem| format!("config/kernel.toml: {problem}"))?;
    constants += &modules_of(&read(&root.join("src/lib.rs"))?);
    let target = Path::new(&variable("OUT_DIR")?).join("config.rs");
    fs::write(&target, constants).map_err(|error| format!("{}: {error}", target.display()))?;
    if variable("CARGO_CFG_TARGET_OS")? == "none" {
        check_target(&variable("TARGET")?)?;
        // The documentation of a crate is also built where no cargo configuration of its own is read.
        if env::var_os("DOCS_RS").is_none() {
            let flags = variable("CARGO_ENCODED_RUSTFLAGS").unwrap_or_default();
            let features = variable("CARGO_CFG_TARGET_FEATURE").unwrap_or_default();
            check_flags(&flags, &features, &variable("CARGO_CFG_PANIC")?)?;
            check_scripts(&flags)?;
        }
        link_as_kernel(&root)?;
    }
    Ok(())
}

/// Allows a program that is built for the host. The launcher sets it for `stress --host`; without it, a kernel that is built for the
/// host is one whose cargo configuration lacks the target.
const HOST_PROGRAM: &str = "OCTOPOD_HOST_PROGRAM";

/// The only target for which rt0, the linker script and the interrupt stubs are written.
const TARGET: &str = "x86_64-unknown-none";

/// Refuses another bare-metal target.
fn check_target(target: &str) -> Result<(), String> {
    if target == TARGET {
        return Ok(());
    }
    Err(format!(
        "octopod runs on {TARGET} only, not on {target}; write into .cargo/config.toml: [build] target = \"{TARGET}\""
    ))
}

/// Checks the flags of the compiler, which each crate of a kernel must have: without frame pointers a backtrace ends after one
/// function, and the image must be position-independent code that does not use SSE registers, as an interrupt does not save them.
/// `features` and `panic` are what the compiler makes of the flags and the target.
///
/// # Errors
/// A flag is missing, or has a value that no kernel works with; with the line to write.
fn check_flags(encoded: &str, features: &str, panic: &str) -> Result<(), String> {
    let options = codegen_options(encoded);
    let last = |name: &str| options.iter().rev().find(|(key, _)| *key == name).map(|(_, value)| *value);
    let where_to = format!("write into .cargo/config.toml: [target.{TARGET}] rustflags =");
    if !matches!(last("force-frame-pointers"), Some("" | "y" | "yes" | "on" | "true" | "always")) {
        return Err(format!(
            "the kernel is built without frame pointers, so backtraces would end after one function; {where_to} \
             [\"-Cforce-frame-pointers=yes\"] (RUSTFLAGS, where it is set, replaces that line)"
        ));
    }
    // What the target has by itself is right.
    let panic = (panic != "abort").then_some(panic);
    for (name, value, right) in [
        ("relocation-model", last("relocation-model"), "pie"),
        ("code-model", last("code-model"), "kernel"),
        ("panic", last("panic").or(panic), "abort"),
    ] {
        if let Some(value) = value.filter(|value| *value != right) {
            return Err(format!(
                "the kernel is built with -C{name}={value}; leave the flag out, or set it to {right}"
            ));
        }
    }
    if last("target-cpu") == Some("native") {
        return Err(
            "the kernel is built with -Ctarget-cpu=native, the processor of the host, and runs on that of the machine; leave \
             the flag out, or name a processor that each machine has"
                .to_owned(),
        );
    }
    let is_vector = |feature: &&str| ["mmx", "sse", "avx"].iter().any(|name| feature.starts_with(name));
    match features.split(',').find(is_vector) {
        None => Ok(()),
        Some(feature) => Err(format!(
            "the kernel is built with the target feature {feature}, and an interrupt does not save the registers of MMX, SSE and \
             AVX; leave it out of -Ctarget-feature"
        )),
    }
}

/// Refuses flags that name a linker script: rt0 and the loaders rely on the layout of octopod's own, which comes with the crate.
///
/// # Errors
/// A flag names one; with the line to write.
pub(crate) fn check_scripts(encoded: &str) -> Result<(), String> {
    let names_script = |argument: &str| argument.starts_with("-T") || argument.starts_with("--script");
    for (name, value) in codegen_options(encoded) {
        if name.starts_with("link-arg") && value.split([' ', ',']).any(names_script) {
            return Err(format!(
                "-C{name}={value} names a linker script, and octopod's own comes with the crate; write into .cargo/config.toml: \
                 [target.{TARGET}] rustflags = [\"-Cforce-frame-pointers=yes\"]"
            ));
        }
    }
    Ok(())
}

/// The `-C` options among encoded flags, each with its value.
fn codegen_options(encoded: &str) -> Vec<(&str, &str)> {
    let mut words = encoded.split('\u{1f}');
    let mut options = Vec::new();
    while let Some(word) = words.next() {
        let option = match word {
            "-C" | "--codegen" => words.next(),
            _ => word.strip_prefix("-C").or_else(|| word.strip_prefix("--codegen=")),
        };
        options.extend(option.map(|option| option.split_once('=').unwrap_or((option, ""))));
    }
    options
}

/// Has every program that uses this crate linked by the linker script. The linker takes a file that it looks for as a library,
/// and that is no object, as a script; so the user's build needs neither a build script nor a path.
fn link_as_kernel(root: &Path) -> Result<(), String> {
    let out = variable("OUT_DIR")?;
    let copy = Path::new(&out).join(SCRIPT);
    fs::write(&copy, read(&root.join("linker/kernel.ld"))?)
        .map_err(|error| format!("{}: {error}", copy.display()))?;
    println!("cargo::rustc-link-search=native={out}");
    println!("cargo::rustc-link-lib=dylib:+verbatim={SCRIPT}");
    // Smaller than the relocations that a user's build has without this.
    println!("cargo::rustc-link-arg-bins=--pack-dyn-relocs=relr");
    Ok(())
}

/// The linker script's name among libraries.
const SCRIPT: &str = "octopod.ld";

/// Returns the generated source.
///
/// # Errors
/// The first error in the text, with its key or line.
fn constants_of(text: &str, stack_factor: i64) -> Result<String, String> {
    let values: toml::Table = text.parse().map_err(|error: toml::de::Error| {
        let line = error.span().map_or(0, |span| text[..span.start].lines().count());
        format!("line {line}: {}", error.message())
    })?;
    if let Some(unknown) = values.keys().find(|key| LIMITS.iter().all(|(known, ..)| known != key)) {
        let known: Vec<_> = LIMITS.iter().map(|(key, ..)| *key).collect();
        return Err(format!("unknown key `{unknown}` (known: {})", known.join(", ")));
    }
    let mut source = String::new();
    for &(key, least, most) in LIMITS {
        let found = values.get(key).ok_or(format!("the key `{key}` is missing"))?;
        let in_range = found.as_integer().filter(|value| (least..=most).contains(value));
        let value =
            in_range.ok_or(format!("`{key}` must be a whole number from {least} to {most}, not {found}"))?;
        let value = if STACKS.contains(&key) { stack_factor * value } else { value };
        let about = comment_above(text, key);
        if about.is_empty() {
            return Err(format!("`{key}` needs a comment above it"));
        }
        for line in about {
            let _ = writeln!(source, "///{line}");
        }
        let _ = writeln!(source, "pub const {}: {} = {value};\n", key.to_uppercase(), type_of(key)?);
    }
    Ok(source)
}

/// Returns a constant with the names of the crate's modules, which are the targets of its log.
fn modules_of(lib: &str) -> String {
    let lines = lib.lines().map(|line| line.strip_prefix("pub ").unwrap_or(line));
    let modules = lines.filter_map(|line| line.strip_prefix("mod ")?.strip_suffix(';'));
    let modules: Vec<_> = modules.map(|module| format!("{module:?}")).collect();
    format!("/// The kernel's top-level modules.\npub const MODULES: &[&str] = &[{}];\n", modules.join(", "))
}

/// Returns the constant's type for the unit at the end of the key.
fn type_of(key: &str) -> Result<&'static str, String> {
    match key.rsplit('_').next() {
        Some("cpus" | "hz") => Ok("u32"),
        Some("pages" | "nodes") => Ok("usize"),
        Some("ms") => Ok("u64"),
        _ => Err(format!("`{key}` does not end in a unit: _cpus, _hz, _pages, _nodes or _ms")),
    }
}

/// Returns the comment lines directly above a key, without `#`. The TOML parser drops comments, so this reads the text.
fn comment_above<'a>(text: &'a str, key: &str) -> Vec<&'a str> {
    let mut comment = Vec::new();
    for line in text.lines() {
        if let Some(line) = line.strip_prefix('#') {
            comment.push(line);
        } else if line.split('=').next().is_some_and(|word| word.trim() == key) {
            return comment;
        } else {
            comment.clear();
        }
    }
    Vec::new()
}

fn read(path: &Path) -> Result<String, String> {
    fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))
}

fn variable(name: &str) -> Result<String, String> {
    env::var(name).map_err(|error| format!("{name}: {error}; run this script by cargo"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The flag that each kernel needs, and these.
    fn checked(flags: &[&str], features: &str, panic: &str) -> Result<(), String> {
        check_flags(&[&["-Cforce-frame-pointers=yes"], flags].concat().join("\u{1f}"), features, panic)
    }

    #[test]
    fn a_build_without_frame_pointers_is_refused_with_the_line_to_write() {
        for flags in [
            "",
            "-Copt-level=1",
            "-Cforce-frame-pointers=no",
            "-Cforce-frame-pointers=yes\u{1f}-C\u{1f}force-frame-pointers=off",
        ] {
            let error = check_flags(flags, "fxsr", "abort").unwrap_err();
            assert!(
                error.contains("[target.x86_64-unknown-none] rustflags = [\"-Cforce-frame-pointers=yes\"]"),
                "{error}"
            );
        }
        for flags in [
            "-Cforce-frame-pointers",
            "-C\u{1f}force-frame-pointers=always",
            "--codegen=force-frame-pointers=on",
        ] {
            assert_eq!(check_flags(flags, "fxsr", "abort"), Ok(()), "{flags:?}");
        }
    }

    #[test]
    fn a_model_or_a_panic_that_no_kernel_works_with_is_refused() {
        for (name, right, wrong) in [
            ("relocation-model", "pie", "static"),
            ("code-model", "kernel", "large"),
            ("panic", "abort", "unwind"),
        ] {
            assert_eq!(checked(&[&format!("-C{name}={right}")], "fxsr", "abort"), Ok(()), "{name}");
            let refused = format!(
                "the kernel is built with -C{name}={wrong}; leave the flag out, or set it to {right}"
            );
            assert_eq!(checked(&["-C", &format!("{name}={wrong}")], "fxsr", "abort"), Err(refused), "{name}");
        }
        // A flag that is read elsewhere, such as the target's.
        let refused = "the kernel is built with -Cpanic=unwind; leave the flag out, or set it to abort";
        assert_eq!(checked(&[], "fxsr", "unwind"), Err(refused.to_owned()));
    }

    #[test]
    fn vector_registers_and_the_processor_of_the_host_are_refused() {
        assert_eq!(checked(&["-Ctarget-cpu=x86-64-v3"], "bmi1,bmi2,fxsr,popcnt,xsave", "abort"), Ok(()));
        for features in ["fxsr,sse", "avx,avx2,fxsr,sse,sse2", "fxsr,mmx"] {
            let error = checked(&[&format!("-Ctarget-feature=+{features}")], features, "abort").unwrap_err();
            assert!(error.contains("leave it out of -Ctarget-feature"), "{features}: {error}");
        }
        let error = checked(&["-Ctarget-cpu=native"], "adx,fxsr", "abort").unwrap_err();
        assert!(error.contains("-Ctarget-cpu=native, the processor of the host"), "{error}");
    }
}
