//! What a CPU leaves for another to tell of it: its registers, and the calls on its stack.

use core::arch::asm;
use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};

use x86_64::registers::control::Cr3;

use super::{MAX_FRAMES, backtrace};
use crate::console::LineBuffer;
use crate::cpu::per_cpu::PerCpu;
use crate::wire::{LOCKS_IN_RECORD, Registers};
use crate::{per_cpu, sync};

/// The longest message of a CPU that panicked when another had already.
type Message = LineBuffer<96>;

/// A CPU's place in its code. Its own CPU writes it; others read it when they know that it has.
pub struct CpuCrashState {
    registers: [AtomicU64; Registers::COUNT],
    frames: [AtomicU64; MAX_FRAMES],
    count: AtomicUsize,
    /// The locks that it holds: one more than the number of each, or 0.
    locks: [AtomicU32; LOCKS_IN_RECORD],
    /// [`NOTHING`], [`PLACE`] or [`DEATH`].
    state: AtomicU32,
    message: UnsafeCell<Message>,
}

const NOTHING: u32 = 0;
/// Where it is.
const PLACE: u32 = 1;
/// And why it panicked.
const DEATH: u32 = 2;

// SAFETY: all is atomic but the message, which its own CPU writes once, before it stores `DEATH`, and which nobody reads
// before that.
unsafe impl Sync for CpuCrashState {}

per_cpu! {
    /// This CPU's.
    pub static CRASH_STATE: CpuCrashState = CpuCrashState {
        registers: [const { AtomicU64::new(0) }; Registers::COUNT],
        frames: [const { AtomicU64::new(0) }; MAX_FRAMES],
        count: AtomicUsize::new(0),
        locks: [const { AtomicU32::new(0) }; LOCKS_IN_RECORD],
        state: AtomicU32::new(NOTHING),
        message: UnsafeCell::new(LineBuffer::new()),
    };
}

pub(super) fn own() -> &'static CpuCrashState {
    // SAFETY: this CPU's own copy, which lives for good.
    unsafe { &*CRASH_STATE.as_ptr() }
}

/// Leaves this CPU's place, and which locks it holds. Any context, NMIs too.
pub fn save_backtrace(registers: &Registers) {
    let own = own();
    for (slot, value) in own.registers.iter().zip(registers.0) {
        slot.store(value, Ordering::Relaxed);
    }
    let mut count = 0;
    for (slot, address) in own.frames.iter().zip(backtrace(registers.rbp())) {
        slot.store(address, Ordering::Relaxed);
        count += 1;
    }
    own.count.store(count, Ordering::Relaxed);
    let held = sync::held().map(|number| number + 1).chain(core::iter::repeat(0));
    for (slot, lock) in own.locks.iter().zip(held) {
        slot.store(lock, Ordering::Relaxed);
    }
    own.state.store(PLACE, Ordering::Release);
}

/// Leaves this CPU's place and the reason of its death, for the CPU that died first to tell. Once.
pub(super) fn leave_death(registers: &Registers, message: core::fmt::Arguments) {
    save_backtrace(registers);
    let message = Message::format(message);
    // SAFETY: nobody reads it before the store below, and this CPU gets here once.
    unsafe { *own().message.get() = message };
    own().state.store(DEATH, Ordering::Release);
}

/// Whether this CPU has died, when another had already.
pub fn has_died() -> bool {
    own().has_panicked()
}

impl CpuCrashState {
    /// Whether the CPU has died, when another had already.
    pub fn has_panicked(&self) -> bool {
        self.state.load(Ordering::Acquire) == DEATH
    }

    /// The registers, if the CPU has left them.
    pub fn registers(&self) -> Option<Registers> {
        let left = self.state.load(Ordering::Acquire) != NOTHING;
        left.then(|| Registers(core::array::from_fn(|index| self.registers[index].load(Ordering::Relaxed))))
    }

    /// The return addresses, innermost first.
    pub fn frames(&self) -> impl Iterator<Item = u64> {
        let count = self.count.load(Ordering::Relaxed);
        self.frames.iter().take(count).map(|frame| frame.load(Ordering::Relaxed))
    }

    /// The named locks that it held.
    pub(super) fn locks(&self) -> heapless::Vec<&'static str, LOCKS_IN_RECORD> {
        let numbers = self.locks.iter().filter_map(|lock| lock.load(Ordering::Relaxed).checked_sub(1));
        numbers.filter_map(sync::lock_name).collect()
    }

    /// What it panicked of, if it did.
    pub(super) fn message(&self) -> Option<&str> {
        // SAFETY: it was written before the state said so, and is not written again.
        self.has_panicked().then(|| unsafe { &*self.message.get() }.as_str())
    }
}

/// The registers as they are here. CR2 is left to whoever knows that it means something.
#[inline(always)]
pub fn registers_here() -> Registers {
    let mut values = [0; Registers::COUNT];
    // SAFETY: stores registers to an array with room for all but the last two, and changes the scratch register alone.
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
