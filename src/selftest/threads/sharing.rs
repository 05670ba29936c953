//! Checks that threads of the same weight share a CPU. Called by the part `threads`.

use core::sync::atomic::{AtomicU64, Ordering};
use core::time::Duration;

use super::super::check::{CheckResult, ensure};
use super::blocking::{deadline, ended};
use crate::cpu::CpuId;
use crate::sched;
use crate::smp;
use crate::thread::Builder;
use crate::time::now_ns;

/// The slice of each thread.
const SLICE: Duration = Duration::from_millis(1);

/// How often the CPU switches between the two.
const TURNS: u64 = 60;

/// One thread may have so many times the other's share: the host may stop the machine in the middle of a slice, but not in each.
const MOST: u64 = 8;

/// The rounds that each thread has made.
static ROUNDS: [AtomicU64; 2] = [const { AtomicU64::new(0) }; 2];

/// The thread that made the last one, and how often it was another one than before.
static LAST: AtomicU64 = AtomicU64::new(0);
static TURN: AtomicU64 = AtomicU64::new(0);

/// Two threads compute on one CPU. Returns the number of threads.
pub(super) fn run() -> CheckResult<u64> {
    if sched::policy().is_none_or(|policy| !policy.is_fair) {
        return Ok(0);
    }
    let on = smp::online().last().map_or(CpuId::BSP, smp::Cpu::id);
    [&ROUNDS[0], &ROUNDS[1], &LAST, &TURN].into_iter().for_each(|word| word.store(0, Ordering::SeqCst));
    let until = deadline();
    let spawn = |number: u64| {
        Builder::new().name("sharing").pinned(on).slice(SLICE).spawn(move || {
            while TURN.load(Ordering::Relaxed) < TURNS && now_ns() < until {
                ROUNDS[number as usize].fetch_add(1, Ordering::Relaxed);
                if LAST.load(Ordering::Relaxed) != number {
                    LAST.store(number, Ordering::Relaxed);
                    TURN.fetch_add(1, Ordering::Relaxed);
                }
            }
        })
    };
    let (one, other) = (spawn(0)?, spawn(1)?);
    ended(one)?;
    ended(other)?;
    let turns = TURN.load(Ordering::Relaxed);
    ensure!(
        turns >= TURNS,
        "threads: cpu {on} has switched {turns} times of {TURNS} between two that compute"
    );
    let rounds = [&ROUNDS[0], &ROUNDS[1]].map(|rounds| rounds.load(Ordering::Relaxed));
    let (least, most) = (rounds[0].min(rounds[1]), rounds[0].max(rounds[1]));
    ensure!(
        most <= MOST * least,
        "threads: of two of the same weight, one has had {} times the share of the other",
        most / least.max(1)
    );
    Ok(2)
}
