//! `alloc-trace`: writes a trace of allocations for `stress --replay`.

use std::path::PathBuf;

use clap::Args;
use octopod::config::MAX_CPUS;

use crate::base::files::{Plan, output};
use crate::base::{Error, Workspace};
use crate::present::terminal::{Console, TerminalConfig};
use crate::run::alloc_trace::{AllocTraceConfig, LINUX_ORDERS};

/// Options of `alloc-trace`.
#[derive(Clone, Debug, Args)]
pub struct AllocTraceArgs {
    /// The file to write.
    #[arg(value_name = "FILE")]
    pub file: PathBuf,

    /// The number of allocations and frees.
    #[arg(long, value_name = "N", default_value_t = 100_000, value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    pub events: u32,

    /// The number of CPUs.
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=i64::from(MAX_CPUS)))]
    pub cpus: u32,

    /// The most runs that a CPU holds at once.
    #[arg(long, value_name = "N", default_value_t = 1024, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub held: u32,

    /// The relative frequency of each order, from 0 on [default: that of a Linux, see docs/frames.md].
    #[arg(long, value_name = "N,M", value_delimiter = ',')]
    pub orders: Vec<u64>,

    /// The seed of the random choices.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub seed: u64,
}

impl AllocTraceArgs {
    /// Writes the trace. Returns the exit status.
    pub fn execute(&self) -> u8 {
        let console = Console::new(&TerminalConfig::default());
        match self.write() {
            Ok(()) => 0,
            Err(error) => console.refuse(&error),
        }
    }

    fn write(&self) -> Result<(), Error> {
        let orders = if self.orders.is_empty() { LINUX_ORDERS.to_vec() } else { self.orders.clone() };
        let config = AllocTraceConfig {
            events: self.events as usize,
            cpus: self.cpus as usize,
            held: self.held as usize,
            orders,
            seed: self.seed,
        };
        if let Some(problem) = config.problem() {
            return Err(Error::Usage(format!("--orders: {problem}")));
        }
        let mut files = Plan::default();
        files.writes("FILE", &self.file, "trace");
        files.check(Workspace::find().ok().map(|workspace| workspace.root).as_deref())?;
        let text = config.generate();
        output::write(&self.file, text.as_bytes()).map_err(Error::file("write", &self.file))
    }
}
