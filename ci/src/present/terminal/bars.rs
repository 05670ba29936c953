//! Progress during the work: bars on a terminal, elsewhere a line from time to time.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use std::{fmt, mem};

use indicatif::{HumanCount, ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};
use octopod::wire::Progress;

use crate::base::text;

use crate::present::terminal::each_cpu::EachCpu;

/// From one picture of a spinner to the next.
const TICK: Duration = Duration::from_millis(100);

/// The quantity that the bar shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shown {
    Nothing,
    Step,
    Count,
    Workload,
}

/// The text beside the bar. All of it changes before the next draw, whereas each of the library's own setters draws.
#[derive(Debug, Default)]
struct Words {
    before: String,
    behind: String,
    below: String,
}

/// A bar, and below it a line for the CPUs. All of it hides itself where standard error is no terminal.
pub(crate) struct Bars {
    bar: ProgressBar,
    words: Arc<Mutex<Words>>,
    shown: Shown,
    rates: EachCpu,
    tells: Tells,
}

impl Bars {
    /// Bars drawn on `target`, or a line each `interval`. `quiet`: neither.
    pub(crate) fn new(target: ProgressDrawTarget, quiet: bool, interval: Duration) -> Bars {
        let bar = if quiet {
            ProgressBar::hidden()
        } else {
            ProgressBar::with_draw_target(None, target).with_style(ProgressStyle::default_spinner())
        };
        let interval = (!quiet && bar.is_hidden()).then_some(interval);
        Bars::over(bar, interval)
    }

    fn over(bar: ProgressBar, interval: Option<Duration>) -> Bars {
        let tells = Tells { interval, last: Instant::now() };
        Bars { bar, words: Arc::default(), shown: Shown::Nothing, rates: EachCpu::default(), tells }
    }

    /// Does something to the terminal that the bars would be in the way of.
    pub(crate) fn suspend(&self, f: impl FnOnce()) {
        self.bar.suspend(f);
    }

    /// A step without a count. Returns the line to print, where no bar moves and the time for one has come.
    pub(crate) fn step(&mut self, words: &str) -> Option<String> {
        if self.show(Shown::Step, "{spinner} {wide_msg}") {
            self.bar.enable_steady_tick(TICK);
        }
        let words = text::line(words);
        self.bar.set_message(words.clone());
        self.tells.due(|| words)
    }

    /// A step of which `done` parts of so many are done. Returns what to say, as [`Bars::step`].
    pub(crate) fn count(&mut self, what: &str, done: u64, of: u64, now: &str) -> Option<String> {
        *self.words() = Words { before: what.to_owned(), ..Words::default() };
        if self.show(Shown::Count, "{before} {bar:24} {pos} of {len}  {wide_msg}") {
            self.bar.enable_steady_tick(TICK);
        }
        self.fill(done, of);
        let now = text::line(now);
        self.bar.set_message(now.clone());
        self.tells.due(|| {
            let now = if now.is_empty() { String::new() } else { format!(": {now}") };
            format!("{what}, {} of {}{now}", HumanCount(done), HumanCount(of))
        })
    }

    /// A workload, and what each CPU does. Returns what to say, as [`Bars::step`].
    pub(crate) fn workload(&mut self, progress: &Progress<String>) -> Option<String> {
        let Progress { workload, allocator, index, of, .. } = progress;
        let place = if allocator == "octopod" { String::new() } else { format!(" on {allocator}") };
        let name = text::line(&format!("{}/{of} {workload}{place}", u64::from(*index) + 1));
        let seconds = |ms: u64| ms as f64 / 1000.0;
        let figures = format!(
            "{:.1} of {:.1} s, {} operations",
            seconds(progress.elapsed_ms),
            seconds(progress.budget_ms),
            HumanCount(progress.operations)
        );
        let line = self.rates.line(progress);
        let told = self.tells.due(|| {
            let line = line.as_deref().map(|line| format!("; {line}")).unwrap_or_default();
            format!("{name}: {figures}{line}")
        });
        // A record without news leaves the line as it was.
        let below = line.unwrap_or_else(|| mem::take(&mut self.words().below));
        *self.words() = Words { before: name, behind: figures, below };
        if self.show(Shown::Workload, "{before} {wide_bar} {behind}\n{below}") {
            self.bar.disable_steady_tick();
        }
        self.fill(progress.elapsed_ms, progress.budget_ms);
        told
    }

    fn words(&self) -> MutexGuard<'_, Words> {
        locked(&self.words)
    }

    fn fill(&self, done: u64, of: u64) {
        self.bar.update(|state| {
            state.set_len(of);
            state.set_pos(done.min(of));
        });
    }

    /// Nothing moves any more.
    pub(crate) fn clear(&mut self) {
        self.bar.finish_and_clear();
        self.shown = Shown::Nothing;
    }

    fn style(&self, template: &str) -> ProgressStyle {
        let key = |text: fn(&Words) -> &str| {
            let words = self.words.clone();
            move |_: &ProgressState, to: &mut dyn fmt::Write| {
                // The progress bar has no use for the error.
                let _ = to.write_str(text(&locked(&words)));
            }
        };
        ProgressStyle::with_template(template)
            .unwrap_or_else(|_| ProgressStyle::default_bar())
            .with_key("before", key(|words| &words.before))
            .with_key("behind", key(|words| &words.behind))
            .with_key("below", key(|words| &words.below))
    }

    /// Makes the bar one of that kind. Whether it was of another.
    fn show(&mut self, kind: Shown, template: &str) -> bool {
        if self.shown == kind {
            return false;
        }
        if self.bar.is_finished() {
            self.bar.reset();
        }
        self.bar.set_style(self.style(template));
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

fn locked(words: &Mutex<Words>) -> MutexGuard<'_, Words> {
    words.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use indicatif::InMemoryTerm;

    use super::*;

    fn record(index: u32, elapsed_ms: u64, operations: u64) -> Progress<String> {
        Progress {
            workload: ["pairs", "bulk"][index as usize].to_owned(),
            allocator: "octopod".to_owned(),
            cpus: 1,
            index,
            of: 2,
            elapsed_ms,
            budget_ms: 1000,
            operations,
            lanes: [operations].into_iter().collect(),
        }
    }

    #[test]
    fn nothing_of_what_was_is_drawn_beside_what_is() {
        let terminal = InMemoryTerm::new(4, 60);
        let target = ProgressDrawTarget::term_like(Box::new(terminal.clone()));
        let mut bars = Bars::over(ProgressBar::with_draw_target(None, target), None);
        bars.step("booting");
        bars.workload(&record(0, 500, 1000));
        assert_eq!(
            terminal.contents(),
            "1/2 pairs █████████░░░░░░░░░░ 0.5 of 1.0 s, 1,000 operations\nCPU 0, a second:  2.0k"
        );
        terminal.moves_since_last_check();
        bars.workload(&record(1, 250, 10));
        let drawn = terminal.moves_since_last_check();
        assert!(drawn.contains("2/2 bulk") && !drawn.contains("1,000") && !drawn.contains("2.0k"), "{drawn}");
        assert_eq!(drawn.matches("2/2 bulk").count(), 1, "{drawn}");
        assert_eq!(
            terminal.contents(),
            "2/2 bulk █████░░░░░░░░░░░░░░░░░░ 0.2 of 1.0 s, 10 operations\nCPU 0, a second:    40"
        );
        bars.clear();
        assert_eq!(terminal.contents(), "");
    }
}
