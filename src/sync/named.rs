//! The locks that have a name, for reports of who holds them and who waits for them.

use super::LockOwner;
use crate::cpu;
use crate::cpu::per_cpu;

/// A lock by its name, as [`name_lock!`](crate::name_lock) lists it.
pub struct NamedLock {
    name: &'static str,
    any: Any,
}

/// Whether an owner of the lock's is so. A name may stand for several locks, or for one that does not exist yet; of a lock
/// that each CPU has a copy of, the copy of the CPU with that GS base is meant.
type Any = fn(usize, &dyn Fn(&LockOwner) -> bool) -> bool;

impl NamedLock {
    /// For the macro.
    pub const fn new(name: &'static str, any: Any) -> NamedLock {
        NamedLock { name, any }
    }
}

unsafe extern "C" {
    // From the linker script.
    static locks_start: u8;
    static locks_end: u8;
}

fn named() -> &'static [NamedLock] {
    // SAFETY: the linker script gathers the section `.locks` between the two, aligned for its rows; none is ever written.
    unsafe { cpu::section::rows(&raw const locks_start, &raw const locks_end) }
}

/// The name of the lock whose owner lies at that address.
pub(super) fn name_of(owner: usize) -> Option<&'static str> {
    let is_it = |known: &LockOwner| core::ptr::from_ref(known).addr() == owner;
    let find = |gs_base| named().iter().find(|lock| (lock.any)(gs_base, &is_it));
    // Of a lock that each CPU has a copy of, it may be another CPU's.
    find(per_cpu::gs_base()).or_else(|| per_cpu::areas().find_map(find)).map(|lock| lock.name)
}

/// The named locks that this CPU holds, each by its number; of those that each CPU has one of, its own. Any context.
pub fn held() -> impl Iterator<Item = u32> {
    let (me, gs_base) = (cpu::current(), per_cpu::gs_base());
    let is_held = move |lock: &NamedLock| (lock.any)(gs_base, &|owner| owner.get() == Some(me));
    (0..).zip(named()).filter(move |(_, lock)| is_held(lock)).map(|(number, _)| number)
}

/// The name of the lock with that number.
pub fn lock_name(number: u32) -> Option<&'static str> {
    named().get(number as usize).map(|lock| lock.name)
}

/// Gives a lock the name of its static, under which reports know it: `name_lock!(SERIAL);`, and for one that every CPU
/// has a copy of, `name_lock!(per_cpu QUEUE);`. What is no static of its own, or is many, is looked through by a function
/// that may not wait: whether any [`LockOwner`](crate::sync::LockOwner) is so.
#[macro_export]
macro_rules! name_lock {
    (per_cpu $NAME:ident) => {
        // SAFETY: only `held` and `name_of` call it, with the GS base of an area that is never freed.
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
