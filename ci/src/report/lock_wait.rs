//! A CPU's wait for a spin lock, as text.

use octopod::wire::LockWait;

/// The wait in words, without its CPU.
pub fn lock_wait_in_words(wait: &LockWait<String>) -> String {
    let mut line = format!("waits for {}", wait.lock);
    if let Some(at) = &wait.at {
        line.push_str(&format!(" at {at}"));
    }
    if wait.since_ns > 0 {
        let (since, waited) = (wait.since_ns as f64 / 1e9, wait.waited_ns as f64 / 1e6);
        line.push_str(&format!(" since {since:.6} s, for {waited:.1} ms"));
    }
    match wait.holder {
        Some(holder) => line.push_str(&format!(", held by CPU {holder}")),
        None => line.push_str(", which no CPU held"),
    }
    if let Some(at) = &wait.held_at {
        line.push_str(&format!(", taken at {at}"));
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_names_what_is_known_of_it() {
        let mut wait = LockWait { lock: "a::LOCK".to_owned(), ..LockWait::default() };
        assert_eq!(lock_wait_in_words(&wait), "waits for a::LOCK, which no CPU held");
        wait = LockWait {
            at: Some("a.rs:1".to_owned()),
            since_ns: 1_500_000_000,
            waited_ns: 4_000_100_000,
            holder: Some(2),
            held_at: Some("b.rs:2".to_owned()),
            ..wait
        };
        let words =
            "waits for a::LOCK at a.rs:1 since 1.500000 s, for 4000.1 ms, held by CPU 2, taken at b.rs:2";
        assert_eq!(lock_wait_in_words(&wait), words);
    }
}
