//! [`cpu::zero_page`], and what it stands for on other processors: the page is zero to its last byte, and its neighbours
//! are as they were.

use core::fmt;
use core::mem::MaybeUninit;
use core::sync::atomic::{AtomicUsize, Ordering};

use crate::cpu::PAGE_BYTES;
use crate::cpu::static_call::{PATCH_BYTES, patch};
use crate::cpu::zero::{Page, zero_by_bytes, zero_by_quadwords, zero_page};
use crate::cpu::{CpuId, Features};
use crate::memory::FrameRange;
use crate::memory::frames::Order;
use crate::smp;
use crate::sync::SpinLockIrq;

/// How long all CPUs have, in milliseconds.
const LIMIT_MS: u64 = 30_000;

/// What the pages hold before.
const PATTERN: u8 = 0xa5;

/// One in the middle of four.
const PAGES: usize = 4;
const ZEROED: usize = 1;

/// What went wrong.
#[derive(Clone, Copy, Debug)]
pub enum Failure {
    /// No frames to try it on.
    OutOfMemory,
    /// A byte is not what it should be.
    Byte {
        /// On which CPU.
        cpu: CpuId,
        /// Which way of zeroing.
        by: &'static str,
        /// The byte's distance from the page that was zeroed.
        offset: isize,
        /// What it is.
        value: u8,
    },
    /// `zero_page` does not go where this processor's features should lead it.
    WrongWay {
        /// Whether the processor has ERMS.
        erms: bool,
    },
    /// A CPU did not answer in time.
    Missing,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::OutOfMemory => f.write_str("zeroing: no memory to try it on"),
            Failure::Byte { cpu, by, offset, value } => {
                write!(f, "zeroing by {by} on cpu {cpu}: the byte at {offset} from the page is {value:#x}")
            }
            Failure::WrongWay { erms } => {
                write!(f, "zeroing: the processor has ERMS: {erms}, and zero_page goes the other way")
            }
            Failure::Missing => f.write_str("zeroing: not all CPUs were done in time"),
        }
    }
}

type Zero = extern "C" fn(&mut MaybeUninit<Page>);

/// The first failure.
static FAILURE: SpinLockIrq<Option<Failure>> = SpinLockIrq::new(None);
crate::name_lock!(FAILURE);
static DONE: AtomicUsize = AtomicUsize::new(0);

/// Tries every way on every CPU.
///
/// # Errors
/// The first byte that is wrong, or a redirect that is.
pub fn run(_: u32) -> Result<(), Failure> {
    let erms = Features::read().erms;
    // SAFETY: a redirected function's code is longer than a patch, and code may be read.
    let code = unsafe { (zero_page as Zero as *const [u8; PATCH_BYTES]).read_unaligned() };
    if (code == patch(zero_by_bytes as Zero as usize as u64)) != erms {
        return Err(Failure::WrongWay { erms });
    }
    DONE.store(0, Ordering::Relaxed);
    super::on_each_cpu(LIMIT_MS, &|cpu| {
        let ways: [(&'static str, Zero); 3] =
            [("zero_page", zero_page), ("quadwords", zero_by_quadwords), ("bytes", zero_by_bytes)];
        let failure = ways.iter().find_map(|(by, zero)| try_on(cpu.id(), by, *zero).err());
        if let Some(failure) = failure {
            FAILURE.lock().get_or_insert(failure);
        }
        DONE.fetch_add(1, Ordering::Release);
    });
    if let Some(failure) = *FAILURE.lock() {
        return Err(failure);
    }
    let (done, online) = (DONE.load(Ordering::Acquire), smp::online().count());
    if done != online {
        return Err(Failure::Missing);
    }
    let rule = if erms { "bytes" } else { "quadwords" };
    log::info!("pages zeroed in 3 ways on each of {online} CPUs, by {rule} as a rule");
    Ok(())
}

fn try_on(cpu: CpuId, by: &'static str, zero: Zero) -> Result<(), Failure> {
    let order = Order::new(PAGES.trailing_zeros() as u8).ok_or(Failure::OutOfMemory)?;
    let mut frames = FrameRange::alloc(order).ok_or(Failure::OutOfMemory)?;
    let start = frames.as_uninit().as_mut_ptr().cast::<MaybeUninit<Page>>();
    // SAFETY: `frames` owns the memory, of `PAGES` pages; once they are filled, they hold initialised bytes.
    let bytes = unsafe {
        start.write_bytes(PATTERN, PAGES);
        zero(&mut *start.add(ZEROED));
        core::slice::from_raw_parts(start.cast::<u8>(), PAGES * PAGE_BYTES)
    };
    let zeroed = ZEROED * PAGE_BYTES..(ZEROED + 1) * PAGE_BYTES;
    let wrong = bytes.iter().enumerate().find(|(at, byte)| {
        let wanted = if zeroed.contains(at) { 0 } else { PATTERN };
        **byte != wanted
    });
    let wrong = wrong.map(|(at, value)| Failure::Byte {
        cpu,
        by,
        offset: at as isize - zeroed.start as isize,
        value: *value,
    });
    wrong.map_or(Ok(()), Err)
}
