//! What the launcher can be told to do, and by whom the guest's code is run.

use clap::ValueEnum;

/// What the launcher is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Mode {
    /// Bring all CPUs up, say how long each stage took, and end.
    Boot,
    /// Boot, then let all CPUs race for frames, and prove that none was lost or handed out twice.
    Stress,
    /// Count the instructions that things cost, and compare with the limits in config/bench.toml. Under TCG, on one CPU;
    /// the other answers calls.
    Bench,
    /// Boot an example of the package, a kernel of one's own: the one that --example names.
    Run,
    /// Boot, then do what is typed: `help` lists the commands, Ctrl-D ends the run, Ctrl-] does so at once. Reads lines where
    /// standard input is no terminal.
    Shell,
    /// Start the machine, wait for gdb before its first instruction, and print the line to type.
    Gdb,
    /// Run the rows of config/machines.toml, several at once, and say which did not do what they must.
    Matrix,
    /// The long tiers, by name or all: boots, stress, loom, shuttle, model, miri, mutants, fuzz.
    Soak,
    /// Draw the pages of a run again, or set two runs side by side: folders of runs, or their report.json.
    Report,
    /// Say what is there, what is missing, and what each part is for; boot nothing, install nothing.
    Doctor,
}

impl Mode {
    /// Its name, on the launcher's command line.
    pub fn name(self) -> &'static str {
        match self {
            Mode::Boot => "boot",
            Mode::Stress => "stress",
            Mode::Bench => "bench",
            Mode::Run => "run",
            Mode::Shell => "shell",
            Mode::Gdb => "gdb",
            Mode::Matrix => "matrix",
            Mode::Soak => "soak",
            Mode::Report => "report",
            Mode::Doctor => "doctor",
        }
    }

    /// What the kernel is told to do, as `work=`.
    pub(super) fn work(self) -> &'static str {
        match self {
            // An example does what it does.
            Mode::Gdb | Mode::Run => Mode::Boot.name(),
            other => other.name(),
        }
    }

    /// Whether it boots a kernel, one.
    pub fn boots(self) -> bool {
        matches!(self, Mode::Boot | Mode::Stress | Mode::Bench | Mode::Run | Mode::Shell | Mode::Gdb)
    }
}

/// `--accel`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum AccelChoice {
    /// KVM where the processor shows vmx or svm and /dev/kvm opens; else TCG.
    Auto,
    /// The host's processor.
    Kvm,
    /// QEMU's own translator.
    Tcg,
}

impl AccelChoice {
    /// Its name, on the command line.
    pub fn name(self) -> &'static str {
        match self {
            AccelChoice::Auto => "auto",
            AccelChoice::Kvm => "kvm",
            AccelChoice::Tcg => "tcg",
        }
    }
}
