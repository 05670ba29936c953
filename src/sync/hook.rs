//! Hooks: functions of a higher layer that a lower layer calls.

use spin::Once;

/// A hook, set once. `T` is a function pointer, a structure of function pointers, or a `&'static dyn Trait`.
///
/// A lower layer must not import from a higher one, so the higher layer sets a function instead. Every hook is listed in
/// `tests/layers/table.rs`; a test compares the list with the sources.
pub(crate) struct Hook<T>(Once<T>);

impl<T: Copy> Hook<T> {
    /// Creates a hook that is not set.
    pub(crate) const fn new() -> Hook<T> {
        Hook(Once::new())
    }

    /// Sets the hook. Only the first call has an effect. **Context:** any.
    pub(crate) fn set(&self, value: T) {
        self.0.call_once(|| value);
    }

    /// Returns the hook, if it is set. **Context:** any.
    #[inline(always)]
    pub(crate) fn get(&self) -> Option<T> {
        self.0.get().copied()
    }
}
