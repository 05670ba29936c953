//! The lines of a panic report about an inversion of the order of locks: each order with its places and its thread.

use crate::sync::lock_order;

crate::panic_context! {
    "lock order" => |out| lock_order::inversion().map_or(Ok(()), |inversion| inversion.write(out))
}
