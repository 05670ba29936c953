//! Messages about progress. The library itself prints nothing.

use octopod::wire::{Progress, Record};

/// Something that has just happened.
#[derive(Debug)]
pub enum Message<'a> {
    /// A step that takes time begins, or has come further.
    Step(&'a str),
    /// Of a step that is counted, so many parts are done.
    Count {
        /// The step.
        what: &'a str,
        /// Parts that are done.
        done: u64,
        /// Parts that there are.
        of: u64,
        /// The present step.
        now: &'a str,
    },
    /// Something that people should know, such as a package source that was added.
    Note(&'a str),
    /// A line that a tool wrote.
    Tool(&'a str),
    /// A line that the kernel wrote for people.
    Kernel(&'a str),
    /// Output of the kernel's console, as it arrives.
    Console(&'a [u8]),
    /// The terminal is about to pass on what it gets as it is: what was said so far has to be written before.
    RawMode,
    /// A workload has come further.
    Progress(&'a Progress<String>),
    /// Any other record.
    Record(&'a Record<String>),
}

/// Receives messages.
pub trait Observer {
    /// Called from the thread that runs the launcher.
    fn receive(&mut self, message: Message<'_>);
}

/// Drops all messages.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silent;

impl Observer for Silent {
    fn receive(&mut self, _: Message<'_>) {}
}
