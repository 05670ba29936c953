//! The `int n` instructions of the vector test, and the gates that they use.

use core::cell::UnsafeCell;
use core::mem::offset_of;

use x86_64::VirtAddr;
use x86_64::instructions::tables::lidt;
use x86_64::structures::DescriptorTablePointer;

use crate::boot;
use crate::cpu::IrqGuard;
use crate::cpu::per_cpu::{PerCpu, PerCpuStorage};
use crate::interrupts;
use crate::per_cpu;

/// The error code that the shims push in place of the processor.
pub(crate) const ERROR_CODE: u64 = 0x5a;

/// The vectors whose exceptions push an error code (SDM Vol. 3A, table 6-1; 29 and 30: APM Vol. 2, 8.2.21 and 8.2.22), in
/// the order of the shims.
const WITH_ERROR_CODE: [u8; 10] = [8, 10, 11, 12, 13, 14, 17, 21, 29, 30];

/// Whether the vector's exception pushes an error code.
pub(crate) fn has_error_code(vector: u8) -> bool {
    WITH_ERROR_CODE.contains(&vector)
}

/// All general registers and the flags.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub(crate) struct Registers {
    /// In the order of [`NAMES`].
    pub general: [u64; 15],
    /// The stack pointer.
    pub rsp: u64,
    /// RFLAGS.
    pub flags: u64,
}

/// The registers in the order of [`interrupts::TrapFrame`].
pub(crate) const NAMES: [&str; 15] =
    ["r15", "r14", "r13", "r12", "r11", "r10", "r9", "r8", "rbp", "rdi", "rsi", "rdx", "rcx", "rbx", "rax"];

/// The registers that the probe loads, and those that it finds afterwards. Per-CPU, so that it needs no register to address them.
#[repr(C)]
struct Probe {
    before: UnsafeCell<Registers>,
    after: UnsafeCell<Registers>,
    caller_rsp: UnsafeCell<u64>,
}

impl Probe {
    const fn new() -> Probe {
        Probe {
            before: UnsafeCell::new(Registers { general: [0; 15], rsp: 0, flags: 0 }),
            after: UnsafeCell::new(Registers { general: [0; 15], rsp: 0, flags: 0 }),
            caller_rsp: UnsafeCell::new(0),
        }
    }
}

#[derive(Clone, Copy)]
struct ThisProbe;

#[unsafe(link_section = ".percpu")]
// SAFETY: a `PerCpuStorage` must lie in `.percpu`: the attribute above places it there.
static PROBE: PerCpuStorage<Probe> = unsafe { PerCpuStorage::new(Probe::new()) };

per_cpu!(@variable ThisProbe, Probe, PROBE);

macro_rules! probe {
    ($($register:ident = $index:literal),+ $(,)?) => {
        core::arch::global_asm!(
            $(concat!(".set PROBE_", stringify!($register), ", 8 * ", $index),)+
            ".set PROBE, {probe}",
            ".set PROBE_BEFORE, {before}",
            ".set PROBE_AFTER, {after}",
            ".set PROBE_CALLER_RSP, {caller_rsp}",
            ".set PROBE_RSP, {rsp}",
            ".set PROBE_FLAGS, {flags}",
            ".set PROBE_ERROR_CODE, {error_code}",
            ".set PROBE_STUB_BYTES, {stub_bytes}",
            include_str!("../probe.S"),
            probe = sym PROBE,
            before = const offset_of!(Probe, before),
            after = const offset_of!(Probe, after),
            caller_rsp = const offset_of!(Probe, caller_rsp),
            rsp = const offset_of!(Registers, rsp),
            flags = const offset_of!(Registers, flags),
            error_code = const ERROR_CODE,
            stub_bytes = const interrupts::STUB_BYTES,
            options(att_syntax)
        );
    };
}

probe!(
    r15 = 0,
    r14 = 1,
    r13 = 2,
    r12 = 3,
    r11 = 4,
    r10 = 5,
    r9 = 6,
    r8 = 7,
    rbp = 8,
    rdi = 9,
    rsi = 10,
    rdx = 11,
    rcx = 12,
    rbx = 13,
    rax = 14,
);

unsafe extern "C" {
    fn interrupt_probe(instruction: u64, distance: u64);
    static interrupt_instructions: u8;
    static interrupt_shims: u8;
}

fn instruction(vector: u8) -> u64 {
    (&raw const interrupt_instructions).addr() as u64 + u64::from(vector) * 8
}

/// The return address of `int vector`, an instruction of two bytes.
pub(crate) fn return_address(vector: u8) -> u64 {
    instruction(vector) + 2
}

/// Loads the registers, executes `int vector`, and returns the registers before, with the stack pointer, and after. The handlers
/// of all vectors must return. The patterns differ in IF, so the probe runs in a window of the guard.
///
/// # Panics
/// If interrupts were off before the guard.
pub(crate) fn run(guard: &mut IrqGuard, vector: u8, load: Registers) -> (Registers, Registers) {
    /// More than this code keeps below its stack pointer.
    const BELOW: u64 = 256;
    let probe = this_probe();
    // SAFETY: no other access may overlap the write. The probe is this CPU's own, only this function writes it, and the guard
    // prevents a second call on this CPU.
    unsafe { probe.before.get().write(load) };
    // SAFETY: the probe must keep the caller's registers and stack. `interrupt_probe` saves all registers, moves the stack
    // pointer down only, and returns with interrupts off, which `window` permits. A handler that runs meanwhile finds a valid
    // stack and valid gates (`TestGates`), and only reads `before`.
    guard.window(|| unsafe { interrupt_probe(instruction(vector), BELOW + u64::from(vector)) });
    // SAFETY: no write may overlap the read. The probe is this CPU's own, and `interrupt_probe` has returned.
    let before = unsafe { probe.before.get().read() };
    // SAFETY: no write may overlap the read. The probe is this CPU's own, and `interrupt_probe` has returned.
    (before, unsafe { probe.after.get().read() })
}

/// The probe of this CPU. Its fields are cells.
fn this_probe() -> &'static Probe {
    // SAFETY: the probe lies in the CPU's area, which is never freed, and no code borrows it by `&mut`.
    unsafe { &*ThisProbe.as_ptr() }
}

/// The registers that the probe on this CPU has loaded.
pub(crate) fn loaded() -> Registers {
    // SAFETY: no write may overlap the read. The probe is this CPU's own, and `run` writes it only before the interrupt.
    unsafe { this_probe().before.get().read() }
}

/// A copy of the kernel's IDT in which the gates of vectors with an error code lead to shims (see `probe.S`).
///
/// A real exception on such a vector pushes two error codes while these gates are loaded, so its report is wrong. They are loaded
/// for the probe only.
#[repr(align(16))]
pub(crate) struct TestGates([[u64; 2]; 256]);

impl TestGates {
    /// Copies the kernel's IDT and inserts the shims.
    pub(crate) fn new() -> TestGates {
        // SAFETY: the read must be of initialised memory that is not written. The IDT has 256 gates of 16 bytes, which rt0
        // completes before Rust code runs.
        let mut gates = unsafe { boot::final_idt().cast::<[[u64; 2]; 256]>().read() };
        for (index, vector) in WITH_ERROR_CODE.into_iter().enumerate() {
            let shim = ((&raw const interrupt_shims).addr() + index * 16) as u64;
            // SDM Vol. 3A, figure 6-8: the address is in three parts, around selector, stack and type.
            let [low, high] = &mut gates[usize::from(vector)];
            *low = *low & 0x0000_ffff_ffff_0000 | shim & 0xffff | (shim >> 16 & 0xffff) << 48;
            *high = shim >> 32;
        }
        TestGates(gates)
    }

    /// Runs `f` with these gates loaded on this CPU.
    pub(crate) fn with<R>(&self, guard: &mut IrqGuard, f: impl FnOnce(&mut IrqGuard) -> R) -> R {
        let base = VirtAddr::from_ptr(&raw const self.0);
        // SAFETY: the gates must be valid while they are loaded. They are the kernel's, or lead to shims that end in the kernel's
        // stubs, and `self` lives until `load_idt` below.
        unsafe { lidt(&DescriptorTablePointer { limit: size_of::<TestGates>() as u16 - 1, base }) };
        let result = f(guard);
        // SAFETY: the CPU must have loaded its TSS. Each CPU that runs work has done so (`stages::bsp`,
        // `smp::ap::entry`).
        unsafe { interrupts::load_idt() };
        result
    }
}
