//! Timers whose frequency is known, to measure others against.

use core::fmt;

use x86_64::instructions::port::{Port, PortReadOnly};

use super::calibration::CounterSpec;
use crate::acpi::describe::HPET_BYTES;
use crate::acpi::{Platform, PmTimer};
use crate::boot::defect::Defect;
use crate::boot::io_regions::Device;
use crate::boot::report_defect;
use crate::memory;

/// Registers of an HPET (IA-PC HPET specification 1.0a, §2.3).
const HPET_CAPABILITIES: usize = 0x00;
const HPET_CONFIGURATION: usize = 0x10;
const HPET_MAIN_COUNTER: usize = 0xf0;
const HPET_ENABLE: u64 = 1;
/// The timers take the place of the interval timer and the clock (LEG_RT_CNF).
const HPET_LEGACY: u64 = 1 << 1;
/// The first timer's configuration, and how far the next one's is from it (§2.3.8).
const HPET_TIMER_0: usize = 0x100;
const HPET_TIMER_BYTES: usize = 0x20;
/// How many there can be in the registers.
const HPET_TIMERS: usize = (HPET_BYTES as usize - HPET_TIMER_0) / HPET_TIMER_BYTES;
/// A timer raises interrupts (Tn_INT_ENB_CNF), or delivers them as messages (Tn_FSB_EN_CNF).
const HPET_TIMER_RAISES: u64 = 1 << 2 | 1 << 14;

/// Ports of the interval timer and of its second channel's gate (Intel 8254 datasheet).
const PIT_CHANNEL_2: u16 = 0x42;
const PIT_COMMAND: u16 = 0x43;
const SPEAKER_CONTROL: u16 = 0x61;
/// Channel 2, low byte then high byte, mode 2: count down, start over.
const PIT_COUNT: u8 = 0b1011_0100;
/// Hold channel 2's count until it has been read.
const PIT_LATCH: u8 = 0b1000_0000;

/// A running timer.
pub enum ReferenceClock {
    /// The high-precision event timer.
    Hpet {
        /// Its registers, mapped.
        registers: *mut u64,
        /// Its frequency and width.
        clock: CounterSpec,
    },
    /// ACPI's power management timer.
    PmTimer(PmTimer),
    /// The interval timer's second channel.
    Pit,
}

// SAFETY: the registers are mapped for good; reading an HPET or the PM timer is one access, from whichever CPU. The PIT,
// whose reading is several, is read by the boot processor alone.
unsafe impl Send for ReferenceClock {}
// SAFETY: shared use is reading: one access for an HPET or the PM timer, from whichever CPU; the PIT is read by the boot
// processor alone.
unsafe impl Sync for ReferenceClock {}

impl ReferenceClock {
    /// The timers that the machine seems to have, the best first: an HPET's steps are the shortest, and reading the PIT
    /// takes three port accesses. Only the last is tried without being listed anywhere.
    pub fn candidates(platform: &Platform) -> [Option<ReferenceClock>; 3] {
        [
            platform.hpet.and_then(ReferenceClock::hpet),
            platform.pm_timer.map(ReferenceClock::PmTimer),
            Some(ReferenceClock::pit()),
        ]
    }

    /// The HPET at that address, running. One that is not there is reported.
    fn hpet(physical: u64) -> Option<ReferenceClock> {
        let defect = |reason: fmt::Arguments<'_>| {
            report_defect(&Defect { table: "HPET", address: Some(physical), offset: None, reason });
        };
        let mapped = memory::map_device(Device::Hpet, physical, HPET_BYTES);
        let mapped = mapped.inspect_err(|error| defect(format_args!("the timer {error}: not used"))).ok()?;
        let registers = mapped.cast::<u64>().as_ptr();
        // SAFETY: `map_device` has mapped the registers as a device's, and reading them has no effect.
        let capabilities = unsafe { registers.byte_add(HPET_CAPABILITIES).read_volatile() };
        let Some(clock) = CounterSpec::hpet_by_capabilities(capabilities) else {
            defect(format_args!("no timer there: its capabilities read as {capabilities:#x}: not used"));
            // SAFETY: the page is that device's alone (`map_device`), and `registers` is not used again.
            unsafe { memory::unmap_device(physical, HPET_BYTES) };
            return None;
        };
        // Firmware may have left a timer that sends messages, which no interrupt controller masks.
        let timers = ((capabilities >> 8 & 0x1f) as usize + 1).min(HPET_TIMERS);
        for timer in 0..timers {
            // SAFETY: `HPET_TIMERS` of them lie in the registers, which are mapped as a device's, and only the BSP, once, is
            // here. The timer raises no interrupts from then on.
            unsafe {
                let configuration = registers.byte_add(HPET_TIMER_0 + timer * HPET_TIMER_BYTES);
                configuration.write_volatile(configuration.read_volatile() & !HPET_TIMER_RAISES);
            }
        }
        // SAFETY: mapped as a device's for the kernel's lifetime from here on, and only the BSP, once, is here. The counter must
        // run in order to be read; no timer raises interrupts, by the loop above.
        unsafe {
            let configuration = registers.byte_add(HPET_CONFIGURATION);
            configuration.write_volatile(configuration.read_volatile() & !HPET_LEGACY | HPET_ENABLE);
        }
        Some(ReferenceClock::Hpet { registers, clock })
    }

    fn pit() -> ReferenceClock {
        // SAFETY: channel 2 drives the speaker and nothing else. Its gate is opened, the speaker's is closed.
        unsafe {
            let mut control = Port::<u8>::new(SPEAKER_CONTROL);
            let value = control.read();
            control.write(value & !0b11 | 0b01);
            Port::<u8>::new(PIT_COMMAND).write(PIT_COUNT);
            // A count of 0 means 2^16.
            let mut channel = Port::<u8>::new(PIT_CHANNEL_2);
            channel.write(0);
            channel.write(0);
        }
        ReferenceClock::Pit
    }

    /// Whether it can be the clock itself: the PIT wraps before anybody looks, and cannot be read by two CPUs at once.
    pub fn is_clock(&self) -> bool {
        !matches!(self, ReferenceClock::Pit)
    }

    /// Its name in reports.
    pub fn name(&self) -> &'static str {
        match self {
            ReferenceClock::Hpet { .. } => "hpet",
            ReferenceClock::PmTimer(_) => "pm_timer",
            ReferenceClock::Pit => "pit",
        }
    }

    /// How its readings are to be understood.
    pub fn clock(&self) -> CounterSpec {
        match self {
            ReferenceClock::Hpet { clock, .. } => *clock,
            ReferenceClock::PmTimer(timer) => CounterSpec::pm_timer(timer.wide),
            ReferenceClock::Pit => CounterSpec::pit(),
        }
    }

    /// Its count.
    pub fn read(&self) -> u64 {
        match self {
            // SAFETY: mapped for good; reading has no effect.
            ReferenceClock::Hpet { registers, .. } => unsafe {
                registers.byte_add(HPET_MAIN_COUNTER).read_volatile()
            },
            // SAFETY: reading the timer's port has no effect.
            ReferenceClock::PmTimer(timer) => {
                u64::from(unsafe { PortReadOnly::<u32>::new(timer.port).read() })
            }
            // SAFETY: latching and reading channel 2 does not disturb its count; no other code uses the PIT.
            ReferenceClock::Pit => unsafe {
                Port::<u8>::new(PIT_COMMAND).write(PIT_LATCH);
                let mut channel = Port::<u8>::new(PIT_CHANNEL_2);
                let low = channel.read();
                u64::from(u16::from_le_bytes([low, channel.read()]))
            },
        }
    }
}
