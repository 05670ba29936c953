//! The audit of the page tables: checks every mapping against a [`MappingPolicy`].
//!
//! The audit does not trust the code that has built the tables. It checks what each mapping allows and what it leads to, not
//! what was intended. Adjacent pages with the same rights become one run, which is checked as a whole. The cost is one read of
//! each entry; terabytes in large pages are a few runs.
//!
//! | Module | Content |
//! |---|---|
//! | `rule` | the rules, and the violation of one |
//! | `inventory` | counts of what the audit has seen |
//! | `policy` | what a run of pages may be |
//! | `scan` | the walk over all entries, pure |
//! | `live` | the audit of the tables in use |

mod inventory;
#[cfg(target_os = "none")]
mod live;
mod policy;
mod rule;
mod scan;
#[cfg(test)]
mod tests;

pub(crate) use inventory::{Inventory, Pages};
#[cfg(target_os = "none")]
pub(crate) use live::audit_live;
pub(crate) use rule::Violation;
