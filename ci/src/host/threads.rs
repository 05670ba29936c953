//! The work in threads of this process, for octopod's own allocators. Threads cannot be cancelled, so those of an aborted run end with
//! the process.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::Duration;

use octopod::stress::host::program::PartResult;
use octopod::stress::host::{Activity, Bound, HostHeapRun, HostRun, HostThreadRun};
use octopod::stress::replay::{TraceSize, TraceTables};
use octopod::stress::subject::Subject;

use crate::base::interrupt::Listener;
use crate::base::{Error, Observer};
use crate::host::work::{BLOCK_BYTES, Event, Part, Settings, Work};

/// Events from the thread that does the work.
enum Said {
    /// The next part begins.
    Begins(u32, Part, Arc<Activity>),
    /// It has ended.
    Ended(Part, Box<PartResult>),
    /// A signal asks for the end.
    Woken,
}

/// The thread that does the work.
pub(crate) struct Threads {
    said: Receiver<Said>,
    present: Option<(Part, Arc<Activity>)>,
    _listener: Listener,
}

impl Threads {
    /// Starts a thread that does all parts, one after the other.
    pub(crate) fn start(parts: Vec<Part>, settings: Settings, text: Option<(Vec<u8>, TraceSize)>) -> Threads {
        let (sender, said) = channel();
        let woken = sender.clone();
        let listener = Listener::new(move || drop(woken.send(Said::Woken)));
        thread::spawn(move || run(&parts, &settings, text.as_ref(), &sender));
        Threads { said, present: None, _listener: listener }
    }
}

/// Does all parts, until the receiver is gone.
fn run(parts: &[Part], settings: &Settings, text: Option<&(Vec<u8>, TraceSize)>, to: &Sender<Said>) {
    let tables = text.map(|(_, size)| TraceTables::new(size));
    // It has been checked.
    let trace = tables.as_ref().zip(text).and_then(|(tables, (text, _))| tables.load(text).ok());
    for (index, part) in parts.iter().enumerate() {
        let activity = Arc::new(Activity::new(part.threads));
        if to.send(Said::Begins(index as u32, *part, activity.clone())).is_err() {
            return;
        }
        let Part { threads, subject, workload } = *part;
        let Settings { blocks, time, seed, check_every_frame, largest_order } = *settings;
        let bound = Bound::Time(time);
        let ran = match subject {
            Subject::Allocator(allocator) => {
                let trace = trace.as_ref();
                HostRun {
                    allocator,
                    workload,
                    threads,
                    blocks,
                    bound,
                    seed,
                    trace,
                    check_every_frame,
                    largest_order,
                }
                .run_watched(Some(&activity))
            }
            Subject::Heap(heap) => {
                let (bytes, check_every_word) = (blocks * BLOCK_BYTES, check_every_frame);
                HostHeapRun { heap, workload, threads, bytes, bound, seed, check_every_word }
                    .run_watched(Some(&activity))
            }
            Subject::Scheduler(policy) => HostThreadRun { policy, workload, threads, bound, seed }.run(),
        };
        if to.send(Said::Ended(*part, Box::new(ran.into()))).is_err() {
            return;
        }
    }
}

impl Work for Threads {
    fn next(&mut self, wait: Duration, _: &mut dyn Observer) -> Result<Event, Error> {
        Ok(match self.said.recv_timeout(wait) {
            Ok(Said::Begins(index, part, activity)) => {
                self.present = Some((part, activity));
                Event::Begins(index, part)
            }
            Ok(Said::Ended(part, result)) => Event::Ended(part, result),
            Ok(Said::Woken) => Event::Nothing,
            Err(RecvTimeoutError::Timeout) => match &self.present {
                Some((_, activity)) => Event::Threads(activity.threads().collect()),
                None => Event::Nothing,
            },
            Err(RecvTimeoutError::Disconnected) => {
                let what = self.present.as_ref();
                let what = what.map_or_else(|| "the stress".to_owned(), |(part, _)| part.to_string());
                Event::Broke(format!("{what} panicked: see above"))
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Silent;

    #[test]
    fn a_panic_of_the_work_is_reported() {
        let (sender, said) = channel();
        drop(sender);
        let mut work = Threads { said, present: None, _listener: Listener::new(|| {}) };
        let event = work.next(Duration::from_secs(60), &mut Silent).unwrap();
        assert!(matches!(event, Event::Broke(reason) if reason == "the stress panicked: see above"));
    }
}
