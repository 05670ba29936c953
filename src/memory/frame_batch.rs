//! Single frames, owned, in a buffer of the caller: [`FrameBatch`].

use core::fmt;
use core::mem::ManuallyDrop;

use super::cache::{alloc_bulk, free_bulk};
use super::frames::FrameNumber;
use super::owned::{OwnedFrame, report_leak};

/// Single frames that it owns, with their numbers in a buffer of the caller. Its drop frees them in one call of the allocator.
///
/// **Context.** Thread or interrupt context. Interrupts are off during an allocation and a drop, for a time that grows with
/// the number of frames. In an NMI handler an allocation returns no frames, and a drop leaks them and logs an error.
pub struct FrameBatch<'a> {
    /// The first `len` are the numbers of the owned frames. The others have no meaning.
    buffer: &'a mut [FrameNumber],
    len: usize,
}

impl<'a> FrameBatch<'a> {
    /// A batch without frames.
    pub fn new(buffer: &'a mut [FrameNumber]) -> FrameBatch<'a> {
        FrameBatch { buffer, len: 0 }
    }

    /// Allocates as many frames as the buffer has room for, or as are free. It does not wait for other CPUs, and does not use the frames that
    /// they cache.
    #[inline(always)]
    pub fn alloc(buffer: &'a mut [FrameNumber]) -> FrameBatch<'a> {
        let len = alloc_bulk(buffer);
        FrameBatch { buffer, len }
    }

    /// Allocates frames as [`alloc`](Self::alloc) does until the buffer is full; how many there are more.
    pub fn fill(&mut self) -> usize {
        let taken = alloc_bulk(&mut self.buffer[self.len..]);
        self.len += taken;
        taken
    }

    /// How many frames there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is no frame.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// How many frames there is room for in all.
    pub fn capacity(&self) -> usize {
        self.buffer.len()
    }

    /// The numbers of the frames.
    pub fn numbers(&self) -> &[FrameNumber] {
        &self.buffer[..self.len]
    }

    /// Adds a frame.
    ///
    /// # Errors
    /// The frame, if the buffer is full.
    pub fn push(&mut self, frame: OwnedFrame) -> Result<(), OwnedFrame> {
        let Some(slot) = self.buffer.get_mut(self.len) else { return Err(frame) };
        *slot = frame.into_raw();
        self.len += 1;
        Ok(())
    }

    /// Takes the last frame out.
    pub fn pop(&mut self) -> Option<OwnedFrame> {
        self.len = self.len.checked_sub(1)?;
        // SAFETY: the batch owned the frame, since its number was among the first `len`; it is not any more.
        Some(unsafe { OwnedFrame::from_raw(self.buffer[self.len]) })
    }

    /// The numbers of the frames, without their owner: the frames are leaked unless [`OwnedFrame::from_raw`] follows.
    pub fn into_raw(self) -> &'a [FrameNumber] {
        let mut batch = ManuallyDrop::new(self);
        let len = batch.len;
        &core::mem::take(&mut batch.buffer)[..len]
    }
}

impl Drop for FrameBatch<'_> {
    #[inline(always)]
    fn drop(&mut self) {
        // SAFETY: the batch owns these frames, and ends here.
        if let Err(error) = unsafe { free_bulk(self.numbers()) } {
            report_leak(error);
        }
    }
}

impl fmt::Debug for FrameBatch<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.numbers()).finish()
    }
}
