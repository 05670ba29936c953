//! A frame number in one word that other CPUs may read while its own CPU writes it.

use core::sync::atomic::{AtomicUsize, Ordering};

use super::number::FrameNumber;

/// One machine word. Every access is `Relaxed`, a plain instruction on x86-64. A reader of several words relies on the sequence count of
/// `cache::transfer_seq` for their consistency.
///
/// It is the processor's atomic in model checkers too: they check the sequence count of a magazine, not its frames.
#[derive(Debug)]
#[repr(transparent)]
pub(in crate::memory) struct AtomicFrame(AtomicUsize);

impl AtomicFrame {
    #[inline(always)]
    pub(in crate::memory) const fn new(frame: FrameNumber) -> Self {
        Self(AtomicUsize::new(frame.get()))
    }

    #[inline(always)]
    pub(in crate::memory) fn get(&self) -> FrameNumber {
        FrameNumber::new(self.0.load(Ordering::Relaxed))
    }

    #[inline(always)]
    pub(in crate::memory) fn set(&self, frame: FrameNumber) {
        self.0.store(frame.get(), Ordering::Relaxed);
    }

    /// Exclusively borrowed frames as a slice that the code for magazines can fill.
    #[inline(always)]
    pub(in crate::memory) fn from_mut(frames: &mut [FrameNumber]) -> &[Self] {
        let all_zones: *mut [FrameNumber] = frames;
        // SAFETY: both types are one `usize` (`repr(transparent)` twice), `AtomicUsize` included; the borrow is exclusive and
        // lasts as long as what is returned.
        unsafe { &*(all_zones as *const [Self]) }
    }

    /// The frames in these words.
    ///
    /// # Safety
    /// No code writes the words while the slice is used. Other CPUs may read them.
    #[inline(always)]
    pub(in crate::memory) unsafe fn view(all_zones: &[Self]) -> &[FrameNumber] {
        let frames: *const [Self] = all_zones;
        // SAFETY: both types are one `usize`, and no word is written, guaranteed by the caller (see # Safety).
        unsafe { &*(frames as *const [FrameNumber]) }
    }

    /// Copies in ascending order. The destination may overlap the source if it begins before it.
    #[inline(always)]
    pub(in crate::memory) fn copy(from: &[Self], to: &[Self]) {
        // Written out, because the compiler does not unroll a loop when it optimises for size, and this is on the path of a flush.
        let (from_chunks, from_rest) = from.as_chunks::<16>();
        let (to_chunks, to_rest) = to.as_chunks::<16>();
        for (from, to) in from_chunks.iter().zip(to_chunks) {
            let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = from;
            let [a2, b2, c2, d2, e2, f2, g2, h2, i2, j2, k2, l2, m2, n2, o2, p2] = to;
            a2.set(a.get());
            b2.set(b.get());
            c2.set(c.get());
            d2.set(d.get());
            e2.set(e.get());
            f2.set(f.get());
            g2.set(g.get());
            h2.set(h.get());
            i2.set(i.get());
            j2.set(j.get());
            k2.set(k.get());
            l2.set(l.get());
            m2.set(m.get());
            n2.set(n.get());
            o2.set(o.get());
            p2.set(p.get());
        }
        for (from, to) in from_rest.iter().zip(to_rest) {
            to.set(from.get());
        }
    }
}

const _: () = assert!(size_of::<AtomicFrame>() == size_of::<FrameNumber>());
const _: () = assert!(align_of::<AtomicFrame>() == align_of::<FrameNumber>());
