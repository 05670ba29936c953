//! The completion scripts: each shell that is installed parses its own, and completes the launcher's commands and options.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The shells, each with a command that completes `octopod ma` and `octopod boot --acc`, given the script's path as its first
/// argument, and prints the candidates.
const SHELLS: [(&str, &str); 3] = [
    (
        "bash",
        r#"source "$1"
        COMP_WORDS=(octopod ma) COMP_CWORD=1; _octopod octopod ma octopod; printf '%s\n' "${COMPREPLY[@]}"
        COMP_WORDS=(octopod boot --acc) COMP_CWORD=2; _octopod octopod --acc boot; printf '%s\n' "${COMPREPLY[@]}""#,
    ),
    // Candidates of zsh need a terminal. `compinit` shows that the script registers itself.
    (
        "zsh",
        r#"autoload -U compinit; compinit -D -u; source "$1"; [ "$_comps[octopod]" = _octopod ] && print matrix --accel"#,
    ),
    ("fish", r#"source $argv[1]; complete -C "octopod ma"; complete -C "octopod boot --acc""#),
];

fn launcher() -> PathBuf {
    std::env::var_os("CARGO_BIN_EXE_octopod")
        .map_or_else(|| env!("CARGO_BIN_EXE_octopod").into(), PathBuf::from)
}

/// The standard output of a program that must succeed.
fn output(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && errors.is_empty(), "{command:?}: {}\n{errors}", output.status);
    String::from_utf8(output.stdout).unwrap()
}

/// The shell's program, without the user's own settings.
fn shell(name: &str) -> Command {
    let mut command = Command::new(name);
    command.arg(match name {
        "bash" => "--norc",
        "zsh" => "-f",
        _ => "--no-config",
    });
    command
}

fn is_installed(name: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder: PathBuf| folder.join(name).is_file())
}

/// The names of the launcher's commands, by its own help.
fn commands() -> Vec<String> {
    let help = output(Command::new(launcher()).arg("--help"));
    let list = help.split_once("Commands:\n").expect("a list of commands").1;
    let rows = list.lines().take_while(|line| !line.is_empty());
    // The rest of a description begins further to the right.
    let names = rows.filter(|line| line.starts_with("  ") && !line.starts_with("   "));
    names.map(|line| line.split_whitespace().next().unwrap().to_owned()).collect()
}

fn write_script(folder: &Path, name: &str) -> (PathBuf, String) {
    let script = output(Command::new(launcher()).args(["completions", name]));
    let file = folder.join(name);
    fs::write(&file, &script).unwrap();
    (file, script)
}

#[test]
fn each_script_names_each_command() {
    let commands = commands();
    assert!(commands.len() > 10 && commands.contains(&"completions".to_owned()), "{commands:?}");
    let folder = tempfile::tempdir().unwrap();
    for (name, _) in SHELLS {
        let (_, script) = write_script(folder.path(), name);
        let is_word = |text: &str, word: &str| {
            text.split(|character: char| !character.is_alphanumeric() && character != '-')
                .any(|part| part == word)
        };
        let missing: Vec<_> = commands.iter().filter(|command| !is_word(&script, command)).collect();
        assert!(missing.is_empty(), "{name}: {missing:?}");
    }
}

#[test]
fn installed_shells_parse_their_scripts_and_complete_commands_and_options() {
    assert!(is_installed("bash"), "the tests of octopod need bash");
    let folder = tempfile::tempdir().unwrap();
    for (name, complete) in SHELLS.iter().filter(|(name, _)| is_installed(name)) {
        let (script, text) = write_script(folder.path(), name);
        output(shell(name).arg("-n").arg(&script));
        // A shell that accepts anything would show nothing.
        let broken = folder.path().join("broken");
        fs::write(&broken, text + "\nif (\n").unwrap();
        assert!(!shell(name).arg("-n").arg(&broken).output().unwrap().status.success(), "{name}");
        let mut command = shell(name);
        command.arg("-c").arg(complete);
        // The first argument of a script by -c is $0, but in fish.
        if *name != "fish" {
            command.arg(name);
        }
        let candidates = output(command.arg(&script).env("HOME", folder.path()).current_dir(folder.path()));
        let words: Vec<_> = candidates.split_whitespace().collect();
        assert!(words.contains(&"matrix") && words.contains(&"--accel"), "{name}: {candidates}");
    }
}
