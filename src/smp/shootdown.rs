//! TLB shootdown: makes the CPUs flush what is no longer mapped. The protocol is in [`sync::tlb`](crate::sync::tlb).
//!
//! The words of the CPUs alone decide when a flush is complete. An IPI only makes a CPU flush early: a CPU whose word covers the
//! generation already, because it has flushed for another CPU's request or is lazy, gets none.

use core::fmt;
use core::sync::atomic::{AtomicU64, Ordering};

use super::{CallError, Cpu, call, call_online, cpus};
use crate::apic::{self, Batch, Message};
use crate::config::IPI_CALL_TIMEOUT_MS;
use crate::cpu::{self, CpuSet, IrqGuard};
use crate::interrupts::{self, TrapFrame, Vector};
use crate::memory::frames::{FRAME_BYTES, FreeError};
use crate::memory::{
    self, AllTlbs, CodeMapping, Flushed, Mapping, RANGES, ReadOnlyMapping, StaleRange, TLB_WORD, Visitor,
};
use crate::sync::Timeout;
use crate::sync::tlb::Stale;
use crate::{patchable, trace};

/// How often a shootdown looks for the answers before it calls the CPUs that have not answered: a running CPU answers in a few
/// microseconds.
const SPINS: u32 = 64;

/// The CPUs that were interrupted to flush their TLBs.
static IPIS: AtomicU64 = AtomicU64::new(0);

/// Why a stale range was not freed completely.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ShootdownError {
    /// A CPU did not flush its TLB. The range and its frames stay out of use until a later flush succeeds.
    Call(CallError),
    /// The frame allocator refused one frame. The others are free.
    Free(FreeError),
}

impl fmt::Display for ShootdownError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ShootdownError::Call(error) => {
                write!(f, "TLB shootdown failed, stale mapping not freed: {error}")
            }
            ShootdownError::Free(error) => write!(f, "freeing the frames of a stale mapping: {error}"),
        }
    }
}

/// Registers the hook and the handler of the flush IPI. Once, on the BSP. The first mapping is made when the CPUs can call each other.
pub(crate) fn register() {
    interrupts::register(Vector::FLUSH, "TLB flush", interrupt);
    memory::set_flush_hook(AllTlbs { are_flushed: is_flushed, request, flush, for_each: for_each_ranges });
}

/// Flushes a stale range on every CPU, then frees its frames and addresses at once. CPUs that are idle or offline are not
/// interrupted: they flush when they wake. Only a range of 2 MiB or more that has page tables of its own interrupts idle CPUs too.
///
/// **Context:** as for [`call`](super::call): thread or interrupt, interrupts on or off; not NMI. Waits for all busy CPUs.
///
/// # Errors
/// See [`ShootdownError`].
pub fn shootdown(stale: StaleRange) -> Result<(), ShootdownError> {
    let generation = begin_shootdown(&stale);
    finish_shootdown(stale, generation)
}

/// The first part of [`shootdown`]: begins the generation and interrupts the CPUs that have to flush. Returns the generation.
///
/// **Context:** as for [`shootdown`].
pub(crate) fn begin_shootdown(stale: &StaleRange) -> u64 {
    trace!(ShootdownBegin, stale.address(), stale.pages() as u64);
    let generation = memory::begin_flush();
    request(generation, stale.stale());
    generation
}

/// The handler of the flush IPI. The CPU that waits goes on as soon as the flush is recorded, before this CPU leaves the handler. So the
/// event comes before the flush: the trace shows it while the other CPU waits.
fn interrupt(frame: &mut TrapFrame) {
    trace!(TlbFlush, memory::TLB_GENERATION.current());
    memory::flush_this_cpu(frame.irq_guard());
    apic::end_of_interrupt();
}

/// The second part of [`shootdown`]: waits until all CPUs have flushed, and frees the range.
///
/// # Errors
/// See [`ShootdownError`].
pub(crate) fn finish_shootdown(stale: StaleRange, generation: u64) -> Result<(), ShootdownError> {
    let (address, pages, what) = (stale.address(), stale.pages() as u64, stale.stale());
    let is_soon_flushed = || {
        (0..SPINS).any(|_| {
            let is_flushed = is_flushed(generation, what);
            if !is_flushed {
                core::hint::spin_loop();
            }
            is_flushed
        })
    };
    if !is_soon_flushed() {
        // On an error the range is dropped, and waits for a later flush.
        wait_for_flush(generation, what)?;
    }
    trace!(ShootdownEnd, address, pages);
    // SAFETY: the range was unmapped before its generation began (`begin_shootdown`), and every CPU covers the generation.
    unsafe { stale.free() }.map_err(ShootdownError::Free)
}

/// Makes a mapping read-only on every CPU.
///
/// **Context:** as for [`shootdown`].
///
/// # Errors
/// See [`ShootdownError`]. The mapping is unmapped then.
pub fn make_read_only(mapping: Mapping) -> Result<ReadOnlyMapping, ShootdownError> {
    let (address, pages) = (mapping.address(), mapping.pages() as u64);
    let read_only = ReadOnlyMapping::begin(mapping);
    flush_range(address, pages)?;
    Ok(read_only)
}

/// Makes a read-only mapping executable on every CPU. No TLB has it as writable any more, so no page is writable and executable at any
/// time by one address. The direct map shows its frames as writable: only code of the kernel that does not own them could write there.
///
/// **Context:** as for [`shootdown`].
///
/// # Errors
/// See [`ShootdownError`]. The mapping is unmapped then.
pub fn make_executable(mapping: ReadOnlyMapping) -> Result<CodeMapping, ShootdownError> {
    let (address, pages) = (mapping.address(), (mapping.bytes() / FRAME_BYTES) as u64);
    let code = CodeMapping::begin(mapping);
    flush_range(address, pages)?;
    Ok(code)
}

/// Frees the frames and addresses of mappings that were dropped without a [`shootdown`], on any CPU, and the page tables that no
/// mapping uses any more. Returns the number of pages.
///
/// **Context:** as for [`shootdown`].
///
/// # Errors
/// See [`ShootdownError`].
pub fn purge_mappings() -> Result<usize, ShootdownError> {
    let pages = flush_unmapped()?;
    memory::trim();
    Ok(pages)
}

/// As [`purge_mappings`], but keeps the page tables: for memory pressure.
pub(super) fn flush_unmapped() -> Result<usize, ShootdownError> {
    match memory::flush_unmapped() {
        Flushed::Freed(pages) => Ok(pages as usize),
        Flushed::Refused(error) => Err(ShootdownError::Free(error)),
        Flushed::TimedOut { generation, stale } => Err(ShootdownError::Call(unflushed(generation, stale))),
    }
}

/// The CPUs that were interrupted so far to flush their TLBs. **Context:** any.
pub(crate) fn flush_ipis() -> u64 {
    IPIS.load(Ordering::Relaxed)
}

fn for_each_ranges(visit: Visitor<'_>) {
    cpus().iter().filter_map(|cpu| cpu.get(RANGES)).for_each(visit);
}

patchable! {
    /// Returns whether a CPU covers a generation: it has flushed since, or need not (`TlbWord::covers`).
    ///
    /// **Context:** any.
    pub(crate) fn covers(cpu: &Cpu, generation: u64, stale: Stale) -> bool {
        cpu.get(TLB_WORD).is_none_or(|word| word.covers(generation, stale))
    }
}

/// Returns whether every CPU covers a generation. **Context:** any.
pub(crate) fn is_flushed(generation: u64, stale: Stale) -> bool {
    cpus().iter().all(|cpu| covers(cpu, generation, stale))
}

/// The CPUs that do not cover a generation; none exactly if it [is flushed](is_flushed). This CPU is among them if it has not flushed: a
/// thread that has flushed may have moved here since.
pub(crate) fn to_flush(generation: u64, stale: Stale) -> CpuSet {
    cpus().iter().filter(|cpu| !covers(cpu, generation, stale)).map(Cpu::id).collect()
}

/// Flushes this CPU, interrupts the others that do not cover a generation, and does not wait. A CPU that cannot be reached now is
/// called later, by [`wait_for_flush`].
fn request(generation: u64, stale: Stale) {
    // One guard: the CPU that gets no interrupt is the one that is flushed here.
    let guard = IrqGuard::new();
    let me = cpu::current();
    memory::flush_this_cpu(&guard);
    let mut batch = Batch::new();
    let mut sent = 0;
    for cpu in cpus() {
        if cpu.id() != me && !covers(cpu, generation, stale) {
            let result = batch.send(&guard, cpu.entry.apic_id, Message::Fixed(Vector::FLUSH));
            sent += u64::from(result.is_ok());
        }
    }
    IPIS.fetch_add(sent, Ordering::Relaxed);
}

fn flush(generation: u64, stale: Stale) -> bool {
    let (start, end) = memory::mapping_region();
    trace!(ShootdownBegin, start, (end - start) / FRAME_BYTES as u64);
    let outcome = wait_for_flush(generation, stale);
    trace!(ShootdownEnd, start, (end - start) / FRAME_BYTES as u64);
    outcome.inspect_err(|error| log::warn!("{error}")).is_ok()
}

/// Makes every CPU flush pages whose rights have changed.
fn flush_range(address: u64, pages: u64) -> Result<(), ShootdownError> {
    trace!(ShootdownBegin, address, pages);
    wait_for_flush(memory::begin_flush(), Stale::Pages)?;
    trace!(ShootdownEnd, address, pages);
    Ok(())
}

/// Makes every CPU cover a generation, and waits for that.
fn wait_for_flush(generation: u64, stale: Stale) -> Result<(), ShootdownError> {
    memory::flush_this_cpu(&IrqGuard::new());
    // Computed for all CPUs, whichever this thread runs on: it may have moved since the flush above. `call_online` runs the function
    // here too if this CPU is among the targets.
    let targets = to_flush(generation, stale);
    if targets.is_empty() {
        return Ok(());
    }
    IPIS.fetch_add(targets.len() as u64, Ordering::Relaxed);
    let called = call_online(&targets, &|| {
        trace!(TlbFlush, memory::TLB_GENERATION.current());
        memory::flush_this_cpu(&IrqGuard::new());
    });
    if is_flushed(generation, stale) {
        return Ok(());
    }
    called.map_err(ShootdownError::Call)?;
    // A CPU that goes offline has closed its call queue, but is not lazy yet. It may itself wait for a call to this CPU, whose
    // interrupts may be off.
    Timeout::after_ms(IPI_CALL_TIMEOUT_MS)
        .wait_until(|| {
            call::process(&IrqGuard::new());
            is_flushed(generation, stale)
        })
        .map_err(|_| ShootdownError::Call(unflushed(generation, stale)))
}

/// The error of CPUs that have not flushed in time: those that do not cover the generation. If they have meanwhile, it names this CPU.
fn unflushed(generation: u64, stale: Stale) -> CallError {
    let late = to_flush(generation, stale);
    let first = late.iter().next().unwrap_or_else(cpu::current);
    CallError::Unanswered { first, count: late.len().max(1) as u32 }
}
