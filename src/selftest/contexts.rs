//! Who may not wait for memory does not. With interrupts off, as in any handler, a request that finds nothing fails at once,
//! and no other CPU is asked. An NMI, which may have struck in the middle of the allocator, is refused whatever there is; it is
//! also refused to send interrupts, because it may have struck between the two writes that send one.
//! Nothing here looks at a clock, but to give up. Before that: interrupt guards nest.

mod guards;

use core::fmt;
use core::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use crate::apic::{self, ApicError, Message};
use crate::config::STRESS_GRACE_MS;
use crate::cpu::per_cpu::PerCpu;
use crate::cpu::{CpuId, CpuSet, IrqGuard};
use crate::interrupts::Vector;
use crate::memory::frames::{FrameNumber, FreeError, Invalid, Order};
use crate::memory::{FrameRange, OwnedFrame};
use crate::smp::{self, BacktraceError, CallError, Cpu};
use crate::sync::{Deadline, SpinLockIrq};
use crate::{memory, per_cpu};

use super::nmis;

/// NMIs that each CPU gets while it takes and returns frames.
const NMIS: u64 = 50;

/// What is taken and returned meanwhile, and asked for in an NMI: by each of the allocator's ways.
const ORDERS: [Order; 3] =
    [Order::FRAME, Order::new(3).expect("there are more orders than that"), Order::BLOCK];

/// A run of more frames than all CPUs of the rows can keep.
const TOO_LARGE: Order = Order::new(13).expect("there are more orders than that");

per_cpu! {
    /// NMIs that this CPU has got.
    static ASKED: AtomicU64 = AtomicU64::new(0);
    /// Requests in them that were not refused.
    static GRANTED: AtomicU64 = AtomicU64::new(0);
    /// Interrupts that were sent in them.
    static INTERRUPTS: AtomicU64 = AtomicU64::new(0);
}

/// A frame that is in use, for NMIs to free.
static IN_USE: AtomicUsize = AtomicUsize::new(0);

/// What went wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// There is no memory for the part itself.
    OutOfMemory,
    /// A CPU did not get its NMIs.
    NoNmi {
        /// The CPU.
        cpu: CpuId,
        /// How many it got.
        got: u64,
    },
    /// A CPU could not be sent an NMI.
    NotSent {
        /// The CPU.
        cpu: CpuId,
        /// Why not.
        error: BacktraceError,
    },
    /// The allocator did in an NMI what it was asked.
    Granted {
        /// On which CPU.
        cpu: CpuId,
        /// How many times.
        times: u64,
    },
    /// Interrupts were sent in an NMI.
    Interrupted {
        /// By which CPU.
        cpu: CpuId,
        /// How many.
        times: u64,
    },
    /// The allocator's books are wrong after that.
    Books(Invalid),
    /// Frames that were free before are not free after, or the other way round.
    Frames {
        /// How many were free before.
        before: usize,
        /// How many are after.
        after: usize,
    },
    /// Other CPUs were asked by one that must not wait, or for what they do not have.
    Waited {
        /// When.
        when: &'static str,
        /// How many calls they have answered for that.
        calls: u64,
    },
    /// A request had another outcome than it must have.
    Outcome {
        /// Which, and when.
        what: &'static str,
    },
    /// A CPU cannot be called.
    Call(CallError),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::OutOfMemory => f.write_str("no memory to begin with"),
            Failure::NoNmi { cpu, got } => write!(f, "cpu {cpu} got {got} NMIs of {NMIS}"),
            Failure::NotSent { cpu, error } => write!(f, "no NMI to cpu {cpu}: {error}"),
            Failure::Granted { cpu, times } => {
                write!(f, "cpu {cpu} was not refused memory in an NMI, {times} times")
            }
            Failure::Interrupted { cpu, times } => {
                write!(f, "cpu {cpu} was not refused to send {times} interrupts in an NMI")
            }
            Failure::Books(invalid) => invalid.fmt(f),
            Failure::Frames { before, after } => {
                write!(f, "{before} frames were free before and {after} after")
            }
            Failure::Waited { when, calls } => {
                write!(f, "other CPUs answered {calls} calls for frames {when}")
            }
            Failure::Outcome { what } => write!(f, "wrong: {what}"),
            Failure::Call(error) => error.fmt(f),
        }
    }
}

/// Runs the part. Only the boot processor calls this, with interrupts on, when all CPUs wait for work.
///
/// # Errors
/// The first failure.
pub fn run(_: u32) -> Result<(), Failure> {
    guards::check().map_err(outcome_of)?;
    let before = free_frames()?;
    in_nmis()?;
    with_interrupts_off()?;
    let after = free_frames()?;
    if before != after {
        return Err(Failure::Frames { before, after });
    }
    {
        let _guard = IrqGuard::new();
        memory::frames().validate().map_err(Failure::Books)?;
    }
    let cpus = smp::online().count();
    log::info!(
        "{NMIS} NMIs on each of {cpus} CPUs were refused memory and interrupts; with interrupts off nobody was asked"
    );
    Ok(())
}

fn free_frames() -> Result<usize, Failure> {
    smp::call(&smp::all_online(), &|| memory::drain_this_cpu(&IrqGuard::new())).map_err(Failure::Call)?;
    let _guard = IrqGuard::new();
    Ok(memory::frames().free_frames())
}

/// Each CPU takes and returns frames while the boot processor, which sends itself some too, strikes it by NMIs.
fn in_nmis() -> Result<(), Failure> {
    let in_use = memory::alloc(Order::FRAME).ok_or(Failure::OutOfMemory)?;
    IN_USE.store(in_use.get(), Ordering::Relaxed);
    nmis::with_handler(ask, ask_everywhere)?;
    // SAFETY: allocated above, and its memory is not used; the NMI handlers' frees of it were refused, or have been reported
    // as granted.
    let is_lost = unsafe { memory::free(in_use, Order::FRAME) }.is_err();
    for cpu in smp::online() {
        let times = cpu.get(GRANTED).map_or(0, |granted| granted.load(Ordering::Acquire));
        if times > 0 {
            return Err(Failure::Granted { cpu: cpu.id(), times });
        }
        let times = cpu.get(INTERRUPTS).map_or(0, |sent| sent.load(Ordering::Acquire));
        if times > 0 {
            return Err(Failure::Interrupted { cpu: cpu.id(), times });
        }
        let got = asked(cpu);
        if got < NMIS {
            return Err(Failure::NoNmi { cpu: cpu.id(), got });
        }
    }
    if is_lost { Err(Failure::Outcome { what: "a frame in use cannot be freed" }) } else { Ok(()) }
}

fn ask_everywhere() -> Result<(), Failure> {
    let limit = Deadline::after_ms(STRESS_GRACE_MS / 2);
    // The first one where nothing is under way: if that is granted anything, the next might never return.
    strike(&smp::cpus()[CpuId::BSP.index()], &limit, || {})?;
    if GRANTED.get() > 0 {
        return Err(Failure::Granted { cpu: CpuId::BSP, times: GRANTED.get() });
    }
    let (not_sent, is_over) = (SpinLockIrq::new(None), AtomicBool::new(false));
    super::on_each_cpu(STRESS_GRACE_MS, &|cpu| {
        if cpu.id() == CpuId::BSP {
            *not_sent.lock() = strike_all(&limit).err();
            is_over.store(true, Ordering::Release);
        } else {
            while !is_over.load(Ordering::Acquire) {
                take_and_return();
            }
        }
    });
    let not_sent = *not_sent.lock();
    not_sent.map_or(Ok(()), Err)
}

fn asked(cpu: &Cpu) -> u64 {
    cpu.get(ASKED).map_or(0, |asked| asked.load(Ordering::Acquire))
}

fn strike_all(limit: &Deadline) -> Result<(), Failure> {
    let wants = |cpu: &&Cpu| asked(cpu) < NMIS;
    while let Some(cpu) = smp::online().find(wants).filter(|_| !limit.has_passed()) {
        strike(cpu, limit, take_and_return)?;
    }
    Ok(())
}

/// Sends an NMI and waits until it has been handled.
fn strike(cpu: &Cpu, limit: &Deadline, meanwhile: impl Fn()) -> Result<(), Failure> {
    nmis::send(cpu).map_err(|error| Failure::NotSent { cpu: cpu.id(), error })?;
    while !nmis::is_idle(cpu) && !limit.has_passed() {
        meanwhile();
    }
    Ok(())
}

fn take_and_return() {
    drop(ORDERS.map(FrameRange::alloc_nowait));
}

/// What each NMI of this part does: it asks for all that there is to be had. What it gets is lost, which the books show as
/// well.
fn ask() {
    let mut granted = 0;
    for order in ORDERS {
        granted += u64::from(memory::alloc(order).is_some());
        granted += u64::from(memory::alloc_nowait(order).is_some());
        let in_use = FrameNumber::new(IN_USE.load(Ordering::Relaxed));
        // SAFETY: nothing uses the frame's memory, and the free is to be refused. If it is granted, `GRANTED` says so, and the part
        // fails.
        let freed = unsafe { memory::free(in_use, order) };
        granted += u64::from(freed != Err(FreeError::AllocDisabled { frame: in_use }));
    }
    let mut frames = [FrameNumber::new(0); 4];
    granted += memory::alloc_bulk(&mut frames) as u64;
    // SAFETY: nothing uses the memory of frame 0, or of frames just allocated, and the free is to be refused.
    granted += u64::from(unsafe { memory::free_bulk(&frames) }.is_ok());
    GRANTED.add(granted);
    INTERRUPTS.add(interrupts_sent());
    ASKED.increment();
}

/// Tries to interrupt this CPU by each of the ways to send; how many did.
fn interrupts_sent() -> u64 {
    let guard = IrqGuard::new();
    let to_itself = apic::send_to_self(&guard, Vector::WAKE);
    let by_id = apic::send(&guard, apic::id(), Message::Fixed(Vector::WAKE));
    [to_itself, by_id].into_iter().map(|outcome| u64::from(outcome != Err(ApicError::InNmi))).sum()
}

/// One CPU holds all memory, another keeps one frame in its magazine.
fn with_interrupts_off() -> Result<(), Failure> {
    let mut all = FrameList::new();
    while let Some(frame) = OwnedFrame::alloc() {
        all.push(frame);
    }
    let (Some(frame), Some(other)) = (all.pop(), smp::online().nth(1)) else { return Ok(()) };
    keep_elsewhere(frame, other)?;
    with_one_frame_kept_elsewhere()
}

fn keep_elsewhere(frame: OwnedFrame, keeper: &Cpu) -> Result<(), Failure> {
    let is_back = AtomicBool::new(false);
    let number = frame.into_raw();
    // SAFETY: `into_raw` has handed the frame over to this call, which runs once.
    let call = || is_back.store(unsafe { memory::free(number, Order::FRAME) }.is_ok(), Ordering::Relaxed);
    smp::call(&CpuSet::of(keeper.id()), &call).map_err(Failure::Call)?;
    is_back.into_inner().then_some(()).ok_or(outcome_of("a frame cannot be freed on another CPU"))
}

fn with_one_frame_kept_elsewhere() -> Result<(), Failure> {
    let off = "with interrupts off";
    {
        let _guard = IrqGuard::new();
        asks_nobody(off, || OwnedFrame::alloc().is_none().then_some(()))?;
    }
    let hopeless = "that cannot come together";
    asks_nobody(hopeless, || FrameRange::alloc(TOO_LARGE).is_none().then_some(()))?;
    let _got = OwnedFrame::alloc().ok_or(outcome_of("a frame that nobody holds is out of reach"))?;
    asks_nobody("of CPUs that keep none", || OwnedFrame::alloc().is_none().then_some(()))
}

const fn outcome_of(what: &'static str) -> Failure {
    Failure::Outcome { what }
}

/// Runs the request, which must not succeed and for which no CPU may be called.
fn asks_nobody(when: &'static str, request: impl FnOnce() -> Option<()>) -> Result<(), Failure> {
    let before = calls_answered();
    let outcome = request().ok_or(outcome_of("memory was had where all of it is in use"));
    match calls_answered() - before {
        0 => outcome,
        calls => Err(Failure::Waited { when, calls }),
    }
}

fn calls_answered() -> u64 {
    // SAFETY: the areas of CPUs that are online live for good.
    smp::online().filter_map(Cpu::gs_base).map(|base| unsafe { smp::answered(base) }.0).sum()
}

/// Any number of frames, linked through their own memory.
struct FrameList(Option<OwnedFrame>);

impl FrameList {
    fn new() -> FrameList {
        FrameList(None)
    }

    fn push(&mut self, frame: OwnedFrame) {
        // Frame 0 is never the allocator's: it stands for the end.
        let next = self.0.take().map_or(0, |next| next.into_raw().get() as u64);
        // SAFETY: the frame is owned.
        unsafe { frame.as_ptr().cast::<u64>().write(next) };
        self.0 = Some(frame);
    }

    fn pop(&mut self) -> Option<OwnedFrame> {
        let first = self.0.take()?;
        // SAFETY: the frame is owned, and `push` wrote the word.
        let next = unsafe { first.as_ptr().cast::<u64>().read() };
        // SAFETY: `push` took the frame of this number out of its handle when it wrote the word, which has now been used up.
        self.0 = (next != 0).then(|| unsafe { OwnedFrame::from_raw(FrameNumber::new(next as usize)) });
        Some(first)
    }
}

impl Drop for FrameList {
    fn drop(&mut self) {
        while self.pop().is_some() {}
    }
}
