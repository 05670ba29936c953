//! What moves on a terminal while work goes on; where no terminal is, a line about it now and then.

use std::time::{Duration, Instant};

use indicatif::{HumanCount, MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use octopod::wire::Progress;

use super::each_cpu::EachCpu;

/// From one picture of a spinner to the next.
const TICK: Duration = Duration::from_millis(100);

/// What the bar shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shown {
    Nothing,
    Step,
    Count,
    Workload,
}

/// A bar, and below it a line for the CPUs. All of it hides itself where standard error is no terminal.
pub struct Bars {
    all: MultiProgress,
    bar: ProgressBar,
    each_cpu: ProgressBar,
    shown: Shown,
    rates: EachCpu,
    tells: Tells,
}

impl Bars {
    /// Bars, or a line each `interval`. `quiet`: neither.
    pub fn new(quiet: bool, interval: Duration) -> Bars {
        let all = MultiProgress::new();
        if quiet {
            all.set_draw_target(ProgressDrawTarget::hidden());
        }
        let tells = Tells { interval: (!quiet && all.is_hidden()).then_some(interval), last: Instant::now() };
        Bars {
            bar: all.add(ProgressBar::new_spinner()),
            each_cpu: ProgressBar::new_spinner(),
            all,
            shown: Shown::Nothing,
            rates: EachCpu::default(),
            tells,
        }
    }

    /// Does something to the terminal that the bars would be in the way of.
    pub fn suspend(&self, f: impl FnOnce()) {
        self.all.suspend(f);
    }

    /// A step that nobody can count. Returns what to say of it, where nothing moves and it is time to.
    pub fn step(&mut self, text: &str) -> Option<String> {
        if self.show(Shown::Step, "{spinner} {wide_msg}") {
            self.bar.enable_steady_tick(TICK);
        }
        self.bar.set_message(text.to_owned());
        self.tells.due(|| text.to_owned())
    }

    /// A step of which `done` parts of so many are done. Returns what to say, as [`Bars::step`].
    pub fn count(&mut self, what: &str, done: u64, of: u64, now: &str) -> Option<String> {
        if self.show(Shown::Count, "{prefix} {bar:24} {pos} of {len}  {wide_msg}") {
            self.bar.enable_steady_tick(TICK);
        }
        self.bar.set_prefix(what.to_owned());
        self.bar.set_length(of);
        self.bar.set_position(done.min(of));
        self.bar.set_message(now.to_owned());
        self.tells.due(|| {
            let now = if now.is_empty() { String::new() } else { format!(": {now}") };
            format!("{what}, {} of {}{now}", HumanCount(done), HumanCount(of))
        })
    }

    /// A workload, and what each CPU does. Returns what to say, as [`Bars::step`].
    pub fn workload(&mut self, progress: &Progress<String>) -> Option<String> {
        if self.show(Shown::Workload, "{prefix} {wide_bar} {msg}") {
            self.bar.disable_steady_tick();
            self.each_cpu = self.all.add(ProgressBar::new_spinner());
            self.each_cpu.set_style(style("{wide_msg}"));
        }
        let Progress { workload, allocator, index, of, .. } = progress;
        let place = if allocator == "octopod" { String::new() } else { format!(" on {allocator}") };
        let name = format!("{}/{of} {workload}{place}", index + 1);
        let seconds = |ms: u64| ms as f64 / 1000.0;
        let message = format!(
            "{:.1} of {:.1} s, {} operations",
            seconds(progress.elapsed_ms),
            seconds(progress.budget_ms),
            HumanCount(progress.operations)
        );
        self.bar.set_length(progress.budget_ms);
        self.bar.set_position(progress.elapsed_ms.min(progress.budget_ms));
        let line = self.rates.line(progress);
        if let Some(line) = &line {
            self.each_cpu.set_message(line.clone());
        }
        let told = self.tells.due(|| {
            let line = line.map(|line| format!("; {line}")).unwrap_or_default();
            format!("{name}: {message}{line}")
        });
        self.bar.set_prefix(name);
        self.bar.set_message(message);
        told
    }

    /// Nothing moves any more.
    pub fn clear(&mut self) {
        self.each_cpu.finish_and_clear();
        self.bar.finish_and_clear();
        self.shown = Shown::Nothing;
    }

    /// Makes the bar one of that kind. Whether it was of another.
    fn show(&mut self, kind: Shown, template: &str) -> bool {
        if self.shown == kind {
            return false;
        }
        if self.shown == Shown::Workload {
            self.each_cpu.finish_and_clear();
            self.all.remove(&self.each_cpu);
        }
        if self.bar.is_finished() {
            self.bar.reset();
        }
        self.bar.set_style(style(template));
        self.shown = kind;
        true
    }
}

/// Says something now and then, and not at once: what is over by then needs no words.
struct Tells {
    /// `None` where something moves, or nothing is to be said.
    interval: Option<Duration>,
    last: Instant,
}

impl Tells {
    fn due(&mut self, text: impl FnOnce() -> String) -> Option<String> {
        if self.last.elapsed() < self.interval? {
            return None;
        }
        self.last = Instant::now();
        Some(text())
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}
