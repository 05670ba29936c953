//! The request of one CPU to another by NMI, whose handler leaves the answer in shared memory: the lock-free part of
//! `smp::backtrace_of`. It compiles on any host, where tests and models run it.
//!
//! The *requester* claims the request, sends the NMI, waits, and reads the answer. The *handler* runs on the target at
//! any time, or never. A requester that stops waiting cancels its request. If the handler is writing already, the
//! requester abandons it, and the handler frees it. So two requesters never share one answer, no requester reads an
//! incomplete answer, and a target that was slow once can be asked again.
//!
//! The NMI of a cancelled request is still pending at the target. The request records this until the handler runs, so
//! that this NMI does not count as external. A new request that takes over a cancelled one shares its NMI: at most one
//! NMI is pending at a CPU (SDM Vol. 3A, 6.7.1).

use super::atomics::{AtomicU32, Ordering};

/// No request.
const FREE: u32 = 0;
/// A requester waits, and the handler has not begun.
const REQUESTED: u32 = 1;
/// The handler writes the answer.
const WRITING: u32 = 2;
/// The answer is complete, and the requester may read it.
const ANSWERED: u32 = 3;
/// The handler writes the answer, and the requester has stopped waiting.
const ABANDONED: u32 = 4;
/// The requester has stopped waiting before the handler began. Its NMI is still pending.
const CANCELLED: u32 = 5;

/// The reason for which the handler runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NmiReason {
    /// A requester waits. The handler writes the answer, then calls [`NmiRequest::finish`].
    Requested,
    /// A requester has stopped waiting for this NMI.
    Cancelled,
    /// The NMI is external: no requester has sent it.
    External,
}

/// The request of a target, shared by its requesters and its handler.
#[derive(Debug)]
pub(crate) struct NmiRequest(AtomicU32);

impl NmiRequest {
    /// Creates a free request.
    #[cfg(not(any(loom, shuttle)))]
    #[allow(clippy::new_without_default, reason = "nothing needs a default")]
    pub(crate) const fn new() -> NmiRequest {
        NmiRequest(AtomicU32::new(FREE))
    }

    /// Creates a free request.
    #[cfg(any(loom, shuttle))]
    pub fn new() -> NmiRequest {
        NmiRequest(AtomicU32::new(FREE))
    }

    fn change(&self, from: u32, to: u32) -> bool {
        self.0.compare_exchange(from, to, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    /// Makes the change that begins with the current state, and returns its result. Loops, since another CPU may change
    /// the state concurrently.
    fn change_one_of<T: Copy, const N: usize>(&self, changes: [(u32, u32, T); N]) -> Option<T> {
        let mut now = self.0.load(Ordering::Acquire);
        loop {
            let &(from, to, result) = changes.iter().find(|(from, ..)| *from == now)?;
            match self.0.compare_exchange(from, to, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return Some(result),
                Err(changed) => now = changed,
            }
        }
    }

    // --- Requester. ---

    /// Claims the request. Returns `false` if another requester has it.
    pub(crate) fn claim(&self) -> bool {
        self.change_one_of([(FREE, REQUESTED, ()), (CANCELLED, REQUESTED, ())]).is_some()
    }

    /// Returns whether the answer is complete. [`NmiRequest::release`] must follow after it was read.
    pub(crate) fn is_answered(&self) -> bool {
        self.0.load(Ordering::Acquire) == ANSWERED
    }

    /// Frees the request after its answer was read.
    pub(crate) fn release(&self) {
        self.0.store(FREE, Ordering::Release);
    }

    /// Stops waiting for an NMI that was sent. Returns `false` if the answer has just become complete and can be read.
    pub(crate) fn cancel(&self) -> bool {
        self.change(REQUESTED, CANCELLED) || self.change(WRITING, ABANDONED)
    }

    /// As [`cancel`](Self::cancel), for an NMI that could not be sent.
    pub(crate) fn withdraw(&self) -> bool {
        self.change(REQUESTED, FREE) || self.change(WRITING, ABANDONED)
    }

    // --- Handler. ---

    /// Begins the handler and returns its reason.
    pub(crate) fn begin(&self) -> NmiReason {
        self.change_one_of([
            (REQUESTED, WRITING, NmiReason::Requested),
            (CANCELLED, FREE, NmiReason::Cancelled),
        ])
        .unwrap_or(NmiReason::External)
    }

    /// Publishes the complete answer, or frees an abandoned request.
    pub(crate) fn finish(&self) {
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
    use crate::sync::model_atomics::{Accesses, explore};

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
            if self.request.begin() == NmiReason::Requested {
                let number = self.answers.load(Ordering::Relaxed) + 1;
                self.answers.store(number, Ordering::Relaxed);
                self.answer.iter().for_each(|word| word.store(number, Ordering::Relaxed));
                self.request.finish();
            }
        }

        /// Claims the request, waits for an arbitrary time, and reads the answer if it is complete.
        fn requester(&self) {
            if !self.request.claim() {
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
            assert!(model.request.claim(), "a request was never freed");
        });
    }

    #[test]
    fn an_nmi_of_a_requester_is_never_external() {
        explore(None, &BOTH, || {
            let model = Arc::new((NmiRequest::new(), AtomicUsize::new(0)));
            let handle = |(request, pending): &(NmiRequest, AtomicUsize)| {
                if pending.swap(0, Ordering::AcqRel) == 1 {
                    match request.begin() {
                        NmiReason::Requested => request.finish(),
                        NmiReason::Cancelled => {}
                        NmiReason::External => panic!("a requester's NMI was taken for one from outside"),
                    }
                }
            };
            let handler = thread::spawn({
                let model = model.clone();
                move || handle(&model)
            });
            let (request, pending) = &*model;
            assert!(request.claim());
            pending.store(1, Ordering::Release);
            if request.is_answered() || !request.cancel() {
                request.release();
            }
            handler.join().unwrap();
            // A pending NMI is the same as that of the request that takes over.
            assert!(request.claim());
            pending.store(1, Ordering::Release);
            handle(&model);
            assert!(request.is_answered());
            request.release();
            assert_eq!(request.begin(), NmiReason::External);
        });
    }
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use super::*;

    #[test]
    fn an_answer_that_comes_too_late_frees_the_request() {
        let request = NmiRequest::new();
        assert!(request.claim() && !request.claim());
        assert_eq!(request.begin(), NmiReason::Requested);
        assert!(request.cancel() && !request.claim());
        request.finish();
        assert!(!request.is_answered() && request.claim());
    }

    #[test]
    fn an_answer_that_comes_at_the_last_moment_is_read() {
        let request = NmiRequest::new();
        assert!(request.claim() && request.begin() == NmiReason::Requested);
        request.finish();
        assert!(!request.cancel() && request.is_answered());
        request.release();
        assert!(request.begin() == NmiReason::External && request.claim());
    }

    #[test]
    fn an_nmi_that_comes_after_its_requester_has_given_up_is_not_external() {
        let request = NmiRequest::new();
        assert!(request.claim() && request.cancel());
        assert_eq!(request.begin(), NmiReason::Cancelled);
        assert_eq!(request.begin(), NmiReason::External);
    }

    #[test]
    fn a_request_takes_over_a_cancelled_one_and_its_nmi() {
        let request = NmiRequest::new();
        assert!(request.claim() && request.cancel());
        assert!(request.claim() && !request.claim());
        assert_eq!(request.begin(), NmiReason::Requested);
        request.finish();
        assert!(request.is_answered());
        request.release();
        assert_eq!(request.begin(), NmiReason::External);
    }

    #[test]
    fn after_a_request_whose_nmi_was_not_sent_an_nmi_is_external() {
        let request = NmiRequest::new();
        assert!(request.claim() && request.withdraw());
        assert_eq!(request.begin(), NmiReason::External);
        // Another CPU's NMI may still answer it.
        assert!(request.claim() && request.begin() == NmiReason::Requested);
        request.finish();
        assert!(!request.withdraw() && request.is_answered());
    }
}
