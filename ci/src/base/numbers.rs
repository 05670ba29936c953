//! Numbers in a readable form.

/// A count that may have a fraction, which is then shown to the hundredth.
pub fn plain(count: f64) -> String {
    if count.fract() == 0.0 { format!("{count}") } else { format!("{count:.2}") }
}

/// A time in the unit that suits it.
pub fn time(us: f64) -> String {
    match us {
        us if us < 1e3 => format!("{us:.0} µs"),
        us if us < 1e4 => format!("{:.2} ms", us / 1e3),
        us if us < 1e6 => format!("{:.1} ms", us / 1e3),
        us => format!("{:.2} s", us / 1e6),
    }
}

/// A count with at most three digits and the letter of its power of a thousand.
pub fn short(count: f64) -> String {
    let mut scaled = count;
    for suffix in ["", "k", "M", "G", "T", "P"] {
        if scaled < 999.5 {
            let digits = usize::from(scaled < 9.95 && scaled.fract() > 0.04);
            return format!("{scaled:.digits$}{suffix}");
        }
        scaled /= 1000.0;
    }
    format!("{count:.0e}")
}

/// A size in the binary unit that suits it.
pub fn bytes(count: u64) -> String {
    let mut scaled = count as f64;
    for unit in ["B", "KiB", "MiB", "GiB", "TiB"] {
        if scaled < 1023.5 {
            let digits = usize::from(scaled < 99.95 && scaled.fract() > 0.04);
            return format!("{scaled:.digits$} {unit}");
        }
        scaled /= 1024.0;
    }
    format!("{scaled:.0} PiB")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_short() {
        assert_eq!(
            [0.0, 9.5, 999.4, 1500.0, 12_345.0, 3e9].map(short),
            ["0", "9.5", "999", "1.5k", "12k", "3G"]
        );
        assert_eq!([0, 4096, 130_023_424, 1 << 40].map(bytes), ["0 B", "4 KiB", "124 MiB", "1 TiB"]);
        assert_eq!(
            [0.0, 999.0, 1_234.0, 58_425.0, 1_091_520.0].map(time),
            ["0 µs", "999 µs", "1.23 ms", "58.4 ms", "1.09 s"]
        );
    }
}
