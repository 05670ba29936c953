//! The arithmetic behind the clock: what a counter's frequency is, measured against one that is known, and how its
//! ticks become nanoseconds. Reading the counters is the rest of `time`'s job; here nothing touches hardware.
//!
//! A [`CounterSpec`] is a counter of known frequency, with its width and direction. Two readings of it beside two of
//! the TSC give a frequency; [`Median`] makes one of three and says how far they agree; [`Scale`] converts by one
//! multiplication. Where CPUID knows, [`tsc_hz_from_cpuid`] spares all of that.

#[cfg(test)]
mod tests;

/// The ACPI power management timer's frequency (ACPI 6.5 §4.8.3.3).
pub const PM_TIMER_HZ: u64 = 3_579_545;

/// The 8254 interval timer's input frequency: a twelfth of the PC's 14.318 MHz crystal.
pub const PIT_HZ: u64 = 1_193_182;

/// The longest period that an HPET may have, in femtoseconds: 100 ns (IA-PC HPET specification 1.0a, §2.3.4).
pub const MAX_HPET_PERIOD_FS: u32 = 0x05f5_e100;

/// A shorter period, in femtoseconds, is none of an HPET's: a counter of 1 GHz.
const MIN_HPET_PERIOD_FS: u32 = 1_000_000;

/// The least number of an HPET's last timer: it has three at least.
const HPET_LEAST_LAST_TIMER: u64 = 2;

/// In an HPET's capabilities: its counter has 64 bits.
const HPET_COUNT_SIZE_CAP: u64 = 1 << 13;

/// Nanoseconds in a second.
pub const NS_PER_SECOND: u64 = 1_000_000_000;

/// Femtoseconds in a second.
const FS_PER_SECOND: u64 = 1_000_000_000_000_000;

/// The frequency of a counter that made `cycles` steps while a reference made `reference_ticks`, to the nearest hertz.
/// `None` if the reference did not move, or if no frequency comes out that 64 bits hold.
pub const fn frequency_hz(cycles: u64, reference_ticks: u64, reference_hz: u64) -> Option<u64> {
    rational_frequency(cycles, reference_ticks, reference_hz, 1)
}

/// As [`frequency_hz`], with the reference's frequency as a fraction.
const fn rational_frequency(cycles: u64, ticks: u64, numerator: u64, denominator: u64) -> Option<u64> {
    let divisor = ticks as u128 * denominator as u128;
    if divisor == 0 {
        return None;
    }
    let Some(dividend) = (cycles as u128 * numerator as u128).checked_add(divisor / 2) else { return None };
    let hz = dividend / divisor;
    if hz == 0 || hz > u64::MAX as u128 { None } else { Some(hz as u64) }
}

/// A counter whose frequency is known and which wraps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CounterSpec {
    /// Hertz as a fraction: an HPET's period is whole, its frequency need not be.
    numerator: u64,
    denominator: u64,
    /// As many ones as the counter has bits.
    mask: u64,
    counts_down: bool,
}

impl CounterSpec {
    /// The power management timer; `wide` where the FADT's flag TMR_VAL_EXT gives it 32 bits for 24 (ACPI 6.5 §5.2.9,
    /// fixed feature flags).
    pub const fn pm_timer(wide: bool) -> CounterSpec {
        let mask = if wide { 0xffff_ffff } else { 0xff_ffff };
        CounterSpec { numerator: PM_TIMER_HZ, denominator: 1, mask, counts_down: false }
    }

    /// An HPET's main counter, by the period and the width that its capability register tells (IA-PC HPET specification
    /// 1.0a, §2.3.4: COUNTER_CLK_PERIOD, COUNT_SIZE_CAP). `None` for a period that cannot be.
    pub const fn hpet(period_fs: u32, wide: bool) -> Option<CounterSpec> {
        if period_fs == 0 || period_fs > MAX_HPET_PERIOD_FS {
            return None;
        }
        let mask = if wide { u64::MAX } else { 0xffff_ffff };
        Some(CounterSpec {
            numerator: FS_PER_SECOND,
            denominator: period_fs as u64,
            mask,
            counts_down: false,
        })
    }

    /// The same, by that register as it is read. `None` where it holds what no HPET has: a revision of 0, which is not
    /// permitted (REV_ID), no vendor, fewer than three timers (NUM_TIM_CAP), or a period that cannot be. A table of
    /// firmware's, which begins with four letters and its length, is none.
    pub const fn hpet_by_capabilities(capabilities: u64) -> Option<CounterSpec> {
        let (revision, vendor) = (capabilities as u8, (capabilities >> 16) as u16);
        let (last_timer, period_fs) = (capabilities >> 8 & 0x1f, (capabilities >> 32) as u32);
        if revision == 0 || revision == u8::MAX || vendor == 0 || vendor == u16::MAX {
            return None;
        }
        if last_timer < HPET_LEAST_LAST_TIMER || period_fs < MIN_HPET_PERIOD_FS {
            return None;
        }
        CounterSpec::hpet(period_fs, capabilities & HPET_COUNT_SIZE_CAP != 0)
    }

    /// A channel of the interval timer that counts down from 2^16, which is what a reload value of 0 means.
    pub const fn pit() -> CounterSpec {
        CounterSpec { numerator: PIT_HZ, denominator: 1, mask: 0xffff, counts_down: true }
    }

    /// A TSC of known frequency. `None` for 0 Hz.
    pub const fn tsc(hz: u64) -> Option<CounterSpec> {
        if hz == 0 {
            return None;
        }
        Some(CounterSpec { numerator: hz, denominator: 1, mask: u64::MAX, counts_down: false })
    }

    /// Ticks from one reading to the next, right as long as less than [`wrap_ns`](Self::wrap_ns) lies between them.
    /// Bits beyond the counter's width are ignored.
    pub const fn ticks_between(&self, earlier: u64, later: u64) -> u64 {
        let moved = if self.counts_down { earlier.wrapping_sub(later) } else { later.wrapping_sub(earlier) };
        moved & self.mask
    }

    /// How long a number of ticks takes, in whole nanoseconds.
    pub const fn ns_of(&self, ticks: u64) -> u64 {
        // The product is below 2^121: 64 bits of ticks, 27 of an HPET's period, 30 of nanoseconds.
        let ns = ticks as u128 * self.denominator as u128 * NS_PER_SECOND as u128 / self.numerator as u128;
        if ns > u64::MAX as u128 { u64::MAX } else { ns as u64 }
    }

    /// Ticks that take at least so long.
    pub const fn ticks_for_ns(&self, ns: u64) -> u64 {
        let scale = self.denominator as u128 * NS_PER_SECOND as u128;
        let ticks = (ns as u128 * self.numerator as u128).div_ceil(scale);
        if ticks > u64::MAX as u128 { u64::MAX } else { ticks as u64 }
    }

    /// From its ticks to nanoseconds.
    pub const fn scale_to_ns(&self) -> Option<Scale> {
        Scale::ratio(NS_PER_SECOND as u128 * self.denominator as u128, self.numerator as u128)
    }

    /// A count beyond the counter's width: the least that is no less than `before` and ends in the bits of `reading`. A
    /// reading that is a little less than `before`, by up to a sixteenth of a wrap, is a counter that stumbled: then it is
    /// `before` again.
    pub const fn extend(&self, before: u64, reading: u64) -> u64 {
        let moved = reading.wrapping_sub(before) & self.mask;
        if moved > self.mask - self.mask / 16 { before } else { before.wrapping_add(moved) }
    }

    /// After how long the counter shows the same value again, in nanoseconds; `u64::MAX` for later than that.
    pub const fn wrap_ns(&self) -> u64 {
        // One short of the whole period, which 64 bits need not hold.
        self.ns_of(self.mask)
    }

    /// The frequency of a counter that made `cycles` steps between two readings of this one, in hertz.
    pub const fn frequency_hz(&self, cycles: u64, earlier: u64, later: u64) -> Option<u64> {
        rational_frequency(cycles, self.ticks_between(earlier, later), self.numerator, self.denominator)
    }
}

/// A wait until a clock has moved on by so many ticks, of which the caller takes the readings. It ends whatever they are: with
/// an error for a clock that stands still, or that is none, because its readings go back.
pub struct Window {
    clock: CounterSpec,
    begin: u64,
    now: u64,
    ticks: u64,
    unmoved: u32,
    backward: u32,
}

/// So many equal readings are those of a clock that stands still: reading takes at least tens of nanoseconds, and the slowest
/// clock's ticks are below a microsecond.
pub const READINGS_TO_MOVE: u32 = 100_000;

/// So many readings may be less than the one before: some chipsets return a wrong count now and then.
const BACKWARD_READINGS: u32 = 100;

/// The readings are not those of a clock that counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotCounting;

impl Window {
    /// Of `ticks` from the reading `begin` on: fewer than half of what the clock counts before it wraps.
    pub const fn new(clock: CounterSpec, begin: u64, ticks: u64) -> Window {
        Window { clock, begin, now: begin, ticks, unmoved: 0, backward: 0 }
    }

    /// Takes a reading. Returns whether the wait is over.
    ///
    /// # Errors
    /// [`NotCounting`] after [`READINGS_TO_MOVE`] equal readings in a row, or after a hundred that went back. A pause of the
    /// machine for more than half of the clock's wrap looks like one of these.
    pub const fn is_over(&mut self, reading: u64) -> Result<bool, NotCounting> {
        let step = self.clock.ticks_between(self.now, reading);
        self.unmoved = if step == 0 { self.unmoved + 1 } else { 0 };
        self.backward += (step > self.clock.mask / 2) as u32;
        self.now = reading;
        if self.unmoved > READINGS_TO_MOVE || self.backward > BACKWARD_READINGS {
            return Err(NotCounting);
        }
        let moved = self.clock.ticks_between(self.begin, reading);
        Ok(moved >= self.ticks && moved <= self.clock.mask / 2)
    }
}

/// The frequencies that a TSC can have, in hertz.
const TSC_HZ: core::ops::RangeInclusive<u64> = 1_000_000..=100_000_000_000;

/// A frequency of the TSC that CPUID or a hypervisor told; `None` for one that no TSC has, for which a wait would not end.
pub fn plausible_tsc_hz(hz: u64) -> Option<u64> {
    TSC_HZ.contains(&hz).then_some(hz)
}

/// The TSC's frequency from CPUID leaf 15H: EAX is the denominator and EBX the numerator of its ratio to the core
/// crystal clock, ECX that clock in hertz. `None` where any is 0, which means "not enumerated" (Intel SDM Vol. 2A,
/// CPUID, leaf 15H); hypervisors offer the leaf with zeros throughout.
pub const fn tsc_hz_from_cpuid(denominator: u32, numerator: u32, crystal_hz: u32) -> Option<u64> {
    frequency_hz(numerator as u64, denominator as u64, crystal_hz as u64)
}

/// The median of three measurements of one frequency, and how far they can be trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Median {
    /// The one in the middle.
    pub hz: u64,
    /// How far the nearer of the other two is from it, in parts per million.
    pub nearest_ppm: u64,
    /// How far the highest and the lowest are apart, in parts per million of the median.
    pub spread_ppm: u64,
}

impl Median {
    /// The median of three.
    pub const fn of(samples: [u64; 3]) -> Median {
        let [a, b, c] = samples;
        let (low, high) = if a <= b { (a, b) } else { (b, a) };
        let (low, hz, high) = if c <= low {
            (c, low, high)
        } else if c <= high {
            (low, c, high)
        } else {
            (low, high, c)
        };
        let below = hz - low;
        let above = high - hz;
        let nearest = if below < above { below } else { above };
        Median {
            hz,
            nearest_ppm: parts_per_million(nearest, hz),
            spread_ppm: parts_per_million(high - low, hz),
        }
    }

    /// Whether two of the three agree within the tolerance. One that does not is an interruption by the host or the
    /// firmware, which the median has outvoted; if none do, the measurement must be repeated.
    pub const fn agrees(&self, tolerance_ppm: u64) -> bool {
        self.hz != 0 && self.nearest_ppm <= tolerance_ppm
    }
}

/// One counter's frequency over three adjacent windows and over all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Windows {
    /// The median of the three windows.
    pub median: Median,
    /// Over the three windows as one, in hertz.
    whole_hz: u64,
}

impl Windows {
    /// The frequency in each window and over all three, in hertz.
    pub const fn of(windows_hz: [u64; 3], whole_hz: u64) -> Windows {
        Windows { median: Median::of(windows_hz), whole_hz }
    }

    /// The frequency in hertz. Where all three windows agree within the tolerance it is that of the whole, in which the
    /// error of a sample weighs a third; else it is the median, which an interruption at one sample cannot move.
    pub const fn hz(&self, tolerance_ppm: u64) -> u64 {
        if self.median.spread_ppm <= tolerance_ppm { self.whole_hz } else { self.median.hz }
    }
}

/// A part of a whole.
pub const fn parts_per_million(part: u64, whole: u64) -> u64 {
    if whole == 0 {
        return if part == 0 { 0 } else { u64::MAX };
    }
    let ppm = part as u128 * 1_000_000 / whole as u128;
    if ppm > u64::MAX as u128 { u64::MAX } else { ppm as u64 }
}

/// Converts a count at one frequency into a count at another, by one 64 by 64 bit multiplication and a shift.
///
/// With `exact` for `count * to_hz / from_hz`, [`convert`](Self::convert) gives a whole number that is never greater
/// than `exact` and less by under `1 + count / 2^shift`. The shift is the greatest, up to 63, with which the
/// multiplier fits into 64 bits: 63 from cycles of 500 MHz and above to nanoseconds, so that two centuries after power-on
/// the result is less than 2 ns short. It is monotone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scale {
    multiplier: u64,
    shift: u32,
}

impl Scale {
    /// From counts at `from_hz` to counts at `to_hz`. `None` if either is 0.
    pub const fn new(from_hz: u64, to_hz: u64) -> Option<Scale> {
        Scale::ratio(to_hz as u128, from_hz as u128)
    }

    /// To counts of which there are `numerator` for each `denominator`. `None` if either is 0 or does not fit.
    const fn ratio(numerator: u128, denominator: u128) -> Option<Scale> {
        if numerator == 0 || denominator == 0 || numerator > u64::MAX as u128 {
            return None;
        }
        let mut shift = 63;
        loop {
            let multiplier = (numerator << shift) / denominator;
            if shift == 0 && multiplier > u64::MAX as u128 {
                return None;
            }
            if multiplier <= u64::MAX as u128 {
                return Some(Scale { multiplier: multiplier as u64, shift });
            }
            shift -= 1;
        }
    }

    /// Makes 0 of every count.
    pub const NOTHING: Scale = Scale { multiplier: 0, shift: 0 };

    /// From counts at `hz` to nanoseconds.
    pub const fn to_ns(hz: u64) -> Option<Scale> {
        Scale::new(hz, NS_PER_SECOND)
    }

    /// The count at the other frequency, rounded down. A result of 2^64 or more loses its upper bits; in nanoseconds
    /// that takes 584 years. The mask tells the compiler that one double shift will do.
    #[inline]
    pub const fn convert(&self, count: u64) -> u64 {
        ((count as u128 * self.multiplier as u128) >> (self.shift & 63)) as u64
    }
}

/// Nanoseconds into counts that take at least so long, for arming a timer: one multiplication, and a shift by a constant.
/// What is longer than [`longest_ns`](Self::longest_ns) becomes that, and is for the caller to chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AlarmScale {
    /// Counts in a nanosecond, rounded up, with 32 bits behind the point.
    multiplier: u64,
    longest_ns: u64,
}

impl AlarmScale {
    /// Nanoseconds are counts.
    pub const GIGAHERTZ: AlarmScale = AlarmScale { multiplier: 1 << 32, longest_ns: u64::MAX - 1 };

    /// To counts at `hz`, of which a timer takes no more than `most`. `None` if no time at all comes out.
    pub const fn new(hz: u64, most: u64) -> Option<AlarmScale> {
        let multiplier = ((hz as u128) << 32).div_ceil(NS_PER_SECOND as u128);
        if multiplier == 0 || multiplier > u64::MAX as u128 || most < 2 {
            return None;
        }
        let longest_ns = (((most - 1) as u128) << 32) / multiplier;
        let longest_ns = if longest_ns > u64::MAX as u128 { u64::MAX } else { longest_ns as u64 };
        Some(AlarmScale { multiplier: multiplier as u64, longest_ns })
    }

    /// The longest time that is converted.
    #[cfg(test)]
    pub const fn longest_ns(&self) -> u64 {
        self.longest_ns
    }

    /// Counts that take no less than so long, or than [`longest_ns`](Self::longest_ns), and more by at most
    /// `1 + ns / 2^32`; at least one, and never more than the timer takes.
    #[inline]
    pub const fn counts(&self, ns: u64) -> u64 {
        let ns = if ns < self.longest_ns { ns } else { self.longest_ns };
        ((ns as u128 * self.multiplier as u128) >> 32) as u64 + 1
    }
}
