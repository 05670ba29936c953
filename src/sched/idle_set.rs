//! The CPUs that have nothing to run.

use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use super::entity::Affinity;
use crate::config::MAX_CPUS;
use crate::cpu::CpuId;
use crate::smp;

const WORDS: usize = (MAX_CPUS as usize).div_ceil(64);

/// A bit for each CPU.
static WORD: [AtomicU64; WORDS] = [const { AtomicU64::new(0) }; WORDS];

/// The number of bits.
static COUNT: AtomicU32 = AtomicU32::new(0);

fn position(cpu: CpuId) -> (&'static AtomicU64, u64) {
    (&WORD[cpu.index() / 64 % WORDS], 1 << (cpu.index() % 64))
}

/// Adds this CPU. The caller then looks for threads; a waker that has not seen the CPU here has queued its thread before.
pub(super) fn insert(cpu: CpuId) {
    let (word, bit) = position(cpu);
    if word.fetch_or(bit, Ordering::SeqCst) & bit == 0 {
        COUNT.fetch_add(1, Ordering::SeqCst);
    }
}

/// Removes this CPU, if it is in the set.
pub(super) fn remove(cpu: CpuId) {
    let (word, bit) = position(cpu);
    if word.load(Ordering::Relaxed) & bit != 0 && word.fetch_and(!bit, Ordering::SeqCst) & bit != 0 {
        COUNT.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Returns whether a CPU is in the set. **Context:** any; the result may be old.
#[inline(always)]
pub(crate) fn contains(cpu: CpuId) -> bool {
    let (word, bit) = position(cpu);
    word.load(Ordering::SeqCst) & bit != 0
}

/// Returns whether the set has a CPU. **Context:** any; the result may be old.
#[inline(always)]
pub(super) fn is_any() -> bool {
    COUNT.load(Ordering::SeqCst) != 0
}

/// Returns the CPU of the set that is next to `near` by number, may run a thread of that affinity, and fulfils the condition.
#[inline]
pub(super) fn nearest(near: CpuId, affinity: Affinity, fulfils: impl Fn(CpuId) -> bool) -> Option<CpuId> {
    if !is_any() {
        return None;
    }
    match affinity {
        Affinity::Pinned(only) => (contains(only) && fulfils(only)).then_some(only),
        _ => nearest_of_all(near, &|cpu| affinity.allows(cpu) && fulfils(cpu)),
    }
}

fn nearest_of_all(near: CpuId, may: &dyn Fn(CpuId) -> bool) -> Option<CpuId> {
    let words = smp::cpus().len().div_ceil(64).min(WORDS);
    let start = (near.index() / 64).min(words.saturating_sub(1));
    let below = (1 << (near.index() % 64)) - 1;
    // The word of `near` twice: first the bits from it on, at the end those below.
    let masked = (0..=words).map(|step| match step {
        0 => (start, !below),
        step if step == words => (start, below),
        step => ((start + step) % words, u64::MAX),
    });
    let bits_of = |(word, mask): (usize, u64)| {
        bits(WORD[word].load(Ordering::SeqCst) & mask).map(move |bit| CpuId((word * 64) as u32 + bit))
    };
    masked.flat_map(bits_of).find(|cpu| may(*cpu))
}

fn bits(mut word: u64) -> impl Iterator<Item = u32> {
    core::iter::from_fn(move || {
        let bit = word.trailing_zeros();
        word &= word.checked_sub(1)?;
        Some(bit)
    })
}
