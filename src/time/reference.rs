//! Reference timers: timers of known frequency that the TSC is measured against, and that can replace it as clock source.

use core::fmt;
use core::ptr::NonNull;

use x86_64::instructions::port::{Port, PortReadOnly};

use super::calibration::CounterSpec;
use crate::acpi::describe::HPET_BYTES;
use crate::acpi::{Platform, PmTimer};
use crate::boot::defect::Defect;
use crate::boot::io_regions::Device;
use crate::boot::report_defect;
use crate::cpu::registers::read_tsc;
use crate::memory;

/// Registers of an HPET (IA-PC HPET specification 1.0a, §2.3).
const HPET_CAPABILITIES: usize = 0x00;
const HPET_CONFIGURATION: usize = 0x10;
const HPET_MAIN_COUNTER: usize = 0xf0;
const HPET_ENABLE: u64 = 1;
/// The timers replace the interrupts of the PIT and the RTC (LEG_RT_CNF).
const HPET_LEGACY: u64 = 1 << 1;
/// The configuration register of timer 0, and the distance to that of the next timer (§2.3.8).
const HPET_TIMER_0: usize = 0x100;
const HPET_TIMER_BYTES: usize = 0x20;
/// The most timers in the register page.
const HPET_TIMERS: usize = (HPET_BYTES as usize - HPET_TIMER_0) / HPET_TIMER_BYTES;
/// A timer raises interrupts (Tn_INT_ENB_CNF), or delivers them as messages (Tn_FSB_EN_CNF).
const HPET_TIMER_RAISES: u64 = 1 << 2 | 1 << 14;

/// Ports of the PIT and of the gate of its channel 2 (Intel 8254 datasheet).
const PIT_CHANNEL_2: u16 = 0x42;
const PIT_COMMAND: u16 = 0x43;
const SPEAKER_CONTROL: u16 = 0x61;
/// Channel 2, low byte then high byte, mode 2: count down and reload.
const PIT_COUNT: u8 = 0b1011_0100;
/// Latch the count of channel 2 until it is read.
const PIT_LATCH: u8 = 0b1000_0000;

/// The mapped registers of an HPET.
pub(crate) struct HpetRegisters(NonNull<u64>);

impl HpetRegisters {
    /// Creates the accessor.
    ///
    /// # Safety
    /// From `base` on, [`HPET_BYTES`] are mapped as device memory, at a page's start, while the value is used. Only one CPU writes
    /// to them.
    unsafe fn new(base: NonNull<u8>) -> HpetRegisters {
        HpetRegisters(base.cast())
    }

    /// Returns the address of the register at this offset, in bytes.
    ///
    /// # Panics
    /// If the offset is not that of a register.
    #[inline(always)]
    fn at(&self, offset: usize) -> NonNull<u64> {
        assert!(offset.is_multiple_of(8) && offset < HPET_BYTES as usize);
        // SAFETY: the sum must stay within the mapping: the offset is below `HPET_BYTES` (asserted above).
        unsafe { self.0.byte_add(offset) }
    }

    /// Reads a register, which has no side effect.
    #[inline(always)]
    fn read(&self, offset: usize) -> u64 {
        // SAFETY: the address must be mapped and aligned: `at` returns one within the mapping (# Safety of `new`), which is
        // aligned to 8 bytes.
        unsafe { self.at(offset).read_volatile() }
    }

    /// Writes a register.
    ///
    /// # Safety
    /// The effect of the write on the timer and its interrupts is sound.
    unsafe fn write(&self, offset: usize, value: u64) {
        // SAFETY: the address must be mapped and aligned: `at` returns one within the mapping (# Safety of `new`), which is
        // aligned to 8 bytes. The effect is sound, guaranteed by the caller (see # Safety).
        unsafe { self.at(offset).write_volatile(value) };
    }
}

/// A running timer of known frequency.
pub(crate) enum ReferenceTimer {
    /// The high-precision event timer.
    Hpet {
        /// The mapped registers.
        registers: HpetRegisters,
        /// The frequency and width of its counter.
        clock: CounterSpec,
    },
    /// The ACPI power management timer.
    PmTimer(PmTimer),
    /// Channel 2 of the interval timer.
    Pit,
}

// SAFETY: the registers stay mapped (`hpet`), on all CPUs. Any CPU may read an HPET or the PM timer, by one access. Reading
// the PIT takes several accesses; only the BSP does it (`is_clock` keeps it from being the clock).
unsafe impl Send for ReferenceTimer {}
// SAFETY: shared use is reading. An HPET or the PM timer is read by one access; the PIT is read only by the BSP (`is_clock`).
unsafe impl Sync for ReferenceTimer {}

impl ReferenceTimer {
    /// Finds the machine's reference timers and starts them, the best first: an HPET has the finest resolution, and reading the
    /// PIT takes three port accesses. The firmware lists the first two; the PIT is assumed to exist.
    ///
    /// **Context:** the BSP, once.
    pub(crate) fn candidates(platform: &Platform) -> [Option<ReferenceTimer>; 3] {
        [
            platform.hpet.and_then(ReferenceTimer::hpet),
            platform.pm_timer.map(ReferenceTimer::PmTimer),
            Some(ReferenceTimer::pit()),
        ]
    }

    /// Maps and starts the HPET at this physical address. An invalid one is reported.
    fn hpet(physical: u64) -> Option<ReferenceTimer> {
        let defect = |reason: fmt::Arguments<'_>| {
            report_defect(&Defect { table: "HPET", address: Some(physical), offset: None, reason });
        };
        let mapped = memory::map_device(Device::Hpet, physical, HPET_BYTES);
        let mapped = mapped.inspect_err(|error| defect(format_args!("{error}: ignoring the timer"))).ok()?;
        // SAFETY: `map_device` has mapped `HPET_BYTES` as device memory, aligned to a page. They stay mapped, except below, where
        // the value is not used again. Only the BSP writes to them, once (**Context** of `candidates`).
        let registers = unsafe { HpetRegisters::new(mapped) };
        let capabilities = registers.read(HPET_CAPABILITIES);
        let Some(clock) = CounterSpec::hpet_by_capabilities(capabilities) else {
            defect(format_args!("invalid capabilities {capabilities:#x}: ignoring the timer"));
            // SAFETY: `map_device` above mapped this range, and `registers` is not used again.
            unsafe { memory::unmap_device(physical, HPET_BYTES) };
            return None;
        };
        // Firmware may have enabled a timer that delivers its interrupt as a message, which no interrupt controller masks.
        let timers = ((capabilities >> 8 & 0x1f) as usize + 1).min(HPET_TIMERS);
        for timer in 0..timers {
            let configuration = HPET_TIMER_0 + timer * HPET_TIMER_BYTES;
            // SAFETY: the write disables the timer's interrupts.
            unsafe { registers.write(configuration, registers.read(configuration) & !HPET_TIMER_RAISES) };
        }
        let configuration = registers.read(HPET_CONFIGURATION) & !HPET_LEGACY | HPET_ENABLE;
        // SAFETY: the write starts the counter; no timer raises interrupts, because of the loop above.
        unsafe { registers.write(HPET_CONFIGURATION, configuration) };
        Some(ReferenceTimer::Hpet { registers, clock })
    }

    /// Starts channel 2 of the PIT. If there is none, its count does not change.
    ///
    /// **Context:** the BSP.
    pub(super) fn pit() -> ReferenceTimer {
        let mut control = Port::<u8>::new(SPEAKER_CONTROL);
        // SAFETY: reading the port has no effect.
        let value = unsafe { control.read() };
        // SAFETY: channel 2 drives only the speaker. The write enables its gate and disables the speaker's data.
        unsafe { control.write(value & !0b11 | 0b01) };
        // SAFETY: the command configures channel 2, which drives only the speaker.
        unsafe { Port::<u8>::new(PIT_COMMAND).write(PIT_COUNT) };
        // The low byte, then the high byte. A count of 0 means 2^16.
        for byte in [0, 0] {
            // SAFETY: the command above lets channel 2 expect two bytes of its count. It drives only the speaker.
            unsafe { Port::<u8>::new(PIT_CHANNEL_2).write(byte) };
        }
        ReferenceTimer::Pit
    }

    /// Whether the timer can be the clock source. The PIT cannot: it wraps after 55 ms, and two CPUs cannot read it at once.
    pub(crate) fn is_clock(&self) -> bool {
        !matches!(self, ReferenceTimer::Pit)
    }

    /// The name in reports.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            ReferenceTimer::Hpet { .. } => "hpet",
            ReferenceTimer::PmTimer(_) => "pm_timer",
            ReferenceTimer::Pit => "pit",
        }
    }

    /// The frequency, width and direction of the counter.
    pub(crate) fn clock(&self) -> CounterSpec {
        match self {
            ReferenceTimer::Hpet { clock, .. } => *clock,
            ReferenceTimer::PmTimer(timer) => CounterSpec::pm_timer(timer.wide),
            ReferenceTimer::Pit => CounterSpec::pit(),
        }
    }

    /// Reads the counter.
    ///
    /// **Context:** any; for the PIT the BSP alone.
    pub(crate) fn read(&self) -> u64 {
        match self {
            ReferenceTimer::Hpet { registers, .. } => registers.read(HPET_MAIN_COUNTER),
            ReferenceTimer::PmTimer(timer) => {
                // SAFETY: the FADT names this port as the PM timer's (`Platform::pm_timer`). A read has no side effect.
                u64::from(unsafe { PortReadOnly::<u32>::new(timer.port).read() })
            }
            ReferenceTimer::Pit => {
                // SAFETY: latching channel 2 does not change its count, and no other code uses the PIT.
                unsafe { Port::<u8>::new(PIT_COMMAND).write(PIT_LATCH) };
                u64::from(u16::from_le_bytes([0; 2].map(|_: u8| {
                    // SAFETY: a latched count is read in two bytes, which does not change the channel's count, and no other
                    // code uses the PIT.
                    unsafe { Port::<u8>::new(PIT_CHANNEL_2).read() }
                })))
            }
        }
    }
}

/// Reads counters five times by `read`, and returns the result of the reading that took the fewest cycles: a delay by the host
/// or by an SMI lengthens a reading. **Context:** any; interrupts off, or their time counts as well.
pub(super) fn quickest<T>(mut read: impl FnMut() -> T) -> T {
    let mut attempt = || {
        let before = read_tsc();
        let result = read();
        (read_tsc().wrapping_sub(before), result)
    };
    let first = attempt();
    (1..5).map(|_| attempt()).fold(first, |best, next| if next.0 < best.0 { next } else { best }).1
}
