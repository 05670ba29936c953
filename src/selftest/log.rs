//! Checks the log. Eight CPUs write lines while each sends NMIs to the next, whose handler logs as well. Then NMIs interrupt the
//! CPU that holds the console, more of them than lines can be deferred. Every line must be written or counted. The launcher's
//! test checks that no line is torn.

use super::check::{CheckResult, ensure, failed, on_all_cpus, send_facts};
use super::nmis;
use crate::config::{IPI_CALL_TIMEOUT_MS, STRESS_GRACE_MS};
use crate::console::deferred::MAX_DEFERRED;
use crate::console::{self, Lines};
use crate::cpu;
use crate::smp::{self, Cpu};
use crate::sync::Timeout;

/// CPUs that log at once.
const MOST_CPUS: usize = 8;

/// Lines of each.
const LINES: u64 = 25;

/// NMIs whose lines do not fit into the buffer of deferred lines.
const TOO_MANY: u64 = 6;

/// Called in each NMI of this part.
fn log_line() {
    log::info!("NMI {} on cpu {}, end of line", nmis::handled_here(), cpu::current());
}

/// Runs the part.
///
/// **Context:** the thread of the BSP, interrupts on, while all APs wait for work.
///
/// # Errors
/// The first failed check.
pub(crate) fn run(_: u32) -> CheckResult {
    let logged = nmis::with_handler(log_line, || {
        let logged = all_at_once()?;
        while_held().map(|()| logged)
    })?;
    let cpus = loggers().count();
    log::info!("{logged} lines by {cpus} CPUs and their NMI handlers, no lines lost");
    send_facts("selftest.log", &[("cpus", cpus as u64), ("lines", logged)]);
    Ok(())
}

fn loggers() -> impl Iterator<Item = &'static Cpu> + Clone {
    smp::online().take(MOST_CPUS)
}

/// Logs on all CPUs, and returns the number of lines.
fn all_at_once() -> CheckResult<u64> {
    let lines_before = console::lines();
    let nmis_before: u64 = loggers().map(nmis::handled).sum();
    on_all_cpus(STRESS_GRACE_MS, &|cpu| {
        let Some(rank) = cpu.rank().filter(|rank| *rank < MOST_CPUS) else { return Ok(()) };
        for line in 0..LINES {
            loggers().cycle().nth(rank + 1).map_or(Ok(()), send_nmi)?;
            log::info!("line {line} of cpu {}, end of line", cpu.id());
        }
        Ok(())
    })?;
    loggers().try_for_each(wait_for)?;
    let nmis = loggers().map(nmis::handled).sum::<u64>() - nmis_before;
    let logged = nmis + LINES * loggers().count() as u64;
    let Lines { written, waiting, lost } = since(lines_before);
    ensure!(
        (written, waiting, lost) == (logged, 0, 0),
        "{written} lines written, {waiting} waiting and {lost} lost of {logged}"
    );
    Ok(logged)
}

/// Sends NMIs to this CPU while it holds the console. As many lines as fit are deferred and written afterwards. The rest is
/// counted.
fn while_held() -> CheckResult {
    let before = console::lines();
    let me = smp::online().next();
    let held = console::with_lock(|| -> CheckResult<Lines> {
        for _ in 0..MAX_DEFERRED as u64 + TOO_MANY {
            let Some(me) = me else { continue };
            send_nmi(me).and_then(|()| wait_for(me))?;
        }
        Ok(since(before))
    })?;
    check_lines(held, Lines { written: 0, waiting: MAX_DEFERRED as u64, lost: TOO_MANY })?;
    // One more line reports how many were lost.
    check_lines(since(before), Lines { written: MAX_DEFERRED as u64 + 1, waiting: 0, lost: TOO_MANY })
}

fn check_lines(counted: Lines, expected: Lines) -> CheckResult {
    let Lines { written, waiting, lost } = counted;
    let nmis = MAX_DEFERRED as u64 + TOO_MANY;
    ensure!(
        counted == expected,
        "{written} lines written, {waiting} waiting and {lost} lost of {nmis} NMIs while the console was held"
    );
    Ok(())
}

/// Sends an NMI to a CPU that has handled the previous one.
fn send_nmi(cpu: &'static Cpu) -> CheckResult {
    wait_for(cpu)?;
    nmis::send(cpu).map_err(|error| failed(format_args!("no NMI to cpu {}: {error}", cpu.id())))
}

/// Waits until a CPU has handled all NMIs of this part.
fn wait_for(cpu: &'static Cpu) -> CheckResult {
    let is_idle = Timeout::after_ms(IPI_CALL_TIMEOUT_MS).wait_until(|| nmis::is_idle(cpu)).is_ok();
    ensure!(is_idle, "cpu {} has not taken an NMI in {IPI_CALL_TIMEOUT_MS} ms", cpu.id());
    Ok(())
}

fn since(before: Lines) -> Lines {
    let now = console::lines();
    Lines { written: now.written - before.written, waiting: now.waiting, lost: now.lost - before.lost }
}
