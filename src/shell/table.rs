//! The commands: their names, what may stand behind them, and what they are for. Parsing, help, usage and completion all
//! come from here; to add a command, add a row and its arm in `run`.

use core::fmt;

use super::command::{Command, Tracing, View};
use crate::config::MAX_CPUS;
use crate::cpu::CpuId;
use crate::stress::workloads::{Workload, defaults};

/// The longest that a stress may be asked to take, in milliseconds: ten minutes, for nothing else is done meanwhile.
pub const MAX_STRESS_MS: u64 = 600_000;

/// One command.
pub struct Row {
    /// Its first word.
    pub name: &'static str,
    /// What may stand behind that: one of these, each a word or nothing for each place.
    pub forms: &'static [&'static [Argument]],
    /// What it does, in one line without a full stop.
    pub about: &'static str,
    /// What is meant by the arguments of one of the forms.
    pub(super) make: fn(&[Value]) -> Option<Command>,
}

/// What may stand in one place of a form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Argument {
    /// This very word.
    Word(&'static str),
    /// The name of a command.
    Command,
    /// A CPU's number.
    Cpu,
    /// A virtual address.
    Address,
    /// A number of milliseconds, at most [`MAX_STRESS_MS`].
    Milliseconds,
    /// The name of a workload, but for `replay`, whose trace comes from the loader.
    Workload,
    /// The name of a benchmark.
    Benchmark,
}

/// An argument that was understood.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Value {
    /// [`Argument::Word`]
    Word(&'static str),
    /// [`Argument::Command`], as its place in [`ROWS`].
    Command(usize),
    /// [`Argument::Cpu`]
    Cpu(CpuId),
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
pub const ROWS: &[Row] = &[
    Row {
        name: "help",
        forms: &[ALONE, &[Argument::Command]],
        about: "the commands, or how one is used",
        make: |values| match values {
            [] => Some(Command::Help(None)),
            [Value::Command(row)] => Some(Command::Help(Some(*row))),
            _ => None,
        },
    },
    Row {
        name: "cpus",
        forms: &[ALONE],
        about: "each CPU, where it is and what it has done",
        make: |_| Some(Command::Cpus),
    },
    Row {
        name: "mem",
        forms: &[ALONE, &[Word("map")], &[Word("frames")], &[Word("tables"), Argument::Address]],
        about: "memory: a summary, all of the map, what is free in which pieces, how an address is mapped",
        make: |values| match values {
            [] => Some(Command::Memory(View::Summary)),
            [Value::Word("map")] => Some(Command::Memory(View::Map)),
            [Value::Word("frames")] => Some(Command::Memory(View::Frames)),
            [Value::Word("tables"), Value::Address(address)] => Some(Command::Memory(View::Tables(*address))),
            _ => None,
        },
    },
    Row {
        name: "irq",
        forms: &[ALONE],
        about: "interrupts by vector and CPU",
        make: |_| Some(Command::Interrupts),
    },
    Row {
        name: "timers",
        forms: &[ALONE],
        about: "what each CPU has armed, and what is overdue",
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
        about: "let all CPUs race for frames, and check that none was lost or handed out twice",
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
        about: "what things cost, in cycles of this machine, or in instructions where those are counted",
        make: |values| match values {
            [] => Some(Command::Bench(None)),
            [Value::Benchmark(name)] => Some(Command::Bench(Some(name))),
            _ => None,
        },
    },
    Row {
        name: "trace",
        forms: &[&[Word("on")], &[Word("off")], &[Word("dump")]],
        about: "record what happens on each CPU, or do not, or show what came last",
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
        about: "call a CPU, and say how long the answer took",
        make: |values| of_cpu(values, Command::Call),
    },
    Row {
        name: "offline",
        forms: &[&[Argument::Cpu]],
        about: "take a CPU offline",
        make: |values| of_cpu(values, Command::Offline),
    },
    Row {
        name: "online",
        forms: &[&[Argument::Cpu]],
        about: "bring a CPU back",
        make: |values| of_cpu(values, Command::Online),
    },
    Row {
        name: "backtrace",
        forms: &[ALONE, &[Argument::Cpu]],
        about: "where a CPU is, or each of them",
        make: |values| match values {
            [] => Some(Command::Backtrace(None)),
            values => of_cpu(values, |cpu| Command::Backtrace(Some(cpu))),
        },
    },
    Row { name: "panic", forms: &[ALONE], about: "panic, on purpose", make: |_| Some(Command::Panic) },
    Row { name: "reboot", forms: &[ALONE], about: "reset the machine", make: |_| Some(Command::Reboot) },
    Row { name: "poweroff", forms: &[ALONE], about: "end the run", make: |_| Some(Command::PowerOff) },
];

fn of_cpu(values: &[Value], make: fn(CpuId) -> Command) -> Option<Command> {
    match values {
        [Value::Cpu(cpu)] => Some(make(*cpu)),
        _ => None,
    }
}

/// The workloads that can be asked for.
pub fn workloads() -> impl Iterator<Item = &'static Workload> {
    defaults()
}

impl Argument {
    /// What an argument must be, where a word was not that.
    pub fn wanted(self) -> Wanted {
        Wanted(self)
    }
}

impl fmt::Display for Argument {
    /// As usage lines show it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Argument::Word(word) => word,
            Argument::Command => "COMMAND",
            Argument::Cpu => "CPU",
            Argument::Address => "ADDRESS",
            Argument::Milliseconds => "MS",
            Argument::Workload => "WORKLOAD",
            Argument::Benchmark => "BENCHMARK",
        })
    }
}

/// What an argument must be, in words.
pub struct Wanted(Argument);

impl fmt::Display for Wanted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Argument::Word(word) => write!(f, "`{word}`"),
            Argument::Command => f.write_str("a command"),
            Argument::Cpu => write!(f, "a CPU's number, 0 to {}", MAX_CPUS - 1),
            Argument::Address => f.write_str("an address, as 0x100000"),
            Argument::Milliseconds => write!(f, "a number of milliseconds, 1 to {MAX_STRESS_MS}"),
            Argument::Workload => f.write_str("a workload"),
            Argument::Benchmark => f.write_str("a benchmark"),
        }
    }
}

/// Its usage: every form.
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
