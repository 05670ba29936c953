//! Checks [`zero_page`](crate::cpu::zero::zero_page) and its implementations for all processors: the page is zero to its last
//! byte, and its neighbours are unchanged.

use core::mem::MaybeUninit;
use core::sync::atomic::{AtomicUsize, Ordering};

use super::check::{CheckResult, Failed, ensure, failed, on_all_cpus, send_facts};
use crate::console;
use crate::cpu::PAGE_BYTES;
use crate::cpu::static_call::{PATCH_BYTES, patch};
use crate::cpu::zero::{Page, zero_by_bytes, zero_by_quadwords, zero_page};
use crate::cpu::{CpuId, Features};
use crate::memory::FrameRange;
use crate::memory::frames::Order;
use crate::smp;
use crate::wire::Record;

/// Time limit for all CPUs, in milliseconds.
const LIMIT_MS: u64 = 30_000;

/// The content of the pages before.
const PATTERN: u8 = 0xa5;

/// Pages of the allocation.
const PAGES: usize = 4;
/// The index of the page that is zeroed.
const ZEROED: usize = 1;

type Zero = extern "C" fn(&mut MaybeUninit<Page>);

static DONE: AtomicUsize = AtomicUsize::new(0);

/// Runs the part.
///
/// **Context:** the thread of the BSP, interrupts on, while all APs wait for work.
///
/// # Errors
/// The first failed check.
pub(crate) fn run(_: u32) -> CheckResult {
    let erms = Features::read().erms;
    // SAFETY: the read must stay within readable memory. A patchable function is at least `PATCH_BYTES` long (`patchable!`
    // pads it), and kernel code is mapped readable.
    let code = unsafe { (zero_page as Zero as *const [u8; PATCH_BYTES]).read_unaligned() };
    let uses_bytes = code == patch(zero_by_bytes as Zero as usize as u64);
    ensure!(
        uses_bytes == erms,
        "zeroing: the processor has ERMS: {erms}, and zero_page uses the other implementation"
    );
    DONE.store(0, Ordering::Relaxed);
    on_all_cpus(LIMIT_MS, &|cpu| {
        let implementations: [(&'static str, Zero); 3] =
            [("zero_page", zero_page), ("quadwords", zero_by_quadwords), ("bytes", zero_by_bytes)];
        DONE.fetch_add(1, Ordering::Release);
        implementations.iter().try_for_each(|(by, zero)| check(cpu.id(), by, *zero))
    })?;
    let (done, online) = (DONE.load(Ordering::Acquire), smp::online().count());
    ensure!(done == online, "zeroing: {done} of {online} CPUs ran the check");
    let chosen = if erms { "bytes" } else { "quadwords" };
    log::info!("zeroing: 3 implementations checked on each of {online} CPUs, zero_page uses {chosen}");
    send_facts("selftest.zeroing", &[("cpus", online as u64), ("implementations", 3)]);
    console::send(&Record::text("selftest.zeroing", "zero_page", chosen));
    Ok(())
}

fn check(cpu: CpuId, by: &'static str, zero: Zero) -> CheckResult {
    let order = Order::new(PAGES.trailing_zeros() as u8).ok_or_else(no_memory)?;
    let mut frames = FrameRange::alloc(order).ok_or_else(no_memory)?;
    let start = frames.as_uninit().as_mut_ptr().cast::<MaybeUninit<Page>>();
    // SAFETY: the write must stay within owned memory: `frames` owns `PAGES` pages.
    unsafe { start.write_bytes(PATTERN, PAGES) };
    // SAFETY: the page must lie in owned memory: `ZEROED` is below `PAGES`.
    let page = unsafe { start.add(ZEROED) };
    // SAFETY: `frames` owns the page, and no other reference to it exists.
    zero(unsafe { &mut *page });
    // SAFETY: the slice must stay within owned, initialised memory: `frames` owns `PAGES` pages, and `write_bytes` above
    // initialises all of them.
    let bytes = unsafe { core::slice::from_raw_parts(start.cast::<u8>(), PAGES * PAGE_BYTES) };
    let zeroed = ZEROED * PAGE_BYTES..(ZEROED + 1) * PAGE_BYTES;
    for (at, value) in bytes.iter().enumerate() {
        let expected = if zeroed.contains(&at) { 0 } else { PATTERN };
        let offset = at as isize - zeroed.start as isize;
        ensure!(
            *value == expected,
            "zeroing by {by} on cpu {cpu}: the byte at offset {offset} from the page is {value:#x}"
        );
    }
    Ok(())
}

fn no_memory() -> Failed {
    failed(format_args!("zeroing: out of memory"))
}
