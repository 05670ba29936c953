//! A kernel that misuses its heap, to show what `heap.checked=on` finds.
//! `cargo run -- run --example heap_misuse --append 'heap.checked=on misuse=overrun'`
#![no_std]
#![no_main]

use core::hint::black_box;

use octopod::prelude::*;

octopod::program!(main);

octopod::named! {
    /// What the kernel does wrong.
    enum Misuse {
        /// It does not free an object.
        Leak = "leak",
        /// It frees an object twice.
        DoubleFree = "double_free",
        /// It writes behind an object.
        Overrun = "overrun",
        /// It writes before an object.
        Underrun = "underrun",
        /// It writes to an object that it has freed.
        UseAfterFree = "use_after_free",
        /// It frees an object as a larger one.
        WrongLayout = "wrong_layout",
        /// It frees a variable.
        Foreign = "foreign",
    }
}

octopod::option! {
    /// What the kernel does wrong.
    pub static MISUSE: Misuse = Misuse::Leak, "misuse";
}

type Object = [u8; 24];

#[inline(never)]
fn allocate() -> *mut u8 {
    black_box(Box::into_raw(Box::new([0u8; size_of::<Object>()]))).cast()
}

#[inline(never)]
fn free<T>(object: *mut u8) {
    // SAFETY: the object must be this kernel's, of this type. Where it is not, the heap refuses it, which the example shows.
    drop(unsafe { Box::from_raw(black_box(object).cast::<T>()) });
}

#[inline(never)]
fn write(object: *mut u8, offset: isize) {
    let byte = black_box(object).wrapping_offset(offset);
    // SAFETY: the byte must be writable, and no part of another object. It lies in a red zone or in a free object.
    unsafe { byte.write(1) };
    black_box(byte);
}

fn main(_: &Machine) -> Result<(), Reason> {
    let object = allocate();
    match MISUSE.get() {
        Misuse::Leak => return Ok(()),
        Misuse::DoubleFree => free::<Object>(object),
        Misuse::Overrun => write(object, size_of::<Object>() as isize),
        Misuse::Underrun => write(object, -1),
        Misuse::UseAfterFree => {
            free::<Object>(object);
            write(object, 8);
            allocate();
        }
        Misuse::WrongLayout => free::<[u8; 25]>(object),
        Misuse::Foreign => free::<Object>((&raw mut *black_box(&mut [0u8; size_of::<Object>()])).cast()),
    }
    free::<Object>(object);
    Err(Reason::of_program(format_args!("the heap has not found it")))
}
