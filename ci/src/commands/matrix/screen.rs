//! The output of the matrix: a line for each row that has ended; on a terminal, also a line for each running row and a progress
//! bar; at the end the failures and the counts.

use std::io::Write;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anstyle::Style;
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use crate::base::{Message, Observer, text};
use crate::commands::matrix::result::{Counts, Ended, Results, RowResult};
use crate::commands::matrix::runner::Job;
use crate::commands::matrix::schedule::Watcher;
use crate::present::styles::{BAD, FAINT, GOOD, WARN};
use crate::present::terminal::TerminalConfig;

/// The kernel's lines that are shown of a row that failed.
const SERIAL_LINES: usize = 12;

/// Prints to the terminal, or where its output is sent.
pub(crate) struct Screen {
    /// Standard output belongs to the results.
    to_stderr: bool,
    quiet: bool,
    verbose: bool,
    /// The time between two lines about the preparation, without a terminal.
    interval: Duration,
    /// Hide themselves where standard error is no terminal.
    bars: MultiProgress,
    total: ProgressBar,
    counts: Mutex<Counts>,
}

impl Screen {
    /// As the configuration wants it.
    pub(crate) fn new(config: &TerminalConfig) -> Screen {
        let bars = MultiProgress::new();
        if config.quiet {
            bars.set_draw_target(indicatif::ProgressDrawTarget::hidden());
        }
        let total = bars.add(ProgressBar::no_length());
        total.set_style(style("{spinner} {wide_msg}"));
        Screen {
            to_stderr: config.is_report_on_stdout,
            quiet: config.quiet,
            verbose: config.verbose,
            interval: config.progress,
            bars,
            total,
            counts: Mutex::default(),
        }
    }

    /// Prints a line past the bars. A failure has no place left to be reported.
    fn line(&self, text: &str) {
        let text = text::styled(text);
        self.bars.suspend(|| {
            let _ = match self.to_stderr {
                true => writeln!(anstream::stderr(), "{text}"),
                false => writeln!(anstream::stdout(), "{text}"),
            };
        });
    }

    /// The rows begin.
    pub(crate) fn begin(&self, jobs: usize, at_once: usize, qemu: &str, accel: &str) {
        self.total.set_style(style("{pos:>5} of {len} {bar:24} {elapsed} {msg}"));
        self.total.set_length(jobs as u64);
        self.total.set_message("");
        if !self.quiet {
            let line = format!("QEMU {qemu}, {accel}: {}, up to {at_once} at once", text::count(jobs, "row"));
            self.line(&format!("{FAINT}launcher:{FAINT:#} {line}"));
        }
    }

    /// Says what was wrong, and the counts; with `--json -`, the results alone on standard output.
    ///
    /// # Errors
    /// They cannot be written there.
    pub(crate) fn finish(&self, results: &Results, files: &[&std::path::Path]) -> std::io::Result<()> {
        self.total.finish_and_clear();
        if !self.quiet {
            for row in results.rows.iter().filter(|row| matches!(row.ended, Ended::Skipped(_))) {
                self.line(&head(row));
            }
            for row in results.rows.iter().filter(|row| row.is_bad()) {
                self.line("");
                let (style, word) = word(&row.ended);
                self.line(&format!("{style}{word}{style:#}  {}", row.name));
                let serial_lines = if self.verbose { usize::MAX } else { SERIAL_LINES };
                for line in row.details(serial_lines) {
                    self.line(&format!("    {}", text::line(&line)));
                }
            }
            self.line("");
            let files: Vec<String> = files.iter().map(|path| text::path(path)).collect();
            self.line(&format!("{FAINT}{}{FAINT:#}", files.join("  ")));
            if results.counts.not_started > 0 {
                self.line(&format!(
                    "{BAD}{} of the failed rows did not start{BAD:#}: their kernels were not tested",
                    results.counts.not_started
                ));
            }
        }
        self.line(&results.counts.to_string());
        match self.to_stderr {
            true => print(&results.to_json()),
            false => Ok(()),
        }
    }

    /// The reason why the matrix did not run, the sentence last.
    pub(crate) fn error(&self, error: &crate::base::Error) {
        self.total.finish_and_clear();
        let text = error.to_string();
        let (sentence, details) = text.trim_end().split_once('\n').unwrap_or((text.trim_end(), ""));
        if !details.is_empty() {
            details.lines().for_each(|line| self.line(&format!("    {}", text::line(line))));
        }
        self.line(&format!("{BAD}ERROR{BAD:#}  {}", text::line(sentence.trim_end_matches(':'))));
    }

    /// The work before the rows.
    pub(crate) fn preparation(&self) -> impl Observer + '_ {
        Preparation { screen: self, last: Instant::now() }
    }
}

/// Writes a document to the standard output, all of it.
fn print(text: &str) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}

struct Preparation<'a> {
    screen: &'a Screen,
    /// The time of the last line.
    last: Instant,
}

impl Preparation<'_> {
    /// Shows what is being done: on the bar, or from time to time on a line.
    fn tell(&mut self, text: String) {
        if !self.screen.quiet && self.screen.total.is_hidden() && self.last.elapsed() >= self.screen.interval
        {
            self.last = Instant::now();
            self.screen.line(&format!("{FAINT}launcher:{FAINT:#} {text}"));
        }
        self.screen.total.set_message(text);
        self.screen.total.enable_steady_tick(Duration::from_millis(100));
    }
}

impl Observer for Preparation<'_> {
    fn receive(&mut self, message: Message<'_>) {
        match message {
            Message::Step(text) => self.tell(text::line(text)),
            Message::Count { what, done, of, now } => self.tell(format!("{what}, {done} of {of}: {now}")),
            Message::Note(text) if !self.screen.quiet => {
                self.screen.line(&format!("{FAINT}launcher:{FAINT:#} {text}"));
            }
            Message::Tool(text) if self.screen.verbose => self.screen.line(text),
            _ => {}
        }
    }
}

impl Watcher for Screen {
    fn begins(&self, job: &Job) -> Box<dyn Observer + '_> {
        let bar = self.bars.insert_before(&self.total, ProgressBar::new_spinner());
        bar.set_style(style("{spinner} {elapsed:>4} {prefix}  {wide_msg}"));
        bar.set_prefix(job.row.name.clone());
        bar.enable_steady_tick(Duration::from_millis(100));
        Box::new(AtWork { screen: self, bar })
    }

    fn ended(&self, result: &RowResult) {
        let counts = {
            let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
            counts.add(&result.ended);
            *counts
        };
        if !self.quiet {
            self.line(&head(result));
        }
        self.total.set_message(counts.to_string());
        self.total.inc(1);
    }
}

/// A row's line while it is at work.
struct AtWork<'a> {
    screen: &'a Screen,
    bar: ProgressBar,
}

impl Observer for AtWork<'_> {
    fn receive(&mut self, message: Message<'_>) {
        match message {
            Message::Step(text) | Message::Kernel(text) => self.bar.set_message(text::line(text)),
            Message::Progress(progress) => self.bar.set_message(format!(
                "{} {:.1} of {:.1} s",
                text::line(&progress.workload),
                progress.elapsed_ms as f64 / 1000.0,
                progress.budget_ms as f64 / 1000.0
            )),
            _ => {}
        }
    }
}

impl Drop for AtWork<'_> {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
        self.screen.bars.remove(&self.bar);
    }
}

fn word(ended: &Ended) -> (Style, &'static str) {
    match ended {
        Ended::Passed => (GOOD, "pass"),
        Ended::Failed(_) => (BAD, "FAIL"),
        Ended::Skipped(_) => (WARN, "skip"),
        Ended::NotStarted(_) => (BAD, "ERROR"),
    }
}

/// A row on one line.
fn head(result: &RowResult) -> String {
    let (style, word) = word(&result.ended);
    let seconds = format!("{:.1} s", result.time.as_secs_f64());
    let reason = result.ended.reason().unwrap_or_default();
    let reason = reason.lines().next().map(|line| format!(": {}", text::line(line))).unwrap_or_default();
    format!("{style}{word:<5}{style:#} {FAINT}{seconds:>8}{FAINT:#}  {}{reason}", result.name)
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}
