//! A list of names, as `a,b,c`.

use core::fmt;

use super::names::Named;

/// Some of the values of one kind, each at most once, in the order asked for. `N` is how many there are of that kind.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct List<T, const N: usize> {
    /// Past the end lies the first value of all, so that equal lists are equal bytes.
    items: [T; N],
    count: usize,
}

impl<T: Named, const N: usize> List<T, N> {
    /// A list of none.
    pub fn none() -> List<T, N> {
        const { assert!(T::NAMES.len() == N, "a list has room for all names of its kind") };
        List { items: [T::NAMES[0]; N], count: 0 }
    }

    /// A list of one.
    pub fn of(item: T) -> List<T, N> {
        let mut list = List::none();
        list.push(item);
        list
    }

    /// All of them, in the order of their declaration.
    pub fn all() -> List<T, N> {
        let mut list = List::none();
        for item in T::NAMES {
            list.push(*item);
        }
        list
    }

    /// As [`all`](Self::all), but without this one.
    pub fn all_but(without: T) -> List<T, N> {
        let mut list = List::none();
        for item in T::NAMES.iter().filter(|item| **item != without) {
            list.push(*item);
        }
        list
    }

    /// Those on the list, in order.
    pub fn as_slice(&self) -> &[T] {
        &self.items[..self.count]
    }

    /// Appends one; `false` if it is there already, which also keeps the list within its array.
    pub(super) fn push(&mut self, item: T) -> bool {
        let is_new = !self.as_slice().contains(&item);
        if is_new {
            self.items[self.count] = item;
            self.count += 1;
        }
        is_new
    }
}

impl<T: Named, const N: usize> fmt::Debug for List<T, N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_slice().fmt(f)
    }
}
