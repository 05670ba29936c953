//! A list of names, as `a,b,c`.

use core::fmt;
use core::marker::PhantomData;

use super::{Named, Names, ParameterValue, ValueError};

/// Up to `N` of the values of one type, each at most once, in the order given.
#[derive(Clone, Copy)]
pub struct NameList<T, const N: usize> {
    /// The first `count` are `Some`.
    items: [Option<T>; N],
    count: usize,
}

impl<T: Named, const N: usize> NameList<T, N> {
    /// The empty list.
    pub const EMPTY: NameList<T, N> = NameList { items: [None; N], count: 0 };

    /// Returns the list of these values.
    ///
    /// # Panics
    /// If there are more than `N`.
    #[track_caller]
    pub fn of(values: impl IntoIterator<Item = T>) -> NameList<T, N> {
        let mut list = NameList::EMPTY;
        for value in values {
            assert!(list.push(value), "the list has room for {N} different values");
        }
        list
    }

    /// The values, in order.
    pub fn iter(&self) -> impl Iterator<Item = T> + Clone + '_ {
        self.items.iter().map_while(|item| *item)
    }

    /// How many values are in the list.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether the list is empty.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Whether the value is in the list.
    pub fn contains(&self, value: T) -> bool {
        self.iter().any(|item| item == value)
    }

    /// Appends a value; `false` if it is in the list already, or the list is full.
    pub fn push(&mut self, value: T) -> bool {
        if self.contains(value) {
            return false;
        }
        let Some(slot) = self.items.get_mut(self.count) else { return false };
        *slot = Some(value);
        self.count += 1;
        true
    }
}

impl<T: Named, const N: usize> ParameterValue for NameList<T, N> {
    fn assign<'a>(&mut self, text: &'a str) -> Result<(), ValueError<'a>> {
        let mut list = NameList::EMPTY;
        for name in text.split(',') {
            let value = T::from_name(name).ok_or(ValueError::UnknownName(name))?;
            if !list.push(value) {
                return Err(ValueError::GivenTwice(name));
            }
        }
        *self = list;
        Ok(())
    }

    fn write(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, value) in self.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            write!(f, "{comma}{}", value.name())?;
        }
        Ok(())
    }

    fn describe(f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a list of {}", Names::<T>(PhantomData))
    }
}

impl<T: Named, const N: usize> PartialEq for NameList<T, N> {
    fn eq(&self, other: &NameList<T, N>) -> bool {
        self.iter().eq(other.iter())
    }
}

impl<T: Named, const N: usize> Eq for NameList<T, N> {}

impl<T: Named, const N: usize> fmt::Debug for NameList<T, N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter().map(|item| item.name())).finish()
    }
}
