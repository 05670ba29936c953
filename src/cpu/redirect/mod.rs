//! Functions that are replaced once, at boot, by what fits this processor: [`redirect!`](crate::redirect).
//!
//! A choice that never changes after boot should not be made again at each call. The macro makes a function of 16 bytes
//! that jumps to its ordinary implementation, and a row (source, length, destination, condition) in a section of its own.
//! [`install`] goes through the rows while code is still writable and overwrites each source whose condition holds with
//! a jump to its destination. The source is written in assembly so that no compiler sees through it.

mod rows;

pub use rows::{PATCH_BYTES, RedirectError, Row, check, patch};

#[cfg(target_os = "none")]
pub use install::{Redirect, install};

#[cfg(target_os = "none")]
mod install {
    use core::ops::Range;

    use super::{RedirectError, Row, check, patch};
    use crate::cpu::{Features, IrqGuard};

    /// A row of the table.
    #[repr(C)]
    pub struct Redirect {
        source: extern "C" fn(),
        length: usize,
        destination: extern "C" fn(),
        condition: fn(&Features) -> bool,
    }

    impl Redirect {
        /// For the macro alone.
        ///
        /// # Safety
        /// Both are functions of one and the same type, of which only the addresses are used; `source` is as long as
        /// `length` says.
        pub const unsafe fn new(
            source: *const (),
            length: usize,
            destination: *const (),
            condition: fn(&Features) -> bool,
        ) -> Redirect {
            // SAFETY: function pointers are never null, and these are never called by this type.
            let [source, destination] = unsafe {
                [
                    core::mem::transmute::<*const (), extern "C" fn()>(source),
                    core::mem::transmute::<*const (), extern "C" fn()>(destination),
                ]
            };
            Redirect { source, length, destination, condition }
        }

        fn row(&self) -> Row {
            Row {
                source: self.source as *const () as u64,
                length: self.length as u64,
                destination: self.destination as *const () as u64,
            }
        }
    }

    unsafe extern "C" {
        // From the linker script.
        static redirects_start: u8;
        static redirects_end: u8;
    }

    fn table() -> &'static [Redirect] {
        let start = &raw const redirects_start;
        let bytes = (&raw const redirects_end).addr() - start.addr();
        // SAFETY: the linker puts the rows, aligned as they are, and nothing else between the two symbols.
        unsafe { core::slice::from_raw_parts(start.cast(), bytes / size_of::<Redirect>()) }
    }

    /// Overwrites each source whose condition holds; gives how many, and how many rows there are. Once, by the boot
    /// processor, before code is write-protected.
    ///
    /// # Errors
    /// A row that must not be patched; then none is.
    ///
    /// # Safety
    /// `text` is the image's code, writable for now, and no other CPU runs it.
    pub unsafe fn install(
        _: &IrqGuard,
        features: &Features,
        text: Range<u64>,
    ) -> Result<(usize, usize), RedirectError> {
        let table = table();
        for (index, redirect) in table.iter().enumerate() {
            check(redirect.row(), table[..index].iter().map(Redirect::row), text.clone())?;
        }
        let mut installed = 0;
        for redirect in table.iter().filter(|redirect| (redirect.condition)(features)) {
            let row = redirect.row();
            let patch = patch(row.destination);
            // SAFETY: the row has been checked: the source is code of ours with room for the patch, and the caller
            // vouches that it may be written and that nobody is executing it.
            unsafe { (row.source as *mut [u8; super::PATCH_BYTES]).write_volatile(patch) };
            installed += 1;
        }
        // What was fetched before must not be executed (SDM Vol. 3A, 9.1.3): CPUID serialises.
        let _ = core::hint::black_box(core::arch::x86_64::__cpuid(0));
        Ok((installed, table.len()))
    }
}

/// Declares a function that boot redirects: `redirect! { pub fn eoi() = eoi_xapic => eoi_x2apic, if |f| f.x2apic; }`.
///
/// Both implementations are `extern "C"` functions of the declared type. A call before [`install`] goes to the first.
#[macro_export]
macro_rules! redirect {
    ($(
        $(#[$attribute:meta])*
        $visibility:vis fn $name:ident($($argument:ident: $T:ty),*) $(-> $R:ty)? = $ordinary:path
            => $special:path, if $condition:expr;
    )+) => {$(
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

        const _: () = {
            // Whatever is put in each other's place must be of one type.
            const SOURCE: extern "C" fn($($T),*) $(-> $R)? = $name;
            const SPECIAL: extern "C" fn($($T),*) $(-> $R)? = $special;

            const CONDITION: fn(&$crate::cpu::Features) -> bool = $condition;

            #[used]
            #[unsafe(link_section = ".redirects")]
            // SAFETY: both are of one type, and the source is assembled to that length.
            static ROW: $crate::cpu::redirect::Redirect = unsafe {
                $crate::cpu::redirect::Redirect::new(
                    SOURCE as *const (),
                    $crate::cpu::redirect::SOURCE_BYTES,
                    SPECIAL as *const (),
                    CONDITION,
                )
            };
        };
    )+};
}

/// The length of a source that [`redirect!`](crate::redirect) makes: room for a patch, and a round number.
pub const SOURCE_BYTES: usize = 16;

const _: () = assert!(SOURCE_BYTES >= PATCH_BYTES);
