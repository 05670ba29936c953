//! A backtrace for display. Repeated calls, as in a recursion, are folded, and so are inlined calls of the standard library.

use std::fmt;

use crate::kernel::StackFrame;

/// The longest sequence of calls whose repetition is searched for.
const MAX_PERIOD: usize = 8;

/// So many repetitions are worth a line of their own.
const MIN_REPETITIONS: usize = 2;

/// The least number of consecutive inlined calls of the standard library that are folded.
const MIN_LIBRARY_CALLS: usize = 3;

/// The beginning of a place in the sources of the standard library.
const LIBRARY: &str = "library/";

/// A part of a backtrace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CallPart<'a> {
    /// A call.
    Call(&'a StackFrame),
    /// The last calls above come again.
    Repeated {
        /// The number of calls.
        calls: usize,
        /// The number of repetitions.
        times: usize,
    },
    /// Inlined calls of the standard library, as of an iterator, with this number.
    Library(usize),
}

impl fmt::Display for CallPart<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CallPart::Call(frame) => f.write_str(frame.function.as_deref().unwrap_or(&frame.address)),
            CallPart::Repeated { calls: 1, times } => write!(f, "... the call above, {times} more times"),
            CallPart::Repeated { calls, times } => {
                write!(f, "... the {calls} calls above, {times} more times")
            }
            CallPart::Library(calls) => write!(f, "... {calls} inlined calls of the standard library"),
        }
    }
}

/// The parts of a backtrace, innermost first.
pub(crate) fn folded(frames: &[StackFrame]) -> Vec<CallPart<'_>> {
    let mut parts = Vec::new();
    let mut rest = frames;
    while !rest.is_empty() {
        let library = rest.iter().take_while(|frame| is_inlined_library_call(frame)).count();
        if library >= MIN_LIBRARY_CALLS {
            parts.push(CallPart::Library(library));
            rest = &rest[library..];
            continue;
        }
        let found = (1..=MAX_PERIOD.min(rest.len()))
            .map(|calls| (calls, repetitions(rest, calls)))
            .find(|(_, times)| *times >= MIN_REPETITIONS);
        let (calls, times) = found.unwrap_or((1, 0));
        parts.extend(rest[..calls].iter().map(CallPart::Call));
        if times > 0 {
            parts.push(CallPart::Repeated { calls, times });
        }
        rest = &rest[calls * (times + 1)..];
    }
    parts
}

fn is_inlined_library_call(frame: &StackFrame) -> bool {
    frame.inlined && frame.location.as_deref().is_some_and(|place| place.starts_with(LIBRARY))
}

/// Returns the number of times that the first calls are repeated, directly after themselves.
fn repetitions(frames: &[StackFrame], calls: usize) -> usize {
    let first = &frames[..calls];
    frames[calls..].chunks_exact(calls).take_while(|chunk| *chunk == first).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frames(names: &str) -> Vec<StackFrame> {
        let frame = |name: char| StackFrame {
            address: format!("{:#x}", name as u32),
            function: Some(name.to_string()),
            location: None,
            inlined: false,
            is_library: false,
        };
        names.chars().map(frame).collect()
    }

    fn shown(names: &str) -> Vec<String> {
        folded(&frames(names)).iter().map(CallPart::to_string).collect()
    }

    #[test]
    fn calls_of_a_recursion_are_folded_and_others_stay() {
        assert_eq!(shown("abcab"), ["a", "b", "c", "a", "b"]);
        assert_eq!(shown("aab"), ["a", "a", "b"]);
        assert_eq!(shown("xaaaaay"), ["x", "a", "... the call above, 4 more times", "y"]);
        assert_eq!(shown("xababababy"), ["x", "a", "b", "... the 2 calls above, 3 more times", "y"]);
        // The end of a list of limited length may cut a repetition.
        assert_eq!(shown("abcabcabca"), ["a", "b", "c", "... the 3 calls above, 2 more times", "a"]);
        assert_eq!(shown(""), [""; 0]);
    }

    #[test]
    fn inlined_calls_of_the_standard_library_are_folded_and_single_ones_stay() {
        let mut frames = frames("aiiibiic");
        for frame in frames.iter_mut().filter(|frame| frame.function.as_deref() == Some("i")) {
            frame.inlined = true;
            frame.location = Some("library/core/src/iter/traits/iterator.rs:842".to_owned());
        }
        let shown: Vec<_> = folded(&frames).iter().map(CallPart::to_string).collect();
        assert_eq!(shown, ["a", "... 3 inlined calls of the standard library", "b", "i", "i", "c"]);
        // A call that has a stack frame of its own stays.
        frames[2].inlined = false;
        assert_eq!(folded(&frames).len(), frames.len());
    }

    #[test]
    fn no_call_is_lost() {
        for names in ["aaabbbababab", "abababcdcdcdcd", "zzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzz"] {
            let count = folded(&frames(names)).iter().fold(0, |count, part| match part {
                CallPart::Call(_) => count + 1,
                CallPart::Repeated { calls, times } => count + calls * times,
                CallPart::Library(calls) => count + calls,
            });
            assert_eq!(count, names.len());
        }
    }
}
