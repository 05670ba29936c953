//! The table of commands: names, arguments, help. Parsing, help, usage and completion use it. To add a command, add a row, and
//! its arm in `session.rs`.

use core::fmt;

use super::command::{Command, Tracing, View};
use crate::config::MAX_CPUS;
use crate::cpu::CpuId;
use crate::stress::workloads::{Workload, defaults};

/// The longest time of a stress, in milliseconds: ten minutes, as the shell takes no other command meanwhile.
pub(crate) const MAX_STRESS_MS: u64 = 600_000;

/// One command.
pub(crate) struct Row {
    /// Its first word.
    pub name: &'static str,
    /// The forms of its arguments.
    pub forms: &'static [&'static [Argument]],
    /// Its effect, in one line without a full stop.
    pub about: &'static str,
    /// Makes the command from the arguments of one of the forms.
    pub(super) make: fn(&[Value]) -> Option<Command>,
}

/// An argument of a form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Argument {
    /// This word.
    Word(&'static str),
    /// The name of a command.
    Command,
    /// The number of a CPU.
    Cpu,
    /// The number of a thread.
    Thread,
    /// A virtual address.
    Address,
    /// A number of milliseconds, at most [`MAX_STRESS_MS`].
    Milliseconds,
    /// The name of a workload other than `replay`, whose trace comes from the boot loader.
    Workload,
    /// The name of a benchmark.
    Benchmark,
}

/// A parsed argument.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Value {
    /// [`Argument::Word`]
    Word(&'static str),
    /// [`Argument::Command`], as its index in [`ROWS`].
    Command(usize),
    /// [`Argument::Cpu`]
    Cpu(CpuId),
    /// [`Argument::Thread`]
    Thread(u64),
    /// [`Argument::Address`]
    Address(u64),
    /// [`Argument::Milliseconds`]
    Milliseconds(u64),
    /// [`Argument::Workload`]
    Workload(&'static Workload),
    /// [`Argument::Benchmark`]
    Benchmark(&'static str),
}

use Argument::Word;

/// A form without arguments.
const ALONE: &[Argument] = &[];

/// All commands, in the order of `help`.
pub(crate) const ROWS: &[Row] = &[
    Row {
        name: "help",
        forms: &[ALONE, &[Argument::Command]],
        about: "list the commands, or show the usage of one",
        make: |values| match values {
            [] => Some(Command::Help(None)),
            [Value::Command(row)] => Some(Command::Help(Some(*row))),
            _ => None,
        },
    },
    Row {
        name: "cpus",
        forms: &[ALONE],
        about: "show the state of each CPU, its interrupts and calls",
        make: |_| Some(Command::Cpus),
    },
    Row {
        name: "threads",
        forms: &[ALONE],
        about: "show the state, the affinity and the deepest use of the stack of each thread",
        make: |_| Some(Command::Threads),
    },
    Row {
        name: "thread",
        forms: &[&[Argument::Thread]],
        about: "show a thread: how it is scheduled, its stack and its backtrace",
        make: |values| match values {
            [Value::Thread(thread)] => Some(Command::Thread(*thread)),
            _ => None,
        },
    },
    Row {
        name: "top",
        forms: &[ALONE],
        about: "show how busy each CPU was since the last call, its switches, and the threads that ran most",
        make: |_| Some(Command::Top),
    },
    Row {
        name: "mem",
        forms: &[
            ALONE,
            &[Word("map")],
            &[Word("frames")],
            &[Word("heap")],
            &[Word("mappings")],
            &[Word("tables"), Argument::Address],
        ],
        about: "show memory: a summary, the memory map, free frames by order, the heap, mappings, the page-table walk of an address",
        make: |values| match values {
            [] => Some(Command::Memory(View::Summary)),
            [Value::Word("map")] => Some(Command::Memory(View::Map)),
            [Value::Word("frames")] => Some(Command::Memory(View::Frames)),
            [Value::Word("heap")] => Some(Command::Memory(View::Heap)),
            [Value::Word("mappings")] => Some(Command::Memory(View::Mappings)),
            [Value::Word("tables"), Value::Address(address)] => Some(Command::Memory(View::Tables(*address))),
            _ => None,
        },
    },
    Row {
        name: "irq",
        forms: &[ALONE],
        about: "show interrupts by vector and CPU",
        make: |_| Some(Command::Interrupts),
    },
    Row {
        name: "timers",
        forms: &[ALONE],
        about: "show the timers of each CPU",
        make: |_| Some(Command::Timers),
    },
    Row {
        name: "stress",
        forms: &[
            ALONE,
            &[Argument::Workload],
            &[Argument::Milliseconds],
            &[Argument::Workload, Argument::Milliseconds],
        ],
        about: "run workloads on all CPUs, and check that no frame is lost or allocated twice",
        make: |values| match *values {
            [] => Some(Command::Stress { workload: None, ms: None }),
            [Value::Workload(workload)] => Some(Command::Stress { workload: Some(workload), ms: None }),
            [Value::Milliseconds(ms)] => Some(Command::Stress { workload: None, ms: Some(ms) }),
            [Value::Workload(workload), Value::Milliseconds(ms)] => {
                Some(Command::Stress { workload: Some(workload), ms: Some(ms) })
            }
            _ => None,
        },
    },
    Row {
        name: "bench",
        forms: &[ALONE, &[Argument::Benchmark]],
        about: "measure costs in TSC cycles, or in instructions where the TSC counts those",
        make: |values| match values {
            [] => Some(Command::Bench(None)),
            [Value::Benchmark(name)] => Some(Command::Bench(Some(name))),
            _ => None,
        },
    },
    Row {
        name: "trace",
        forms: &[&[Word("on")], &[Word("off")], &[Word("dump")]],
        about: "start or stop recording events on each CPU, or show the newest",
        make: |values| match values {
            [Value::Word("on")] => Some(Command::Trace(Tracing::On)),
            [Value::Word("off")] => Some(Command::Trace(Tracing::Off)),
            [Value::Word("dump")] => Some(Command::Trace(Tracing::Dump)),
            _ => None,
        },
    },
    Row {
        name: "call",
        forms: &[&[Argument::Cpu]],
        about: "call a CPU, and show the times",
        make: |values| of_cpu(values, Command::Call),
    },
    Row {
        name: "offline",
        forms: &[&[Argument::Cpu], &[Argument::Cpu, Word("break")]],
        about: "take a CPU offline; with `break`, threads that may run nowhere else lose their affinity and move",
        make: |values| match *values {
            [Value::Cpu(cpu)] => Some(Command::Offline { cpu, breaks_affinity: false }),
            [Value::Cpu(cpu), Value::Word("break")] => Some(Command::Offline { cpu, breaks_affinity: true }),
            _ => None,
        },
    },
    Row {
        name: "online",
        forms: &[&[Argument::Cpu]],
        about: "bring a CPU online",
        make: |values| of_cpu(values, Command::Online),
    },
    Row {
        name: "backtrace",
        forms: &[ALONE, &[Argument::Cpu]],
        about: "show the backtrace of a CPU, or of each",
        make: |values| match values {
            [] => Some(Command::Backtrace(None)),
            values => of_cpu(values, |cpu| Command::Backtrace(Some(cpu))),
        },
    },
    Row { name: "panic", forms: &[ALONE], about: "panic", make: |_| Some(Command::Panic) },
    Row { name: "reboot", forms: &[ALONE], about: "reset the machine", make: |_| Some(Command::Reboot) },
    Row { name: "poweroff", forms: &[ALONE], about: "end the run", make: |_| Some(Command::PowerOff) },
];

fn of_cpu(values: &[Value], make: fn(CpuId) -> Command) -> Option<Command> {
    match values {
        [Value::Cpu(cpu)] => Some(make(*cpu)),
        _ => None,
    }
}

/// The workloads that the command `stress` accepts.
pub(crate) fn workloads() -> impl Iterator<Item = &'static Workload> {
    defaults()
}

impl Argument {
    /// Displays what the argument must be.
    pub(crate) fn wanted(self) -> Wanted {
        Wanted(self)
    }
}

impl fmt::Display for Argument {
    /// As in usage lines.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Argument::Word(word) => word,
            Argument::Command => "COMMAND",
            Argument::Cpu => "CPU",
            Argument::Thread => "ID",
            Argument::Address => "ADDRESS",
            Argument::Milliseconds => "MS",
            Argument::Workload => "WORKLOAD",
            Argument::Benchmark => "BENCHMARK",
        })
    }
}

/// Displays what an argument must be.
pub(crate) struct Wanted(Argument);

impl fmt::Display for Wanted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Argument::Word(word) => write!(f, "`{word}`"),
            Argument::Command => f.write_str("a command"),
            Argument::Cpu => write!(f, "a CPU's number, 0 to {}", MAX_CPUS - 1),
            Argument::Thread => f.write_str("a thread's number"),
            Argument::Address => f.write_str("an address, as 0x100000"),
            Argument::Milliseconds => write!(f, "a number of milliseconds, 1 to {MAX_STRESS_MS}"),
            Argument::Workload => f.write_str("a workload"),
            Argument::Benchmark => f.write_str("a benchmark"),
        }
    }
}

/// Displays the usage: every form.
impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, form) in self.forms.iter().enumerate() {
            let or = if index == 0 { "" } else { " | " };
            write!(f, "{or}{}", self.name)?;
            form.iter().try_for_each(|argument| write!(f, " {argument}"))?;
        }
        Ok(())
    }
}

impl fmt::Debug for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}
