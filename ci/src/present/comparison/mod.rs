//! Two runs side by side, for the terminal and as a page.

pub mod page;
pub mod text;

#[cfg(test)]
mod tests;
