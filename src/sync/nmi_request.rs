//! How one CPU asks another by NMI for something that its handler leaves in shared memory: the lock-free half of
//! `smp::place_of`. It compiles on any host, where its models run.
//!
//! The *requester* asks, sends the NMI, waits, and reads; the *handler* runs on the target at any time, or never. A
//! requester that stops waiting cancels its request, or abandons it where the handler is writing already; then the handler
//! frees it. So two requesters never share one answer, no requester reads what is being written, and a target that was slow
//! once can be asked again.

use super::atomics::{AtomicU32, Ordering};

/// No request.
const FREE: u32 = 0;
/// A requester waits, and the handler has not come.
const ASKED: u32 = 1;
/// The handler writes its answer.
const WRITING: u32 = 2;
/// The answer is complete, and the requester may read it.
const ANSWERED: u32 = 3;
/// The handler writes its answer, and the requester has stopped waiting.
const ABANDONED: u32 = 4;

/// A target's request, which its requesters and its handler share.
#[derive(Debug)]
pub struct NmiRequest(AtomicU32);

impl NmiRequest {
    /// A free one.
    #[cfg(not(any(loom, shuttle)))]
    #[allow(clippy::new_without_default, reason = "nothing needs a default")]
    pub const fn new() -> NmiRequest {
        NmiRequest(AtomicU32::new(FREE))
    }

    /// A free one.
    #[cfg(any(loom, shuttle))]
    pub fn new() -> NmiRequest {
        NmiRequest(AtomicU32::new(FREE))
    }

    fn change(&self, from: u32, to: u32) -> bool {
        self.0.compare_exchange(from, to, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    // --- The requester's side. ---

    /// Asks; `false` if another requester has not finished.
    pub fn ask(&self) -> bool {
        self.change(FREE, ASKED)
    }

    /// Whether the answer can be read. Then [`NmiRequest::release`] must follow.
    pub fn is_answered(&self) -> bool {
        self.0.load(Ordering::Acquire) == ANSWERED
    }

    /// The answer has been read.
    pub fn release(&self) {
        self.0.store(FREE, Ordering::Release);
    }

    /// Stops waiting; `false` if the answer has become complete meanwhile and can be read.
    pub fn cancel(&self) -> bool {
        self.change(ASKED, FREE) || self.change(WRITING, ABANDONED)
    }

    // --- The handler's side. ---

    /// Whether there is a request. If so, the handler writes its answer, then calls [`NmiRequest::finish`].
    pub fn begin(&self) -> bool {
        self.change(ASKED, WRITING)
    }

    /// The answer is complete.
    pub fn finish(&self) {
        if !self.change(WRITING, ANSWERED) {
            self.0.store(FREE, Ordering::Release);
        }
    }
}

#[cfg(all(test, loom))]
mod models {
    use loom::sync::Arc;
    use loom::thread;

    use super::*;
    use crate::sync::atomics::AtomicUsize;
    use crate::sync::loomed::{Accesses, explore};

    const BOTH: [Accesses; 2] = [Accesses::Exchanges, Accesses::Plain];

    /// A request and its answer: two words that are equal when it is complete.
    struct Model {
        request: NmiRequest,
        answer: [AtomicUsize; 2],
        answers: AtomicUsize,
    }

    impl Model {
        fn new() -> Arc<Model> {
            let zero = || AtomicUsize::new(0);
            Arc::new(Model { request: NmiRequest::new(), answer: [zero(), zero()], answers: zero() })
        }

        fn handler(&self) {
            if self.request.begin() {
                let number = self.answers.load(Ordering::Relaxed) + 1;
                self.answers.store(number, Ordering::Relaxed);
                self.answer.iter().for_each(|word| word.store(number, Ordering::Relaxed));
                self.request.finish();
            }
        }

        /// Asks, waits for an arbitrary time, and reads the answer if there is one.
        fn requester(&self) {
            if !self.request.ask() {
                return;
            }
            if !self.request.is_answered() && self.request.cancel() {
                return;
            }
            let [first, second] = [0, 1].map(|word| self.answer[word].load(Ordering::Relaxed));
            assert!(first != 0 && first == second, "half an answer was read");
            self.request.release();
        }
    }

    #[test]
    fn an_answer_is_whole_and_the_request_is_free_in_the_end() {
        explore(Some(4), &BOTH, || {
            let model = Model::new();
            let handler = thread::spawn({
                let model = model.clone();
                move || {
                    model.handler();
                    model.handler();
                }
            });
            let other = thread::spawn({
                let model = model.clone();
                move || model.requester()
            });
            model.requester();
            handler.join().unwrap();
            other.join().unwrap();
            assert!(model.request.ask(), "a request was never freed");
        });
    }
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use super::*;

    #[test]
    fn an_answer_that_comes_too_late_frees_the_request() {
        let request = NmiRequest::new();
        assert!(request.ask() && !request.ask());
        assert!(request.begin());
        assert!(request.cancel() && !request.ask());
        request.finish();
        assert!(!request.is_answered() && request.ask());
    }

    #[test]
    fn an_answer_that_comes_at_the_last_moment_is_read() {
        let request = NmiRequest::new();
        assert!(request.ask() && request.begin());
        request.finish();
        assert!(!request.cancel() && request.is_answered());
        request.release();
        assert!(!request.begin() && request.ask());
        assert!(request.cancel() && !request.begin());
    }
}
