//! A CPU's queue of tasks that are to be polled: a list through the tasks themselves, so that a waker allocates nothing.

use core::ptr::NonNull;
use core::sync::atomic::{AtomicPtr, Ordering};

/// What a task has besides its future: the link to the task behind it. The queue's lock orders its uses.
pub(super) struct Link(AtomicPtr<()>);

impl Link {
    pub(super) const fn new() -> Link {
        Link(AtomicPtr::new(core::ptr::null_mut()))
    }
}

/// A task that is to be polled.
pub(super) type Runnable = async_task::Runnable<Link>;

/// The tasks, in the order in which they are polled. It owns them.
pub(super) struct TaskList {
    first: Option<NonNull<()>>,
    last: Option<NonNull<()>>,
}

// SAFETY: another thread may have the list: its tasks are `Runnable`s, which are `Send`.
unsafe impl Send for TaskList {}

impl TaskList {
    pub(super) const fn new() -> TaskList {
        TaskList { first: None, last: None }
    }

    /// Adds a task at the end.
    #[inline]
    pub(super) fn push(&mut self, task: Runnable) {
        task.metadata().0.store(core::ptr::null_mut(), Ordering::Relaxed);
        let new = task.into_raw();
        match self.last.replace(new) {
            None => self.first = Some(new),
            Some(last) => {
                // SAFETY: the pointer must be one of `into_raw` whose task is not used otherwise. The list owns it, and gives it up
                // again below.
                let last = unsafe { Runnable::from_raw(last) };
                last.metadata().0.store(new.as_ptr(), Ordering::Relaxed);
                let _ = last.into_raw();
            }
        }
    }

    /// Takes the first task.
    #[inline]
    pub(super) fn pop(&mut self) -> Option<Runnable> {
        let first = self.first?;
        // SAFETY: the pointer must be one of `into_raw` whose task is not used otherwise. The list owned it, and the links lead past it
        // from here on.
        let task = unsafe { Runnable::from_raw(first) };
        self.first = NonNull::new(task.metadata().0.load(Ordering::Relaxed));
        if self.first.is_none() {
            self.last = None;
        }
        Some(task)
    }
}
