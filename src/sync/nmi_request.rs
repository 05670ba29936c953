//! How one CPU asks another by NMI for something that its handler leaves in shared memory: the lock-free half of
//! `smp::place_of`. It compiles on any host, where its models run.
//!
//! The *requester* asks, sends the NMI, waits, and reads; the *handler* runs on the target at any time, or never. A
//! requester that stops waiting cancels its request, or abandons it where the handler is writing already; then the handler
//! frees it. So two requesters never share one answer, no requester reads what is being written, and a target that was slow
//! once can be asked again.
//!
//! The NMI of a cancelled request is still pending at the target. The request remembers that until the handler runs, so that
//! this NMI is not taken for one from outside. The NMI of a request that takes over is one with it: at most one NMI is pending
//! at a CPU (SDM Vol. 3A, 6.7.1).

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
/// The requester has stopped waiting before the handler came, so its NMI is still pending.
const CANCELLED: u32 = 5;

/// Why a handler runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// A requester waits. The handler writes its answer, then calls [`NmiRequest::finish`].
    Asked,
    /// A requester has stopped waiting for this NMI.
    Cancelled,
    /// No requester has sent the NMI.
    External,
}

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

    /// Makes the change whose first state this is, and returns what stands with it. In a loop, because another CPU may change
    /// one of the first states into the other meanwhile.
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

    // --- The requester's side. ---

    /// Asks; `false` if another requester has not finished.
    pub fn ask(&self) -> bool {
        self.change_one_of([(FREE, ASKED, ()), (CANCELLED, ASKED, ())]).is_some()
    }

    /// Whether the answer can be read. Then [`NmiRequest::release`] must follow.
    pub fn is_answered(&self) -> bool {
        self.0.load(Ordering::Acquire) == ANSWERED
    }

    /// The answer has been read.
    pub fn release(&self) {
        self.0.store(FREE, Ordering::Release);
    }

    /// Stops waiting for an NMI that was sent; `false` if the answer has become complete meanwhile and can be read.
    pub fn cancel(&self) -> bool {
        self.change(ASKED, CANCELLED) || self.change(WRITING, ABANDONED)
    }

    /// As [`cancel`](Self::cancel), where the NMI could not be sent.
    pub fn withdraw(&self) -> bool {
        self.change(ASKED, FREE) || self.change(WRITING, ABANDONED)
    }

    // --- The handler's side. ---

    /// Why the handler runs.
    pub fn begin(&self) -> Reason {
        self.change_one_of([(ASKED, WRITING, Reason::Asked), (CANCELLED, FREE, Reason::Cancelled)])
            .unwrap_or(Reason::External)
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
            if self.request.begin() == Reason::Asked {
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

    #[test]
    fn an_nmi_of_a_requester_is_never_external() {
        explore(None, &BOTH, || {
            let model = Arc::new((NmiRequest::new(), AtomicUsize::new(0)));
            let handle = |(request, pending): &(NmiRequest, AtomicUsize)| {
                if pending.swap(0, Ordering::AcqRel) == 1 {
                    match request.begin() {
                        Reason::Asked => request.finish(),
                        Reason::Cancelled => {}
                        Reason::External => panic!("a requester's NMI was taken for one from outside"),
                    }
                }
            };
            let handler = thread::spawn({
                let model = model.clone();
                move || handle(&model)
            });
            let (request, pending) = &*model;
            assert!(request.ask());
            pending.store(1, Ordering::Release);
            if request.is_answered() || !request.cancel() {
                request.release();
            }
            handler.join().unwrap();
            // An NMI that is still pending is one with that of the request that takes over.
            assert!(request.ask());
            pending.store(1, Ordering::Release);
            handle(&model);
            assert!(request.is_answered());
            request.release();
            assert_eq!(request.begin(), Reason::External);
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
        assert_eq!(request.begin(), Reason::Asked);
        assert!(request.cancel() && !request.ask());
        request.finish();
        assert!(!request.is_answered() && request.ask());
    }

    #[test]
    fn an_answer_that_comes_at_the_last_moment_is_read() {
        let request = NmiRequest::new();
        assert!(request.ask() && request.begin() == Reason::Asked);
        request.finish();
        assert!(!request.cancel() && request.is_answered());
        request.release();
        assert!(request.begin() == Reason::External && request.ask());
    }

    #[test]
    fn an_nmi_that_comes_after_its_requester_has_given_up_is_not_external() {
        let request = NmiRequest::new();
        assert!(request.ask() && request.cancel());
        assert_eq!(request.begin(), Reason::Cancelled);
        assert_eq!(request.begin(), Reason::External);
    }

    #[test]
    fn a_request_takes_over_a_cancelled_one_and_its_nmi() {
        let request = NmiRequest::new();
        assert!(request.ask() && request.cancel());
        assert!(request.ask() && !request.ask());
        assert_eq!(request.begin(), Reason::Asked);
        request.finish();
        assert!(request.is_answered());
        request.release();
        assert_eq!(request.begin(), Reason::External);
    }

    #[test]
    fn after_a_request_whose_nmi_was_not_sent_an_nmi_is_external() {
        let request = NmiRequest::new();
        assert!(request.ask() && request.withdraw());
        assert_eq!(request.begin(), Reason::External);
        // Another CPU's NMI may answer it all the same.
        assert!(request.ask() && request.begin() == Reason::Asked);
        request.finish();
        assert!(!request.withdraw() && request.is_answered());
    }
}
