//! Programs that the compiler must refuse. Each file in `tests/soundness/` is a crate that depends on octopod for
//! `x86_64-unknown-none` and tries to break one safety rule with safe code.
//!
//! A file begins with its purpose (`//! …`) and with the expected errors, one or more lines of this form, in which the error
//! code is optional:
//!
//! ```text
//! //! refused: E0451 field `_not_send` of struct `IrqGuard` is private
//! ```
//!
//! The attempt stands under `#[cfg(attempt)]`. Without it the file must compile, so that a changed name or path fails this test
//! instead of counting as a refusal. With it, every error must be one that the file names, and every named error must occur.
//!
//! `cargo test -p octopod --test soundness` runs all. The environment variable `SOUNDNESS` selects the files whose name
//! contains its value.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use serde_json::Value;

const TARGET: &str = "x86_64-unknown-none";

#[test]
fn each_attempt_is_refused() {
    let octopod = Octopod::check();
    let wanted = std::env::var("SOUNDNESS").unwrap_or_default();
    let mut attempts: Vec<Attempt> = fs::read_dir(folder())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "rs"))
        .filter(|path| path.file_stem().unwrap().to_string_lossy().contains(&wanted))
        .map(Attempt::read)
        .collect();
    attempts.sort_by(|left, right| left.path.cmp(&right.path));
    assert!(!attempts.is_empty(), "no attempt is named {wanted}");
    let mut problems = String::new();
    if let Err(errors) = octopod.compile(&attempts, false) {
        let _ = writeln!(problems, "without what is attempted, the files do not compile:\n{errors}");
    }
    for (attempt, outcome) in attempts.iter().zip(octopod.compile_each(&attempts)) {
        if let Err(problem) = attempt.check(outcome) {
            let _ = writeln!(problems, "{}: {problem}", attempt.path.display());
        }
    }
    assert!(problems.is_empty(), "\n{problems}");
}

#[test]
fn the_check_can_fail() {
    let attempt = |text: &str| Attempt::parse(PathBuf::from("x.rs"), text);
    let one = attempt("//! Forges.\n//! refused: E0451 field `a`\n");
    let line = |code: &str, message: &str| format!("x.rs:3:1: error[{code}]: {message}\n");
    assert_eq!(one.check(Err(line("E0451", "field `a` of struct `B` is private"))), Ok(()));
    assert!(one.check(Ok(())).unwrap_err().contains("compiles"));
    assert!(one.check(Err(line("E0616", "field `a` of struct `B` is private"))).is_err());
    assert!(one.check(Err(line("E0451", "field `b` of struct `B` is private"))).is_err());
    let other = line("E0425", "cannot find value `c`");
    let both = line("E0451", "field `a` of struct `B` is private") + &other;
    assert!(one.check(Err(both)).unwrap_err().contains("E0425"));
    let without_code = attempt("//! refused: unknown start of token\n");
    assert_eq!(without_code.check(Err("x.rs:1:1: error: unknown start of token: \\\n".into())), Ok(()));
    // The summary at the end of a failed compilation is not an error of its own.
    let summary = "error: aborting due to 1 previous error\n";
    assert_eq!(one.check(Err(line("E0451", "field `a`") + summary)), Ok(()));
    assert!(std::panic::catch_unwind(|| attempt("//! Names no error.\n")).is_err());
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/soundness")
}

/// A file of the folder.
struct Attempt {
    path: PathBuf,
    refusals: Vec<Refusal>,
}

/// An expected compiler error.
struct Refusal {
    code: Option<String>,
    message: String,
}

impl Attempt {
    fn read(path: PathBuf) -> Attempt {
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.contains("#[cfg(attempt)]"), "{}: nothing is attempted", path.display());
        Attempt::parse(path, &text)
    }

    fn parse(path: PathBuf, text: &str) -> Attempt {
        let lines = text.lines().filter_map(|line| line.strip_prefix("//! refused: "));
        let refusals: Vec<Refusal> = lines.map(Refusal::parse).collect();
        assert!(!refusals.is_empty(), "{}: no error is named", path.display());
        Attempt { path, refusals }
    }

    /// Compares the compiler's output, in its short format, with the errors that the file names.
    fn check(&self, outcome: Result<(), String>) -> Result<(), String> {
        let Err(output) = outcome else { return Err("it compiles".into()) };
        let is_error = |line: &&str| line.contains(" error: ") || line.contains(" error[");
        let errors: Vec<&str> = output.lines().filter(is_error).collect();
        if let Some(other) = errors.iter().find(|line| !self.refusals.iter().any(|refusal| refusal.is(line)))
        {
            return Err(format!("refused for another reason:\n  {other}"));
        }
        match self.refusals.iter().find(|refusal| !errors.iter().any(|line| refusal.is(line))) {
            Some(missing) => {
                Err(format!("not refused with {:?} {:?}:\n{output}", missing.code, missing.message))
            }
            None => Ok(()),
        }
    }
}

impl Refusal {
    fn parse(line: &str) -> Refusal {
        let (first, rest) = line.split_once(' ').unwrap_or((line, ""));
        let digits = first.strip_prefix('E').filter(|digits| digits.len() == 4);
        match digits.is_some_and(|digits| digits.bytes().all(|byte| byte.is_ascii_digit())) {
            true => Refusal { code: Some(format!("error[{first}]")), message: rest.into() },
            false => Refusal { code: None, message: line.into() },
        }
    }

    fn is(&self, line: &str) -> bool {
        self.code.as_ref().is_none_or(|code| line.contains(code)) && line.contains(&self.message)
    }
}

/// The kernel's library, checked for its target.
struct Octopod {
    library: String,
    dependencies: BTreeSet<PathBuf>,
    scratch: tempfile::TempDir,
}

impl Octopod {
    /// Runs cargo once with all features, which must be sound as well.
    fn check() -> Octopod {
        let target_dir = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap();
        let output = Command::new(std::env::var_os("CARGO").unwrap_or("cargo".into()))
            .args(["check", "--package", "octopod", "--lib", "--all-features", "--target", TARGET])
            .args(["--message-format", "json-render-diagnostics", "--target-dir"])
            .arg(target_dir)
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .output()
            .unwrap();
        let messages = String::from_utf8_lossy(&output.stdout);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "octopod does not compile for {TARGET}:\n{errors}");
        let (mut library, mut dependencies) = (None, BTreeSet::new());
        for message in messages.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok()) {
            let Some(files) = message["filenames"].as_array() else { continue };
            for file in files.iter().filter_map(Value::as_str) {
                // The libraries of the dependencies, and procedural macros, which are built for the host.
                dependencies.insert(Path::new(file).parent().unwrap().to_path_buf());
                if message["target"]["name"] == "octopod" && file.ends_with(".rmeta") {
                    library = Some(file.to_string());
                }
            }
        }
        let library = library.expect("cargo reports octopod's library");
        Octopod { library, dependencies, scratch: tempfile::tempdir().unwrap() }
    }

    /// Checks a crate for each attempt, on all of the host's cores.
    fn compile_each(&self, attempts: &[Attempt]) -> Vec<Result<(), String>> {
        let next = AtomicUsize::new(0);
        let outcomes: Vec<OnceLock<_>> = attempts.iter().map(|_| OnceLock::new()).collect();
        let compile_next = || {
            loop {
                let index = next.fetch_add(1, Ordering::Relaxed);
                let Some(attempt) = attempts.get(index) else { return };
                outcomes[index].set(self.compile(std::slice::from_ref(attempt), true)).unwrap();
            }
        };
        thread::scope(|scope| {
            for _ in 0..thread::available_parallelism().map_or(1, usize::from) {
                scope.spawn(compile_next);
            }
        });
        outcomes.into_iter().map(|outcome| outcome.into_inner().unwrap()).collect()
    }

    /// Checks a crate that depends on octopod and has these files as modules, with or without the attempts. The error is the
    /// compiler's output, one line for each message.
    fn compile(&self, files: &[Attempt], attempt: bool) -> Result<(), String> {
        let mut root = String::from("#![no_std]\n");
        for file in files {
            let name = file.path.file_stem().unwrap().to_str().unwrap();
            let _ = writeln!(root, "#[path = {:?}]\nmod {name};", file.path);
        }
        let name = files[0].path.file_stem().unwrap().to_str().unwrap();
        let root_path =
            self.scratch.path().join(format!("{}_{name}.rs", if attempt { "attempt" } else { "without" }));
        fs::write(&root_path, root).unwrap();
        let mut command = Command::new(std::env::var_os("RUSTC").unwrap_or("rustc".into()));
        command
            .args(["--edition", "2024", "--crate-type", "lib", "--target", TARGET, "--emit", "metadata"])
            .args(["--error-format", "short", "--cap-lints", "allow", "--check-cfg", "cfg(attempt)"])
            .arg("--extern")
            .arg(format!("octopod={}", self.library))
            .args(self.dependencies.iter().map(|folder| format!("-Ldependency={}", folder.display())))
            .arg("--out-dir")
            .arg(self.scratch.path())
            .arg(root_path);
        if attempt {
            command.args(["--cfg", "attempt"]);
        }
        let output = command.output().unwrap();
        match output.status.success() {
            true => Ok(()),
            false => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
        }
    }
}
