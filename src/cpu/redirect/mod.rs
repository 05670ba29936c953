//! Functions that are replaced once, at boot, by what fits this processor: [`redirect!`](crate::redirect); and, in a
//! kernel with deliberate faults, by what goes wrong: [`redirectable!`](crate::redirectable).
//!
//! A choice that never changes after boot should not be made again at each call. A *source* is a function of 16 bytes
//! that jumps to its ordinary implementation, written in assembly so that no compiler sees through it. A *row* (source,
//! length, destination, condition) lies in a section of its own; it may be declared with its source, or anywhere above
//! it. `install` goes through the rows while code is still writable and overwrites each source whose condition holds
//! with a jump to its destination. Where two conditions for one source hold, nothing is patched.

mod rows;

pub(crate) use rows::{PATCH_BYTES, RedirectError, Row, check, patch};

#[cfg(target_os = "none")]
pub use install::Redirect;
#[cfg(target_os = "none")]
pub(crate) use install::install;

/// The length of a source that the macros make: room for a patch, and a round number.
pub const SOURCE_BYTES: usize = 16;

const _: () = assert!(SOURCE_BYTES >= PATCH_BYTES);

#[cfg(target_os = "none")]
mod install {
    use core::ops::Range;

    use super::{RedirectError, Row, check, patch};
    use crate::cpu::{Features, IrqGuard, code};

    /// A row of the table.
    #[repr(C)]
    pub struct Redirect {
        name: &'static str,
        source: *const (),
        length: usize,
        destination: *const (),
        condition: fn(&Features) -> bool,
    }

    // SAFETY: the pointers are addresses of code, and nobody reads or writes through them.
    unsafe impl Sync for Redirect {}

    impl Redirect {
        /// For the macros, and for faults that need a row that no macro would make.
        ///
        /// # Safety
        /// Both are functions of one and the same type; `source` is as long as `length` says.
        pub const unsafe fn new(
            name: &'static str,
            source: *const (),
            length: usize,
            destination: *const (),
            condition: fn(&Features) -> bool,
        ) -> Redirect {
            Redirect { name, source, length, destination, condition }
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
        // From the linker script.
        static redirects_start: u8;
        static redirects_end: u8;
    }

    fn table() -> &'static [Redirect] {
        // SAFETY: the linker script gathers the section `.redirects` between the two, aligned for its rows; none is ever
        // written.
        unsafe { crate::cpu::section::rows(&raw const redirects_start, &raw const redirects_end) }
    }

    /// Overwrites each source whose condition holds; gives how many, and how many rows there are. Once, by the boot
    /// processor, before code is write-protected.
    ///
    /// # Errors
    /// A row whose condition holds and that must not be patched; then none is.
    ///
    /// # Safety
    /// `text` is the image's code, writable for now, and no other CPU runs it.
    pub(crate) unsafe fn install(
        _: &IrqGuard,
        features: &Features,
        text: Range<u64>,
    ) -> Result<(usize, usize), RedirectError> {
        let holding = table().iter().filter(|redirect| (redirect.condition)(features)).map(Redirect::row);
        let installed = check(holding.clone(), text)?;
        for row in holding {
            let patch = patch(row.destination);
            let (head, tail) = patch.split_first_chunk::<8>().unwrap_or((&[0x90; 8], &[]));
            // SAFETY: `check` has passed the row, so the source lies in `text`, which the caller lets be written, and has room
            // for the patch. An NMI may call the source meanwhile: the tail replaces filler behind the first instruction
            // (`redirect!` makes a source of one jump), and the head is one store, after which both are one instruction.
            unsafe {
                let tail_at = core::ptr::with_exposed_provenance_mut::<u8>(row.source as usize + head.len());
                tail_at.copy_from_nonoverlapping(tail.as_ptr(), tail.len());
                code::write_word(row.source, *head);
            }
        }
        // What was fetched before must not be executed (SDM Vol. 3A, 9.1.3): CPUID serialises.
        let _ = core::hint::black_box(core::arch::x86_64::__cpuid(0));
        Ok((installed, table().len()))
    }
}

/// Declares a function that boot redirects, or only the row for a function that is declared elsewhere:
///
/// ```text
/// redirect! {
///     pub fn end_of_interrupt() = end_of_interrupt_xapic => end_of_interrupt_x2apic, if |features| features.x2apic;
/// }
/// redirect! {
///     smp::reached(slot: &Slot, stage: Stage) => stop_at_stage, if |_| is_armed(Fault::StopAtStage);
/// }
/// ```
///
/// All are `extern "C"` functions of the declared type. A call before `install` goes to the first.
#[macro_export]
macro_rules! redirect {
    ($(
        $(#[$attribute:meta])*
        $visibility:vis fn $name:ident($($argument:ident: $T:ty),*) $(-> $R:ty)? = $ordinary:path
            => $special:path, if $condition:expr;
    )+) => {$(
        $crate::redirect!(@source $(#[$attribute])* $visibility fn $name($($argument: $T),*) $(-> $R)? = $ordinary);
        $crate::redirect!(@row $name($($T),*) $(-> $R)? => $special, if $condition);
    )+};
    ($($source:ident $(:: $segment:ident)* ($($argument:ident: $T:ty),*) $(-> $R:ty)?
        => $special:path, if $condition:expr;)+) => {$(
        $crate::redirect!(@row $source $(:: $segment)* ($($T),*) $(-> $R)? => $special, if $condition);
    )+};
    (@source $(#[$attribute:meta])* $visibility:vis fn $name:ident($($argument:ident: $T:ty),*) $(-> $R:ty)?
        = $ordinary:path) => {
        $(#[$attribute])*
        #[unsafe(naked)]
        $visibility extern "C" fn $name($($argument: $T),*) $(-> $R)? {
            core::arch::naked_asm!(
                "2: jmp {ordinary}",
                ".skip {length} - (. - 2b), 0xcc",
                ordinary = sym $ordinary,
                length = const $crate::cpu::redirect::SOURCE_BYTES,
            )
        }
    };
    (@row $source:ident $(:: $segment:ident)* ($($T:ty),*) $(-> $R:ty)? => $special:path, if $condition:expr) => {
        const _: () = {
            // Whatever is put in each other's place must be of one type.
            #[allow(improper_ctypes_definitions)]
            const SOURCE: extern "C" fn($($T),*) $(-> $R)? = $source $(:: $segment)*;
            #[allow(improper_ctypes_definitions)]
            const SPECIAL: extern "C" fn($($T),*) $(-> $R)? = $special;
            const CONDITION: fn(&$crate::cpu::Features) -> bool = $condition;

            #[used]
            #[unsafe(link_section = ".redirects")]
            // SAFETY: both are of one type, and a source is assembled to that length.
            static ROW: $crate::cpu::redirect::Redirect = unsafe {
                $crate::cpu::redirect::Redirect::new(
                    concat!(stringify!($source) $(, "::", stringify!($segment))*),
                    SOURCE as *const (),
                    $crate::cpu::redirect::SOURCE_BYTES,
                    SPECIAL as *const (),
                    CONDITION,
                )
            };
        };
    };
}

/// Declares functions that a deliberate fault may replace, by a row of [`redirect!`](crate::redirect) from a module above.
///
/// In a kernel without the feature `faults` they are functions like any other, to be inlined as the compiler sees fit.
/// With it, each is a source of its own, and what it does ordinarily is also called `NAME::ordinary`, for a fault that
/// strikes some calls and lets the others pass. Arguments are names, not patterns; a path in the body that begins with
/// `super` needs one more.
#[macro_export]
macro_rules! redirectable {
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

            #[allow(improper_ctypes_definitions, missing_docs)]
            pub extern "C" fn ordinary($($argument: $T),*) $(-> $R)? $body
        }

        #[cfg(all(feature = "faults", target_os = "none"))]
        $crate::redirect!(@source
            #[allow(improper_ctypes_definitions)] $(#[$attribute])*
            $visibility fn $name($($argument: $T),*) $(-> $R)? = $name::ordinary);
    )+};
}
