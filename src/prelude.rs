//! What most kernels need: `use octopod::prelude::*;`.

#[doc(no_inline)]
pub use core::time::Duration;

#[doc(no_inline)]
pub use alloc::{
    borrow::ToOwned,
    boxed::Box,
    format,
    string::{String, ToString},
    vec,
    vec::Vec,
};

pub use crate::cpu::per_cpu::PerCpu;
pub use crate::cpu::{self, CpuId, CpuSet, IrqGuard};
pub use crate::memory::frames::Order;
pub use crate::memory::{FrameRange, OwnedFrame};
pub use crate::program::{Machine, Reason};
pub use crate::{report, smp, time};
#[doc(no_inline)]
pub use log;
