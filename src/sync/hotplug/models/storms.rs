//! Large models of many operations: two competing requesters, an owner with several pieces of work, an NMI sender, and a
//! target that idles, works, goes offline, refuses, and comes back early, late or never.

use shuttle::rand::{Rng, thread_rng};

use super::*;
use crate::cpu::CpuId;
use crate::sync::model_schedules::{run_schedules, schedules};

/// Operations of each requester, and NMIs.
const OPERATIONS: usize = 4;

/// Pieces of work.
const PIECES: usize = 4;

fn is_one_in(count: u32) -> bool {
    thread_rng().gen_ratio(1, count)
}

struct Storm {
    machine: Arc<Machine>,
    lock: HotplugLock,
    is_over: AtomicUsize,
}

impl Storm {
    fn requester(&self, me: CpuId) {
        for _ in 0..OPERATIONS {
            let Ok(_guard) = self.lock.try_lock(me) else {
                thread::yield_now();
                continue;
            };
            let requester = Impatient { machine: &self.machine, can_interrupt: !is_one_in(4) };
            if is_one_in(2) {
                self.offline(&requester);
            } else {
                self.online(&requester);
            }
        }
    }

    /// Under the lock, so the reported state of the target holds until this requester changes it.
    fn offline(&self, requester: &Impatient) {
        let hotplug = &self.machine.hotplug;
        match take_offline(hotplug, requester, || {}) {
            OfflineOutcome::Offline => assert_eq!(hotplug.state(), Offline),
            OfflineOutcome::Withdrawn | OfflineOutcome::Refused => assert_eq!(hotplug.state(), Online),
            OfflineOutcome::NotOnline(_) | OfflineOutcome::InProgress(_) => {}
        }
    }

    fn online(&self, requester: &Impatient) {
        let hotplug = &self.machine.hotplug;
        match bring_online(hotplug, requester) {
            OnlineOutcome::Online => assert_eq!(hotplug.state(), Online),
            OnlineOutcome::NotSent(()) | OnlineOutcome::NmiPending => assert_eq!(hotplug.state(), Offline),
            OnlineOutcome::Failed => assert_eq!(hotplug.state(), Failed),
            OnlineOutcome::NotOffline(_) | OnlineOutcome::InProgress(_) => {}
        }
    }

    /// Offers work to the target if it is online, and waits for it or withdraws it.
    fn owner(&self) {
        let Machine { work, hotplug, is_online, is_freed, .. } = &*self.machine;
        for _ in 0..PIECES {
            is_freed.store(0, Ordering::Release);
            let is_offered = {
                let is_online = is_online.lock().unwrap();
                *is_online && work.apply(Phase::offer)
            };
            while is_offered && !work.is_over(hotplug) {
                if is_one_in(8) {
                    work.apply(Phase::withdraw);
                }
                // The owner waits for a CPU that is offline inside its work; here, until the end of the model.
                if hotplug.state() == Offline && self.has_requesters_ended() {
                    return;
                }
                thread::yield_now();
            }
            is_freed.store(1, Ordering::Release);
        }
    }

    fn has_requesters_ended(&self) -> bool {
        self.is_over.load(Ordering::Acquire) != 0
    }

    fn nmi_sender(&self) {
        for _ in 0..OPERATIONS {
            self.machine.send_nmi();
            thread::yield_now();
        }
    }

    fn target(&self) {
        let Machine { work, hotplug, start_up, .. } = &*self.machine;
        loop {
            let refuses_at = is_one_in(4).then(|| thread_rng().gen_range(0..3));
            let leaves = Target { refuses_at, ..Target::default() };
            let left = if work.apply(Phase::take) {
                self.machine.touch_work();
                let left = self.machine.offline_point(&leaves);
                if left != OfflineResult::Never {
                    self.machine.touch_work();
                    assert!(work.apply(Phase::finish));
                }
                left
            } else if hotplug.state() == OfflinePending {
                self.machine.go_offline(true, &leaves)
            } else {
                OfflineResult::Stayed
            };
            let is_over = start_up.lock().unwrap().is_over;
            if left == OfflineResult::Never || is_over && work.phase() == Phase::Idle {
                return;
            }
            thread::yield_now();
        }
    }
}

#[test]
fn all_parties_at_once() {
    run_schedules(schedules(), || {
        let machine = Machine::new(false);
        let storm = Arc::new(Storm { machine, lock: HotplugLock::new(), is_over: AtomicUsize::new(0) });
        let spawn = |work: fn(&Storm)| {
            let storm = storm.clone();
            thread::spawn(move || work(&storm))
        };
        let target = spawn(Storm::target);
        let owner = spawn(Storm::owner);
        let nmi_sender = spawn(Storm::nmi_sender);
        let requesters = [spawn(|storm| storm.requester(CpuId(0))), spawn(|storm| storm.requester(CpuId(1)))];
        for requester in requesters {
            requester.join().unwrap();
        }
        nmi_sender.join().unwrap();
        storm.is_over.store(1, Ordering::Release);
        owner.join().unwrap();
        storm.machine.end();
        target.join().unwrap();
        let word = storm.machine.hotplug.word();
        assert_eq!(word.nmi_senders, 0);
        assert!(!matches!(word.state, Teardown | IpiClosed | IrqsDrained | Migrated), "{word:?}");
    });
}
