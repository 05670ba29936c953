//! The arithmetic against plain 128-bit arithmetic, and the values that the manuals fix.

use std::cell::Cell;

use proptest::prelude::*;

use super::*;

#[test]
fn frequency_is_the_ratio_of_two_counts() {
    assert_eq!(frequency_hz(30_000_000, 35_795, PM_TIMER_HZ), Some(3_000_037_715));
    assert_eq!(frequency_hz(1, 2, 3), Some(2), "1.5 rounds up");
    assert_eq!(frequency_hz(4, 3, 1), Some(1), "1.33 rounds down");
    assert_eq!(frequency_hz(1, 0, 1), None, "the reference stands still");
    assert_eq!(frequency_hz(0, 1, 1), None, "the counter stands still");
    assert_eq!(frequency_hz(1, 3, 1), None, "less than half a hertz");
    assert_eq!(frequency_hz(u64::MAX, 1, 2), None, "more than 64 bits");
    assert_eq!(frequency_hz(u64::MAX, u64::MAX, u64::MAX), Some(u64::MAX));
}

#[test]
fn counters_wrap_at_their_own_width() {
    let narrow = CounterSpec::pm_timer(false);
    let wide = CounterSpec::pm_timer(true);
    assert_eq!(narrow.ticks_between(0xff_fff0, 0x10), 0x20);
    assert_eq!(narrow.ticks_between(0xabff_fff0, 0x12_000010), 0x20, "bits beyond the width");
    assert_eq!(wide.ticks_between(0xff_fff0, 0x100_0010), 0x20);
    assert_eq!(wide.ticks_between(0xffff_fff0, 0x10), 0x20);
    assert_eq!(CounterSpec::hpet(1, true).unwrap().ticks_between(u64::MAX, 4), 5);
    assert_eq!(CounterSpec::hpet(1, false).unwrap().ticks_between(0xffff_ffff, 4), 5);
}

#[test]
fn count_extends_beyond_the_width() {
    let clock = CounterSpec::pm_timer(false);
    assert_eq!(clock.extend(0, 0x10), 0x10);
    assert_eq!(clock.extend(0xff_fff0, 0x10), 0x100_0010, "it has wrapped");
    assert_eq!(clock.extend(0x7_00ff_fff0, 0xff_fff0), 0x7_00ff_fff0, "it has not moved");
    assert_eq!(clock.extend(0x7_0000_0010, 0x8), 0x7_0000_0010, "it has stumbled");
    assert_eq!(clock.extend(0x7_0000_0010, 0xef_ffff), 0x7_00ef_ffff, "most of a wrap");
    assert_eq!(CounterSpec::hpet(1_000_000, true).unwrap().extend(5, 4), 5);
}

#[test]
fn fractional_frequency_has_a_scale() {
    // 14.318 MHz is not a whole number of hertz.
    let hpet = CounterSpec::hpet(69_841_279, true).unwrap();
    assert_eq!(hpet.scale_to_ns().unwrap().convert(1_000_000_000), 69_841_279_000 - 1);
    assert_eq!(CounterSpec::pm_timer(true).scale_to_ns().unwrap().convert(PM_TIMER_HZ), NS_PER_SECOND - 1);
}

#[test]
fn pit_counts_down() {
    let pit = CounterSpec::pit();
    assert_eq!(pit.ticks_between(0xffff, 0xff00), 0xff);
    assert_eq!(pit.ticks_between(0x10, 0xfff0), 0x20);
    assert_eq!(pit.ticks_between(7, 7), 0);
}

#[test]
fn implausible_hpet_capabilities_are_rejected() {
    // QEMU's: revision 1, three comparators, 64 bits, Intel, 10 ns.
    let qemu = 0x0098_9680_8086_a201;
    assert_eq!(CounterSpec::hpet_by_capabilities(qemu), CounterSpec::hpet(10_000_000, true));
    assert_eq!(CounterSpec::hpet_by_capabilities(qemu & !(1 << 13)), CounterSpec::hpet(10_000_000, false));
    for other in [
        0,
        u64::MAX,
        qemu & !0xff,
        qemu | 0xff,
        qemu & !0xffff_0000,
        qemu | 0xffff_0000,
        qemu & 0xffff_ffff,
        qemu & !0x1e00,
        qemu & 0xffff_ffff | 999_999 << 32,
        // The beginning of a FACS of 64 bytes.
        u64::from_le_bytes(*b"FACS\x40\0\0\0"),
    ] {
        assert_eq!(CounterSpec::hpet_by_capabilities(other), None, "{other:#x}");
    }
}

#[test]
fn hpet_period_has_bounds() {
    assert_eq!(CounterSpec::hpet(0, true), None);
    assert_eq!(CounterSpec::hpet(MAX_HPET_PERIOD_FS + 1, true), None);
    assert_eq!(CounterSpec::hpet(u32::MAX, true), None);
    let slowest = CounterSpec::hpet(MAX_HPET_PERIOD_FS, true).unwrap();
    assert_eq!(slowest.ns_of(1), 100);
    // QEMU's has a period of 10 ns, many chipsets' one of 69.841279 ns.
    assert_eq!(
        CounterSpec::hpet(10_000_000, false).unwrap().frequency_hz(25_000, 0, 1000),
        Some(2_500_000_000)
    );
    assert_eq!(CounterSpec::hpet(69_841_279, false).unwrap().ns_of(14_318_180), 1_000_000_004);
}

#[test]
fn wrap_time_is_that_of_the_width() {
    let ms = |clock: CounterSpec| clock.wrap_ns() / 1_000_000;
    assert_eq!(ms(CounterSpec::pit()), 54);
    assert_eq!(ms(CounterSpec::pm_timer(false)), 4686);
    assert_eq!(ms(CounterSpec::pm_timer(true)), 1_199_864);
    assert_eq!(ms(CounterSpec::hpet(10_000_000, false).unwrap()), 42_949);
    assert_eq!(CounterSpec::hpet(MAX_HPET_PERIOD_FS, true).unwrap().wrap_ns(), u64::MAX);
}

#[test]
fn cpuid_leaf_15_with_a_zero_gives_no_frequency() {
    // Skylake: 24 MHz crystal, ratio 216/2.
    assert_eq!(tsc_hz_from_cpuid(2, 216, 24_000_000), Some(2_592_000_000));
    for (denominator, numerator, crystal) in [(0, 0, 0), (0, 1, 1), (1, 0, 1), (1, 1, 0), (2, 216, 0)] {
        assert_eq!(tsc_hz_from_cpuid(denominator, numerator, crystal), None);
    }
    assert_eq!(tsc_hz_from_cpuid(1, u32::MAX, u32::MAX), Some(u64::from(u32::MAX).pow(2)));
    assert_eq!(tsc_hz_from_cpuid(u32::MAX, 1, 1), None);
}

/// How many readings a wait of `ticks` takes; `Err` if it fails.
fn readings(clock: CounterSpec, ticks: u64, mut next: impl FnMut(u64) -> u64) -> Result<u64, u64> {
    let mut window = Window::new(clock, next(0), ticks);
    (1..)
        .find_map(|count| match window.is_over(next(count)) {
            Ok(false) => None,
            Ok(true) => Some(Ok(count)),
            Err(NotCounting) => Some(Err(count)),
        })
        .unwrap()
}

#[test]
fn window_ends_for_all_readings() {
    let pm_timer = CounterSpec::pm_timer(false);
    // Up, down, and across the wrap.
    assert_eq!(readings(pm_timer, 7159, |count| count), Ok(7159));
    assert_eq!(readings(CounterSpec::pit(), 2386, |count| 10u64.wrapping_sub(count) & 0xffff), Ok(2386));
    assert_eq!(readings(pm_timer, 7159, |count| (0xff_fff0 + count) & 0xff_ffff), Ok(7159));
    assert_eq!(readings(CounterSpec::tsc(1_000_000).unwrap(), u64::MAX / 4, |count| count << 61), Ok(2));
    // A clock that stops, immediately or later.
    let stopped = u64::from(READINGS_TO_MOVE) + 1;
    assert_eq!(readings(pm_timer, 7159, |_| 5), Err(stopped));
    assert_eq!(readings(pm_timer, 7159, |count| count.min(100)), Err(stopped + 100));
    // A register that changes and does not count: it starts at its least value.
    assert_eq!(readings(pm_timer, 7159, |count| count % 4), Err(4 * 101));
    // A single wrong reading does not end the wait, and neither does a small step back.
    assert_eq!(readings(pm_timer, 7159, |count| if count == 1 { 0xff_ffff } else { count }), Ok(7159));
    assert_eq!(readings(pm_timer, 7159, |count| count - u64::from(count % 1000 == 7)), Ok(7159));
}

#[test]
fn a_stop_of_the_cpu_by_the_host_does_not_change_the_least_frequency() {
    const TSC_HZ: u64 = 2_000_000_000;
    let (clock, ms) = (CounterSpec::pit(), NS_PER_SECOND / 1000);
    for (stop_ns, at_reading) in [30 * ms, 40 * ms, 54 * ms, 60 * ms].into_iter().zip([1, 20, 150, 250]) {
        let (now_ns, reading) = (Cell::new(0), Cell::new(0));
        let read = || {
            reading.set(reading.get() + 1);
            now_ns.set(now_ns.get() + 1_000 + if reading.get() == at_reading { stop_ns } else { 0 });
            (PIT_HZ * now_ns.get() / NS_PER_SECOND).wrapping_neg() & 0xffff
        };
        let sample = || CountAndTsc { count: read(), tsc: now_ns.get() * 2 };
        let ticks = clock.ticks_for_ns(84_000);
        let hz = least_frequency_hz::<3>(clock, ticks, read, sample).unwrap();
        assert!(hz.abs_diff(TSC_HZ) < TSC_HZ / 20, "{stop_ns} ns: {hz}");
    }
    assert_eq!(least_frequency_hz::<3>(clock, 100, || 7, || CountAndTsc { count: 7, tsc: 9 }), None);
}

#[test]
fn implausible_tsc_frequency_is_rejected() {
    for hz in [0, 999_999, 100_000_000_001, u64::from(u32::MAX).pow(2)] {
        assert_eq!(plausible_tsc_hz(hz), None);
    }
    assert_eq!(plausible_tsc_hz(2_592_000_000), Some(2_592_000_000));
}

#[test]
fn median_discards_one_outlier() {
    for samples in [
        [1000, 1001, 5000],
        [1000, 5000, 1001],
        [1001, 1000, 5000],
        [1001, 5000, 1000],
        [5000, 1000, 1001],
        [5000, 1001, 1000],
    ] {
        let median = Median::of(samples);
        assert_eq!((median.hz, median.nearest_ppm, median.spread_ppm), (1001, 999, 3_996_003));
        assert!(median.agrees(999));
        assert!(!median.agrees(998));
    }
    assert_eq!(Median::of([7, 7, 7]), Median { hz: 7, nearest_ppm: 0, spread_ppm: 0 });
}

#[test]
fn agreeing_windows_use_the_whole_and_outliers_the_median() {
    let agree = Windows::of([999_800, 1_000_000, 1_000_300], 1_000_033);
    assert_eq!(agree.hz(1_000), 1_000_033);
    // A delay at the first sample shortens the first window and the whole alike.
    let outlier = Windows::of([900_000, 1_000_000, 1_000_300], 966_766);
    assert!(outlier.median.agrees(1_000));
    assert_eq!(outlier.hz(1_000), 1_000_000);
    // One at an inner sample spoils both windows that it bounds, and the third is their median.
    let inner = Windows::of([900_000, 1_100_000, 1_000_000], 1_000_000);
    assert!(!inner.median.agrees(1_000));
    assert_eq!(inner.hz(1_000), 1_000_000);
}

#[test]
fn three_different_frequencies_do_not_agree() {
    let median = Median::of([900_000, 1_000_000, 1_200_000]);
    assert_eq!((median.hz, median.nearest_ppm, median.spread_ppm), (1_000_000, 100_000, 300_000));
    assert!(!median.agrees(50_000));
    assert!(!Median::of([0, 0, 0]).agrees(u64::MAX), "a clock that stands still");
    assert!(!Median::of([0, 0, u64::MAX]).agrees(u64::MAX));
    assert_eq!(Median::of([0, 1, u64::MAX]).spread_ppm, u64::MAX);
}

#[test]
fn scale_requires_two_frequencies() {
    assert_eq!(Scale::to_ns(0), None);
    assert_eq!(Scale::new(u64::MAX, 1).unwrap().convert(u64::MAX), 0, "just short of 1");
    assert_eq!(Scale::new(1, u64::MAX).unwrap().convert(1), u64::MAX);
}

#[test]
fn scale_of_one_gigahertz_is_exact() {
    let scale = Scale::to_ns(NS_PER_SECOND).unwrap();
    assert_eq!(scale.shift, 63);
    for count in [0, 1, 12345, u64::MAX] {
        assert_eq!(scale.convert(count), count);
    }
}

#[test]
fn shift_is_63_from_500_mhz_up() {
    assert_eq!(Scale::to_ns(500_000_000).unwrap().shift, 62);
    for hz in [500_000_001, NS_PER_SECOND, 3_000_000_000, 10_000_000_000] {
        assert_eq!(Scale::to_ns(hz).unwrap().shift, 63);
    }
}

fn config() -> ProptestConfig {
    ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(5000) }
}

/// Numbers of all magnitudes.
fn any_size() -> impl Strategy<Value = u64> {
    (any::<u64>(), 0..64u32).prop_map(|(value, shift)| value >> shift)
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn convert_keeps_its_bounds(from in any_size(), to in any_size(), count in any_size()) {
        let (from, to) = (from.max(1), to.max(1));
        let scale = Scale::new(from, to).unwrap();
        let exact = u128::from(count) * u128::from(to) / u128::from(from);
        // A result of more than 64 bits is truncated, and not checked.
        prop_assume!(exact < 1 << 64);
        let found = u128::from(scale.convert(count));
        let slack = 1 + (u128::from(count) >> scale.shift);
        prop_assert!(found <= exact, "{} > {}", found, exact);
        // `exact` is rounded down here, which can only make the difference smaller.
        prop_assert!(exact - found <= slack, "{} is short of {}", found, exact);
    }

    #[test]
    fn tsc_to_ns_is_less_than_2_ns_short(hz in 500_000_001..20_000_000_000u64, cycles in 0..1u64 << 63) {
        let exact = u128::from(cycles) * u128::from(NS_PER_SECOND) / u128::from(hz);
        let found = u128::from(Scale::to_ns(hz).unwrap().convert(cycles));
        prop_assert!(found <= exact && exact - found < 2);
    }

    #[test]
    fn convert_is_monotone(hz in 1_000_000..20_000_000_000u64, a in 0..1u64 << 53, step in 0..10_000u64) {
        let scale = Scale::to_ns(hz).unwrap();
        prop_assert!(scale.convert(a) <= scale.convert(a + step));
    }

    #[test]
    fn alarm_is_not_early(hz in 1..20_000_000_000u64, most in 2..u64::MAX, ns in any_size()) {
        let scale = AlarmScale::new(hz, most).unwrap();
        let counts = scale.counts(ns);
        prop_assert!((1..=most).contains(&counts), "{} of {}", counts, most);
        let asked = ns.min(scale.longest_ns());
        let counted = u128::from(counts) * u128::from(NS_PER_SECOND);
        let exact = u128::from(asked) * u128::from(hz);
        prop_assert!(counted >= exact, "{} is early for {} ns", counts, asked);
        let slack = (1 + u128::from(asked >> 32) + 1) * u128::from(NS_PER_SECOND);
        prop_assert!(counted - exact <= slack, "{} is late for {} ns", counts, asked);
        // Only times that the timer cannot hold are reduced.
        let rest = u128::from(scale.longest_ns()) * u128::from(hz) / u128::from(NS_PER_SECOND);
        prop_assert!(scale.longest_ns() == u64::MAX || rest + 3 + u128::from(scale.longest_ns() >> 32) >= u128::from(most));
    }

    #[test]
    fn measured_frequency_matches_the_real_one(hz in 1_000_000..20_000_000_000u64, start in any::<u64>(), ms in 5..50u64) {
        for clock in [
            CounterSpec::pit(),
            CounterSpec::pm_timer(false),
            CounterSpec::pm_timer(true),
            CounterSpec::hpet(10_000_000, false).unwrap(),
            CounterSpec::hpet(69_841_279, true).unwrap(),
        ] {
            let ticks = clock.ticks_for_ns(ms * 1_000_000);
            let later = if clock.counts_down { start.wrapping_sub(ticks) } else { start.wrapping_add(ticks) };
            let cycles = u128::from(ticks) * u128::from(clock.denominator) * u128::from(hz) / u128::from(clock.numerator);
            let found = clock.frequency_hz(cycles as u64, start & clock.mask, later & clock.mask).unwrap();
            // A cycle more or less in the whole of it.
            prop_assert!(found.abs_diff(hz) <= 1000 / ms + 1, "{} for {}", found, hz);
            prop_assert!(clock.ns_of(ticks) + 1 >= ms * 1_000_000);
        }
    }

    #[test]
    fn no_readings_panic(a in any::<u64>(), b in any::<u64>(), c in any::<u64>(), period in 1..=MAX_HPET_PERIOD_FS) {
        let clock = CounterSpec::hpet(period, true).unwrap();
        let _ = (clock.frequency_hz(a, b, c), clock.ns_of(a), clock.ticks_for_ns(a), clock.wrap_ns());
        let median = Median::of([a, b, c]);
        let mut sorted = [a, b, c];
        sorted.sort_unstable();
        prop_assert_eq!(median.hz, sorted[1]);
    }
}
