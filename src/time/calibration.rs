//! The arithmetic of the clock: frequencies from counter readings, and conversion of ticks to nanoseconds. Pure: nothing here
//! accesses hardware.
//!
//! A [`CounterSpec`] describes a counter of known frequency, with its width and direction. Two readings of it and two of the
//! TSC give the TSC's frequency. [`Median`] combines three measurements and says how well they agree. [`Scale`] converts by one
//! multiplication. [`tsc_hz_from_cpuid`] computes the frequency from CPUID leaf 15H.

#[cfg(test)]
mod tests;

/// The ACPI power management timer's frequency (ACPI 6.5 §4.8.3.3).
pub(crate) const PM_TIMER_HZ: u64 = 3_579_545;

/// The 8254 interval timer's input frequency: a twelfth of the PC's 14.318 MHz crystal.
pub(crate) const PIT_HZ: u64 = 1_193_182;

/// The longest period that an HPET may have, in femtoseconds: 100 ns (IA-PC HPET specification 1.0a, §2.3.4).
pub(crate) const MAX_HPET_PERIOD_FS: u32 = 0x05f5_e100;

/// The shortest plausible period of an HPET, in femtoseconds: that of 1 GHz.
const MIN_HPET_PERIOD_FS: u32 = 1_000_000;

/// The smallest value of an HPET's NUM_TIM_CAP, the number of its last timer: an HPET has at least three timers.
const HPET_LEAST_LAST_TIMER: u64 = 2;

/// COUNT_SIZE_CAP in an HPET's capabilities: the counter has 64 bits.
const HPET_COUNT_SIZE_CAP: u64 = 1 << 13;

/// Nanoseconds in a second.
pub(crate) const NS_PER_SECOND: u64 = 1_000_000_000;

/// Femtoseconds in a second.
const FS_PER_SECOND: u64 = 1_000_000_000_000_000;

/// The frequency of a counter that advanced by `cycles` while a reference advanced by `reference_ticks`, to the nearest hertz.
/// `None` if the reference did not count, or if the result is 0 or exceeds 64 bits.
pub(crate) const fn frequency_hz(cycles: u64, reference_ticks: u64, reference_hz: u64) -> Option<u64> {
    rational_frequency(cycles, reference_ticks, reference_hz, 1)
}

/// [`frequency_hz`] with the reference's frequency as a fraction.
const fn rational_frequency(cycles: u64, ticks: u64, numerator: u64, denominator: u64) -> Option<u64> {
    let divisor = ticks as u128 * denominator as u128;
    if divisor == 0 {
        return None;
    }
    let Some(dividend) = (cycles as u128 * numerator as u128).checked_add(divisor / 2) else { return None };
    let hz = dividend / divisor;
    if hz == 0 || hz > u64::MAX as u128 { None } else { Some(hz as u64) }
}

/// A counter of known frequency that wraps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CounterSpec {
    /// The frequency in hertz as a fraction: the period of an HPET is an integer, its frequency may not be.
    numerator: u64,
    denominator: u64,
    /// The counter's bits.
    mask: u64,
    counts_down: bool,
}

impl CounterSpec {
    /// The power management timer. It has 32 bits if `wide` (the FADT's flag TMR_VAL_EXT, ACPI 6.5 §5.2.9), else 24.
    pub(crate) const fn pm_timer(wide: bool) -> CounterSpec {
        let mask = if wide { 0xffff_ffff } else { 0xff_ffff };
        CounterSpec { numerator: PM_TIMER_HZ, denominator: 1, mask, counts_down: false }
    }

    /// An HPET's main counter, from COUNTER_CLK_PERIOD and COUNT_SIZE_CAP of its capability register (IA-PC HPET specification
    /// 1.0a, §2.3.4). `None` for a period of 0 or above [`MAX_HPET_PERIOD_FS`].
    pub(crate) const fn hpet(period_fs: u32, wide: bool) -> Option<CounterSpec> {
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

    /// An HPET's main counter, from the value of its capability register. `None` for values that no HPET has: a revision of 0
    /// (REV_ID), no vendor, fewer than three timers (NUM_TIM_CAP), or an implausible period. The checks also reject an ACPI
    /// table at that address.
    pub(crate) const fn hpet_by_capabilities(capabilities: u64) -> Option<CounterSpec> {
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

    /// A channel of the interval timer that counts down from 2^16 (reload value 0).
    pub(crate) const fn pit() -> CounterSpec {
        CounterSpec { numerator: PIT_HZ, denominator: 1, mask: 0xffff, counts_down: true }
    }

    /// A TSC of this frequency in hertz. `None` for 0.
    pub(crate) const fn tsc(hz: u64) -> Option<CounterSpec> {
        if hz == 0 {
            return None;
        }
        Some(CounterSpec { numerator: hz, denominator: 1, mask: u64::MAX, counts_down: false })
    }

    /// Ticks between two readings less than [`wrap_ns`](Self::wrap_ns) apart. Bits beyond the counter's width are ignored.
    pub(crate) const fn ticks_between(&self, earlier: u64, later: u64) -> u64 {
        let moved = if self.counts_down { earlier.wrapping_sub(later) } else { later.wrapping_sub(earlier) };
        moved & self.mask
    }

    /// The duration of a number of ticks in nanoseconds, rounded down.
    pub(crate) const fn ns_of(&self, ticks: u64) -> u64 {
        // The product is below 2^121: 64 bits of ticks, 27 of an HPET's period, 30 of nanoseconds.
        let ns = ticks as u128 * self.denominator as u128 * NS_PER_SECOND as u128 / self.numerator as u128;
        if ns > u64::MAX as u128 { u64::MAX } else { ns as u64 }
    }

    /// The number of ticks that take at least `ns` nanoseconds.
    pub(crate) const fn ticks_for_ns(&self, ns: u64) -> u64 {
        let scale = self.denominator as u128 * NS_PER_SECOND as u128;
        let ticks = (ns as u128 * self.numerator as u128).div_ceil(scale);
        if ticks > u64::MAX as u128 { u64::MAX } else { ticks as u64 }
    }

    /// The scale from ticks to nanoseconds.
    pub(crate) const fn scale_to_ns(&self) -> Option<Scale> {
        Scale::ratio(NS_PER_SECOND as u128 * self.denominator as u128, self.numerator as u128)
    }

    /// Extends a reading to 64 bits: returns the least count that is not less than `before` and has `reading` in its low
    /// bits. A reading that is less than `before` by up to a sixteenth of a wrap counts as a counter that went backwards; the
    /// result is then `before`.
    pub(crate) const fn extend(&self, before: u64, reading: u64) -> u64 {
        let moved = reading.wrapping_sub(before) & self.mask;
        if moved > self.mask - self.mask / 16 { before } else { before.wrapping_add(moved) }
    }

    /// The time until the counter wraps, in nanoseconds; saturates at `u64::MAX`.
    pub(crate) const fn wrap_ns(&self) -> u64 {
        // One tick less than the whole period, which may exceed 64 bits.
        self.ns_of(self.mask)
    }

    /// The frequency in hertz of a counter that advanced by `cycles` between two readings of this one. `None` as for
    /// [`frequency_hz`].
    pub(crate) const fn frequency_hz(&self, cycles: u64, earlier: u64, later: u64) -> Option<u64> {
        rational_frequency(cycles, self.ticks_between(earlier, later), self.numerator, self.denominator)
    }
}

/// A wait until a clock has advanced by a number of ticks. The caller reads the clock. The wait always ends: with an error if
/// the clock does not count, or if its readings go backwards.
pub(crate) struct Window {
    clock: CounterSpec,
    begin: u64,
    now: u64,
    ticks: u64,
    unmoved: u32,
    backward: u32,
}

/// After this many equal readings a clock counts as stopped. A reading takes at least tens of nanoseconds, and a tick of the
/// slowest clock takes less than a microsecond.
pub(crate) const READINGS_TO_MOVE: u32 = 100_000;

/// How many readings may be less than the previous one: some chipsets occasionally return a wrong count.
const BACKWARD_READINGS: u32 = 100;

/// The clock does not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NotCounting;

impl Window {
    /// Creates a wait for `ticks` from the reading `begin` on. `ticks` is less than half of the clock's wrap.
    pub(crate) const fn new(clock: CounterSpec, begin: u64, ticks: u64) -> Window {
        Window { clock, begin, now: begin, ticks, unmoved: 0, backward: 0 }
    }

    /// Evaluates a reading. Returns whether the wait is over.
    ///
    /// # Errors
    /// [`NotCounting`] after [`READINGS_TO_MOVE`] equal readings in a row, or after a hundred that went backwards. A pause of
    /// the machine for more than half of the clock's wrap counts as going backwards.
    pub(crate) const fn is_over(&mut self, reading: u64) -> Result<bool, NotCounting> {
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

/// A reference clock's count and the TSC, read at nearly the same time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CountAndTsc {
    /// The count.
    pub count: u64,
    /// The TSC.
    pub tsc: u64,
}

/// Measures the TSC's frequency in `N` windows of `ticks`, and returns the least result, in hertz. `None` if the clock does not
/// count. A host that stops the CPU for more than half of the clock's wrap makes the result of that window too high: the
/// ticks of the wrap are missing.
pub(crate) fn least_frequency_hz<const N: usize>(
    clock: CounterSpec,
    ticks: u64,
    mut read: impl FnMut() -> u64,
    mut sample: impl FnMut() -> CountAndTsc,
) -> Option<u64> {
    let mut window_hz = || {
        let begin = sample();
        let mut window = Window::new(clock, begin.count, ticks);
        while !window.is_over(read()).ok()? {}
        let end = sample();
        clock.frequency_hz(end.tsc.wrapping_sub(begin.tsc), begin.count, end.count)
    };
    (0..N).filter_map(|_| window_hz()).min()
}

/// The plausible frequencies of a TSC, in hertz.
const TSC_HZ: core::ops::RangeInclusive<u64> = 1_000_000..=100_000_000_000;

/// Checks a frequency that CPUID or a hypervisor reports. `None` if it is implausible: waits based on it might not end.
pub(crate) fn plausible_tsc_hz(hz: u64) -> Option<u64> {
    TSC_HZ.contains(&hz).then_some(hz)
}

/// The TSC's frequency in hertz from CPUID leaf 15H: EAX is the denominator and EBX the numerator of the ratio of the TSC to
/// the core crystal clock, ECX is that clock's frequency in hertz. `None` if one of them is 0, "not enumerated" (Intel SDM
/// Vol. 2A, CPUID, leaf 15H). Some hypervisors enumerate the leaf with zeros.
pub(crate) const fn tsc_hz_from_cpuid(denominator: u32, numerator: u32, crystal_hz: u32) -> Option<u64> {
    frequency_hz(numerator as u64, denominator as u64, crystal_hz as u64)
}

/// The median of three measurements of one frequency, and how well they agree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Median {
    /// The median in hertz.
    pub hz: u64,
    /// The distance of the nearer of the other two from the median, in parts per million.
    pub nearest_ppm: u64,
    /// The distance between the highest and the lowest, in parts per million of the median.
    pub spread_ppm: u64,
}

impl Median {
    /// Computes the median of three frequencies in hertz.
    pub(crate) const fn of(samples: [u64; 3]) -> Median {
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

    /// Whether two of the three agree within the tolerance. A single outlier is a delay by the host or the firmware, which the
    /// median discards. If no two agree, the measurement must be repeated.
    pub(crate) const fn agrees(&self, tolerance_ppm: u64) -> bool {
        self.hz != 0 && self.nearest_ppm <= tolerance_ppm
    }
}

/// One counter's frequency over three adjacent windows and over all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Windows {
    /// The median of the three windows.
    pub median: Median,
    /// The frequency over all three windows, in hertz.
    whole_hz: u64,
}

impl Windows {
    /// Combines the frequencies of the three windows and the one over all of them, in hertz.
    pub(crate) const fn of(windows_hz: [u64; 3], whole_hz: u64) -> Windows {
        Windows { median: Median::of(windows_hz), whole_hz }
    }

    /// The frequency in hertz: that over all windows if all three agree within the tolerance, because the error of a sample
    /// weighs a third there; else the median, which a delay at one sample does not change.
    pub(crate) const fn hz(&self, tolerance_ppm: u64) -> u64 {
        if self.median.spread_ppm <= tolerance_ppm { self.whole_hz } else { self.median.hz }
    }
}

/// `part` in parts per million of `whole`; saturates at `u64::MAX`.
pub(crate) const fn parts_per_million(part: u64, whole: u64) -> u64 {
    if whole == 0 {
        return if part == 0 { 0 } else { u64::MAX };
    }
    let ppm = part as u128 * 1_000_000 / whole as u128;
    if ppm > u64::MAX as u128 { u64::MAX } else { ppm as u64 }
}

/// Converts a count at one frequency to a count at another, by a multiplication of 64 by 64 bits and a shift.
///
/// Let `exact` be `count * to_hz / from_hz`. [`convert`](Self::convert) returns an integer that is at most `exact` and more
/// than `exact - 1 - count / 2^shift`. The conversion is monotone. The shift is the largest one, up to 63, for which the
/// multiplier fits into 64 bits. From cycles of at least 500 MHz to nanoseconds it is 63, so that the error is less than 2 ns
/// for two centuries after power-on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Scale {
    multiplier: u64,
    shift: u32,
}

impl Scale {
    /// Creates the scale from counts at `from_hz` to counts at `to_hz`. `None` if either is 0.
    pub(crate) const fn new(from_hz: u64, to_hz: u64) -> Option<Scale> {
        Scale::ratio(to_hz as u128, from_hz as u128)
    }

    /// Creates the scale that multiplies by `numerator / denominator`. `None` if either is 0 or does not fit.
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

    /// Converts every count to 0.
    pub(crate) const NOTHING: Scale = Scale { multiplier: 0, shift: 0 };

    /// Creates the scale from counts at `hz` to nanoseconds. `None` if `hz` is 0.
    pub(crate) const fn to_ns(hz: u64) -> Option<Scale> {
        Scale::new(hz, NS_PER_SECOND)
    }

    /// Converts a count, rounding down. A result of 2^64 or more is truncated; in nanoseconds that is after 584 years.
    #[inline]
    pub(crate) const fn convert(&self, count: u64) -> u64 {
        // The mask lets the compiler use one double shift.
        ((count as u128 * self.multiplier as u128) >> (self.shift & 63)) as u64
    }
}

/// Converts nanoseconds to timer counts that take at least as long, by a multiplication and a constant shift. Times above
/// [`longest_ns`](Self::longest_ns) saturate; the caller sets the timer again after that time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct AlarmScale {
    /// Counts in a nanosecond, rounded up, as a fixed-point number with 32 fraction bits.
    multiplier: u64,
    longest_ns: u64,
}

impl AlarmScale {
    /// One count for each nanosecond.
    pub(crate) const GIGAHERTZ: AlarmScale = AlarmScale { multiplier: 1 << 32, longest_ns: u64::MAX - 1 };

    /// Creates the scale to counts at `hz` for a timer whose largest count is `most`. `None` if it cannot hold any time.
    pub(crate) const fn new(hz: u64, most: u64) -> Option<AlarmScale> {
        let multiplier = ((hz as u128) << 32).div_ceil(NS_PER_SECOND as u128);
        if multiplier == 0 || multiplier > u64::MAX as u128 || most < 2 {
            return None;
        }
        let longest_ns = (((most - 1) as u128) << 32) / multiplier;
        let longest_ns = if longest_ns > u64::MAX as u128 { u64::MAX } else { longest_ns as u64 };
        Some(AlarmScale { multiplier: multiplier as u64, longest_ns })
    }

    /// The longest time that is converted exactly, in nanoseconds.
    #[cfg(test)]
    pub const fn longest_ns(&self) -> u64 {
        self.longest_ns
    }

    /// Converts `ns`, limited to [`longest_ns`](Self::longest_ns). The counts take at least that long, and exceed it by at most
    /// `1 + ns / 2^32`. The result is between 1 and the timer's largest count.
    #[inline]
    pub(crate) const fn counts(&self, ns: u64) -> u64 {
        let ns = if ns < self.longest_ns { ns } else { self.longest_ns };
        ((ns as u128 * self.multiplier as u128) >> 32) as u64 + 1
    }
}
