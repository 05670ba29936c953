//! The names of locks, for reports of their holders and waiters.

use core::cell::Cell;

use super::{LockOwner, Site};
use crate::cpu;
use crate::cpu::per_cpu;

/// A named lock, as [`name_lock!`](crate::name_lock) registers it.
pub struct NamedLock {
    name: &'static str,
    any: Any,
}

/// Returns whether the predicate holds for a lock with the name. A name may stand for several locks, or for one that does
/// not exist yet. For a per-CPU lock, the copy of the CPU with that GS base is checked.
type Any = fn(usize, &dyn Fn(&LockOwner) -> bool) -> bool;

impl NamedLock {
    /// Creates a row. For [`name_lock!`](crate::name_lock).
    pub const fn new(name: &'static str, any: Any) -> NamedLock {
        NamedLock { name, any }
    }
}

unsafe extern "C" {
    // Symbols of the linker script.
    static locks_start: u8;
    static locks_end: u8;
}

fn named() -> &'static [NamedLock] {
    // SAFETY: the linker script places the section `.locks` between the two symbols, aligned for its rows. `name_lock!`
    // alone adds rows, as immutable statics.
    unsafe { cpu::section::rows(&raw const locks_start, &raw const locks_end) }
}

/// Returns the name of the lock whose [`LockOwner`] has that address.
pub(super) fn name_of(owner: usize) -> Option<&'static str> {
    let is_it = |known: &LockOwner| core::ptr::from_ref(known).addr() == owner;
    let find = |gs_base| named().iter().find(|lock| (lock.any)(gs_base, &is_it));
    // The address may be that of another CPU's copy of a per-CPU lock.
    find(per_cpu::gs_base()).or_else(|| per_cpu::areas().find_map(find)).map(|lock| lock.name)
}

/// Returns the numbers of the named locks that this CPU holds; of per-CPU locks, its own copies. **Context:** any.
pub(crate) fn held() -> impl Iterator<Item = u32> {
    let (me, gs_base) = (cpu::current(), per_cpu::gs_base());
    let is_held = move |lock: &NamedLock| (lock.any)(gs_base, &|owner| owner.get() == Some(me));
    (0..).zip(named()).filter(move |(_, lock)| is_held(lock)).map(|(number, _)| number)
}

/// Returns a named lock that this CPU holds, with the call site that took it; of per-CPU locks, its own copies. **Context:** any.
pub(crate) fn held_lock() -> Option<(&'static str, Site)> {
    let (me, gs_base, site) = (cpu::current(), per_cpu::gs_base(), Cell::new(Site::default()));
    let is_held = |owner: &LockOwner| {
        site.set(owner.site());
        owner.get() == Some(me)
    };
    named().iter().find(|lock| (lock.any)(gs_base, &is_held)).map(|lock| (lock.name, site.get()))
}

/// Returns the name of the lock with that number. **Context:** any.
pub(crate) fn lock_name(number: u32) -> Option<&'static str> {
    named().get(number as usize).map(|lock| lock.name)
}

/// Registers a lock in a static under the static's name, for reports: `name_lock!(SERIAL);`, or `name_lock!(per_cpu
/// QUEUE);` for a per-CPU lock. For a lock inside another static, or several locks, the second argument is a function
/// that returns whether the predicate holds for any [`LockOwner`](crate::sync::LockOwner). It must not wait.
#[macro_export]
macro_rules! name_lock {
    (per_cpu $NAME:ident) => {
        // SAFETY: `gs_base` belongs to an area that is never freed: only `held` and `name_of` call this, with
        // `per_cpu::gs_base` or a base from `per_cpu::areas`.
        $crate::name_lock!($NAME, |gs_base, is_so| is_so(unsafe {
            $crate::cpu::per_cpu::PerCpu::of(&$NAME, gs_base).owner()
        }));
    };
    ($NAME:ident) => {
        $crate::name_lock!($NAME, |_, is_so| is_so($NAME.owner()));
    };
    ($NAME:ident, $any:expr) => {
        const _: () = {
            #[used]
            #[unsafe(link_section = ".locks")]
            static ROW: $crate::sync::NamedLock =
                $crate::sync::NamedLock::new(concat!(module_path!(), "::", stringify!($NAME)), $any);
        };
    };
}
