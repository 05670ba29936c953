//! Static calls: functions that boot replaces once by the implementation for this processor
//! ([`static_call!`](crate::static_call)), or, in a kernel with fault injection, by a faulty one
//! ([`patchable!`](crate::patchable)).
//!
//! A static call avoids the repetition of a choice that does not change after boot. A *source* is a function of 16 bytes
//! that jumps to its original implementation. It is written in assembly, so that the compiler cannot inline it. A *row*
//! (source, length, destination, condition) lies in a section of its own. It is declared with its source or in any module
//! above it. `install` reads the rows while code is still writable, and overwrites each source whose condition is true by
//! a jump to its destination. If two conditions of one source are true, nothing is patched.

mod rows;

pub(crate) use rows::{PATCH_BYTES, Row, StaticCallError, check, patch};

#[cfg(target_os = "none")]
pub use install::StaticCall;
#[cfg(target_os = "none")]
pub(crate) use install::install;

/// The length in bytes of a source that the macros make: a multiple of 16 that has room for a patch.
pub const SOURCE_BYTES: usize = 16;

const _: () = assert!(SOURCE_BYTES >= PATCH_BYTES);

#[cfg(target_os = "none")]
mod install {
    use core::ops::Range;

    use super::{Row, StaticCallError, check, patch};
    use crate::cpu::{Features, IrqGuard, code};

    /// A row of the table.
    #[repr(C)]
    pub struct StaticCall {
        name: &'static str,
        source: *const (),
        length: usize,
        destination: *const (),
        condition: fn(&Features) -> bool,
    }

    // SAFETY: the pointers are addresses of code. No code reads or writes through them.
    unsafe impl Sync for StaticCall {}

    impl StaticCall {
        /// Creates a row. The macros call this, and faults that need a row which no macro makes.
        ///
        /// # Safety
        /// `source` and `destination` are functions of the same type, and the source has `length` bytes.
        pub const unsafe fn new(
            name: &'static str,
            source: *const (),
            length: usize,
            destination: *const (),
            condition: fn(&Features) -> bool,
        ) -> StaticCall {
            StaticCall { name, source, length, destination, condition }
        }

        fn row(&self) -> Row {
            Row {
                name: self.name,
                source: self.source.addr() as u64,
                length: self.length as u64,
                destination: self.destination.addr() as u64,
            }
        }
    }

    unsafe extern "C" {
        // Defined by the linker script.
        static static_calls_start: u8;
        static static_calls_end: u8;
    }

    fn table() -> &'static [StaticCall] {
        // SAFETY: the linker script places the rows of the section `.static_calls` between the two symbols, aligned; no
        // code writes to them.
        unsafe { crate::cpu::section::rows(&raw const static_calls_start, &raw const static_calls_end) }
    }

    /// Overwrites each source whose condition is true. Returns the number of patched sources and the number of rows.
    ///
    /// **Context:** the BSP, once, before code is write-protected.
    ///
    /// # Errors
    /// The first row whose condition is true and that must not be patched. Nothing is patched then.
    ///
    /// # Safety
    /// `text` is the image's code and writable, and no other CPU executes it.
    pub(crate) unsafe fn install(
        _: &IrqGuard,
        features: &Features,
        text: Range<u64>,
    ) -> Result<(usize, usize), StaticCallError> {
        let holding = table().iter().filter(|call| (call.condition)(features)).map(StaticCall::row);
        let installed = check(holding.clone(), text)?;
        for row in holding {
            let patch = patch(row.destination);
            let (head, tail) = patch.split_first_chunk::<8>().unwrap_or((&[0x90; 8], &[]));
            let tail_at = core::ptr::with_exposed_provenance_mut::<u8>(row.source as usize + head.len());
            // SAFETY: `check` has accepted the row, so the source lies in `text`, which the caller guarantees to be
            // writable, and has room for the patch. An NMI may call the source meanwhile. The tail replaces padding after
            // the first instruction (`static_call!` makes a source of one jump).
            unsafe { tail_at.copy_from_nonoverlapping(tail.as_ptr(), tail.len()) };
            // SAFETY: `check` has accepted the row, so the source is aligned and lies in `text`, which the caller guarantees
            // to be writable. The head is one store, after which head and tail are one instruction.
            unsafe { code::write_word(row.source, *head) };
        }
        // Instructions fetched before must not be executed (SDM Vol. 3A, 9.1.3): CPUID serialises.
        let _ = core::hint::black_box(core::arch::x86_64::__cpuid(0));
        Ok((installed, table().len()))
    }
}

/// Declares a function that boot may replace, or only the row for a function that is declared elsewhere:
///
/// ```text
/// static_call! {
///     pub fn end_of_interrupt() = end_of_interrupt_xapic => end_of_interrupt_x2apic, if |features| features.x2apic;
/// }
/// static_call! {
///     smp::reached(slot: &Slot, stage: Stage) => stop_at_stage, if |_| is_armed(Fault::StopAtStage);
/// }
/// ```
///
/// All are `extern "C"` functions of the declared type. Before `install` a call executes the first implementation.
#[doc(hidden)]
#[macro_export]
macro_rules! static_call {
    ($(
        $(#[$attribute:meta])*
        $visibility:vis fn $name:ident($($argument:ident: $T:ty),*) $(-> $R:ty)? = $original:path
            => $special:path, if $condition:expr;
    )+) => {$(
        $crate::static_call!(@source $(#[$attribute])* $visibility fn $name($($argument: $T),*) $(-> $R)? = $original);
        $crate::static_call!(@row $name($($T),*) $(-> $R)? => $special, if $condition);
    )+};
    ($($source:ident $(:: $segment:ident)* ($($argument:ident: $T:ty),*) $(-> $R:ty)?
        => $special:path, if $condition:expr;)+) => {$(
        $crate::static_call!(@row $source $(:: $segment)* ($($T),*) $(-> $R)? => $special, if $condition);
    )+};
    (@source $(#[$attribute:meta])* $visibility:vis fn $name:ident($($argument:ident: $T:ty),*) $(-> $R:ty)?
        = $original:path) => {
        $(#[$attribute])*
        #[unsafe(naked)]
        $visibility extern "C" fn $name($($argument: $T),*) $(-> $R)? {
            core::arch::naked_asm!(
                "2: jmp {original}",
                ".skip {length} - (. - 2b), 0xcc",
                original = sym $original,
                length = const $crate::cpu::static_call::SOURCE_BYTES,
            )
        }
    };
    (@row $source:ident $(:: $segment:ident)* ($($T:ty),*) $(-> $R:ty)? => $special:path, if $condition:expr) => {
        const _: () = {
            // Source and destination must have the same type.
            #[allow(improper_ctypes_definitions)]
            const SOURCE: extern "C" fn($($T),*) $(-> $R)? = $source $(:: $segment)*;
            #[allow(improper_ctypes_definitions)]
            const SPECIAL: extern "C" fn($($T),*) $(-> $R)? = $special;
            const CONDITION: fn(&$crate::cpu::Features) -> bool = $condition;

            #[used]
            #[unsafe(link_section = ".static_calls")]
            // SAFETY: the constants above have the same type, and a source is assembled to that length.
            static ROW: $crate::cpu::static_call::StaticCall = unsafe {
                $crate::cpu::static_call::StaticCall::new(
                    concat!(stringify!($source) $(, "::", stringify!($segment))*),
                    SOURCE as *const (),
                    $crate::cpu::static_call::SOURCE_BYTES,
                    SPECIAL as *const (),
                    CONDITION,
                )
            };
        };
    };
}

/// Declares functions that an injected fault may replace, by a row of [`static_call!`](crate::static_call) in a module
/// above.
///
/// Without the feature `faults` they are plain functions, which the compiler may inline. With it, each is a source, and
/// its original implementation is also called `NAME::original`, for a fault that affects only some calls. Arguments are
/// names, not patterns. A path in the body that begins with `super` needs one more `super`.
#[doc(hidden)]
#[macro_export]
macro_rules! patchable {
    ($(
        $(#[$attribute:meta])*
        $visibility:vis fn $name:ident($($argument:ident: $T:ty),* $(,)?) $(-> $R:ty)? $body:block
    )+) => {$(
        #[cfg(not(all(feature = "faults", target_os = "none")))]
        $(#[$attribute])*
        $visibility fn $name($($argument: $T),*) $(-> $R)? $body

        #[cfg(all(feature = "faults", target_os = "none"))]
        #[doc(hidden)]
        $visibility mod $name {
            #[allow(unused_imports)]
            use super::*;

            // Visible where the function is visible, which the macro does not know.
            #[allow(improper_ctypes_definitions, missing_docs, unreachable_pub)]
            pub extern "C" fn original($($argument: $T),*) $(-> $R)? $body
        }

        #[cfg(all(feature = "faults", target_os = "none"))]
        $crate::static_call!(@source
            #[allow(improper_ctypes_definitions)] $(#[$attribute])*
            $visibility fn $name($($argument: $T),*) $(-> $R)? = $name::original);
    )+};
}
