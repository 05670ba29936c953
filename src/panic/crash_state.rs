//! The state that a CPU saves for another CPU to report: its registers, its backtrace and the locks that it holds.

use core::arch::asm;
use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};

use x86_64::registers::control::Cr3;

use super::backtrace::{MAX_FRAMES, backtrace_of};
use crate::console::LineBuffer;
use crate::cpu::per_cpu::PerCpu;
use crate::wire::{LOCKS_IN_RECORD, Registers};
use crate::{per_cpu, sync};

/// The panic message of a CPU that panicked after another one; cut to this length.
type Message = LineBuffer<96>;

/// A CPU's saved state. Its own CPU writes it. Other CPUs read it after they have synchronised with that write.
pub(crate) struct CpuCrashState {
    registers: [AtomicU64; Registers::COUNT],
    frames: [AtomicU64; MAX_FRAMES],
    count: AtomicUsize,
    /// For each held lock its number plus 1; 0 in unused entries.
    locks: [AtomicU32; LOCKS_IN_RECORD],
    /// [`EMPTY`], [`SAVED`] or [`PANICKED`].
    state: AtomicU32,
    message: UnsafeCell<Message>,
}

/// Nothing was saved.
const EMPTY: u32 = 0;
/// All but the message was saved.
const SAVED: u32 = 1;
/// The message was saved as well.
const PANICKED: u32 = 2;

// SAFETY: all fields are atomic but the message. Its own CPU writes that once (`save_panic`), before it stores `PANICKED` with
// Release; `message` reads it only after an Acquire load of `PANICKED`.
unsafe impl Sync for CpuCrashState {}

per_cpu! {
    /// This CPU's saved state.
    pub(crate) static CRASH_STATE: CpuCrashState = CpuCrashState {
        registers: [const { AtomicU64::new(0) }; Registers::COUNT],
        frames: [const { AtomicU64::new(0) }; MAX_FRAMES],
        count: AtomicUsize::new(0),
        locks: [const { AtomicU32::new(0) }; LOCKS_IN_RECORD],
        state: AtomicU32::new(EMPTY),
        message: UnsafeCell::new(LineBuffer::new()),
    };
}

/// This CPU's saved state.
pub(super) fn own() -> &'static CpuCrashState {
    // SAFETY: this CPU's own copy; per-CPU areas are never freed (`CpuAreas`), and all access is shared.
    unsafe { &*CRASH_STATE.as_ptr() }
}

/// Saves the registers, their backtrace, and the locks that this CPU holds.
///
/// **Context:** any, NMI included.
pub(crate) fn save_backtrace(registers: &Registers) {
    let own = own();
    for (slot, value) in own.registers.iter().zip(registers.0) {
        slot.store(value, Ordering::Relaxed);
    }
    let mut count = 0;
    for (slot, address) in own.frames.iter().zip(backtrace_of(registers)) {
        slot.store(address, Ordering::Relaxed);
        count += 1;
    }
    own.count.store(count, Ordering::Relaxed);
    let held = sync::held().map(|number| number + 1).chain(core::iter::repeat(0));
    for (slot, lock) in own.locks.iter().zip(held) {
        slot.store(lock, Ordering::Relaxed);
    }
    own.state.store(SAVED, Ordering::Release);
}

/// Saves this CPU's state and its panic message, for the CPU that panicked first to report. Called at most once on each CPU.
///
/// **Context:** any, interrupts disabled permanently.
pub(super) fn save_panic(registers: &Registers, message: core::fmt::Arguments) {
    save_backtrace(registers);
    let message = Message::format(message);
    // SAFETY: no CPU reads the message before the store below (`message` checks the state), and this CPU writes it once: it
    // halts after this call (`panic_now`).
    unsafe { *own().message.get() = message };
    own().state.store(PANICKED, Ordering::Release);
}

/// Whether this CPU has panicked after another one.
///
/// **Context:** any.
pub(crate) fn has_panicked() -> bool {
    own().has_panicked()
}

impl CpuCrashState {
    /// Whether the CPU has panicked after another one.
    pub(crate) fn has_panicked(&self) -> bool {
        self.state.load(Ordering::Acquire) == PANICKED
    }

    /// The saved registers; `None` if the CPU has saved nothing.
    pub(crate) fn registers(&self) -> Option<Registers> {
        let is_saved = self.state.load(Ordering::Acquire) != EMPTY;
        is_saved
            .then(|| Registers(core::array::from_fn(|index| self.registers[index].load(Ordering::Relaxed))))
    }

    /// The saved return addresses, innermost first.
    pub(crate) fn frames(&self) -> impl Iterator<Item = u64> {
        let count = self.count.load(Ordering::Relaxed);
        self.frames.iter().take(count).map(|frame| frame.load(Ordering::Relaxed))
    }

    /// The names of the locks that the CPU held.
    pub(super) fn locks(&self) -> heapless::Vec<&'static str, LOCKS_IN_RECORD> {
        let numbers = self.locks.iter().filter_map(|lock| lock.load(Ordering::Relaxed).checked_sub(1));
        numbers.filter_map(sync::lock_name).collect()
    }

    /// The panic message, if the CPU has panicked after another one.
    pub(super) fn message(&self) -> Option<&str> {
        // SAFETY: `save_panic` wrote the message before it stored `PANICKED` with Release, which the load in
        // `has_panicked` acquires, and writes it only once.
        self.has_panicked().then(|| unsafe { &*self.message.get() }.as_str())
    }
}

/// Reads this CPU's registers. CR2 is 0: it is meaningful only in a page-fault handler, which sets it.
///
/// **Context:** any.
#[inline(always)]
pub(crate) fn registers_here() -> Registers {
    let mut values = [0; Registers::COUNT];
    // SAFETY: the stores lie within `values`, which has `Registers::COUNT` words; only the declared scratch register changes,
    // and the stack is balanced.
    unsafe {
        asm!(
            "mov [{to} + 8], rsp",
            "mov [{to} + 16], rbp",
            "mov [{to} + 32], rax",
            "mov [{to} + 40], rbx",
            "mov [{to} + 48], rcx",
            "mov [{to} + 56], rdx",
            "mov [{to} + 64], rsi",
            "mov [{to} + 72], rdi",
            "mov [{to} + 80], r8",
            "mov [{to} + 88], r9",
            "mov [{to} + 96], r10",
            "mov [{to} + 104], r11",
            "mov [{to} + 112], r12",
            "mov [{to} + 120], r13",
            "mov [{to} + 128], r14",
            "mov [{to} + 136], r15",
            "lea {scratch}, [rip]",
            "mov [{to}], {scratch}",
            "pushfq",
            "pop {scratch}",
            "mov [{to} + 24], {scratch}",
            to = in(reg) values.as_mut_ptr(),
            scratch = out(reg) _,
        );
    }
    values[Registers::COUNT - 1] = Cr3::read_raw().0.start_address().as_u64();
    Registers(values)
}
