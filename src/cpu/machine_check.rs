//! The machine-check architecture (SDM Vol. 3B, chapter 16; APM Vol. 2, chapter 9): banks of registers in which the
//! processor reports hardware errors.
//!
//! [`enable`] enables the reporting of all banks. [`errors`] reads the banks after a machine check. [`worst`] selects the
//! error to report. The decoding of the registers is pure and tested on the host.

#[cfg(target_os = "none")]
mod banks;
mod error;

#[cfg(target_os = "none")]
pub(crate) use banks::{enable, errors, global_status};
pub(crate) use error::{BankError, GlobalStatus, worst};
