//! Size classes: the sizes of objects that share slabs and magazines.
//!
//! Up to 64 bytes there is a class for each multiple of 8, above that four for each power of two, up to [`LARGEST`] bytes. So an object wastes
//! less than 8 bytes or less than a quarter of its class. Objects lie at multiples of the class's size from the start of a slab, which is
//! aligned to a power of two of at least [`LARGEST`] bytes. So an object is aligned to the largest power of two that divides the size, and objects
//! of a power-of-two class are naturally aligned.

use core::alloc::Layout;

/// How many classes there are.
pub const CLASSES: usize = 40;

/// The size of the largest class. Larger objects are runs of frames.
pub const LARGEST: usize = 16 << 10;

/// The distance of the smallest classes.
const STEP: usize = 8;
/// How many classes are multiples of [`STEP`], up to this size divided by it.
const STEPS: usize = 8;
/// How many classes there are between two powers of two.
const PARTS: usize = 4;

/// A size class: a number below [`CLASSES`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SizeClass(u8);

/// The size of each class.
const SIZES: [usize; CLASSES] = {
    let mut sizes = [0; CLASSES];
    let mut class = 0;
    while class < CLASSES {
        sizes[class] = if class < STEPS {
            (class + 1) * STEP
        } else {
            let above = class - STEPS;
            let power = (STEP * STEPS) << (above / PARTS);
            power + power / PARTS * (above % PARTS + 1)
        };
        class += 1;
    }
    sizes
};

/// The class of each size up to [`LARGEST`]: an allocation looks it up, because a computation takes several times as many instructions.
static TABLE: [SizeClass; LARGEST + 1] = {
    let mut table = [SizeClass(0); LARGEST + 1];
    let mut size = 0;
    while size <= LARGEST {
        table[size] = SizeClass::smallest(size);
        size += 1;
    }
    table
};

impl SizeClass {
    /// The class with that number.
    pub const fn new(class: usize) -> Option<SizeClass> {
        if class < CLASSES { Some(SizeClass(class as u8)) } else { None }
    }

    /// All classes, by size.
    pub fn all() -> impl DoubleEndedIterator<Item = SizeClass> + Clone {
        (0..CLASSES as u8).map(SizeClass)
    }

    /// The class of a layout: the smallest whose objects are large enough and aligned. `None` if objects of this layout are runs of
    /// frames.
    ///
    /// With a constant layout, the compiler evaluates it.
    #[inline(always)]
    pub const fn of(layout: Layout) -> Option<SizeClass> {
        // Objects of every class are aligned to 8.
        if layout.align() > STEP {
            return SizeClass::aligned(layout.size(), layout.align());
        }
        if layout.size() <= LARGEST { Some(TABLE[layout.size()]) } else { None }
    }

    /// The class of objects that are aligned to more than 8.
    const fn aligned(size: usize, align: usize) -> Option<SizeClass> {
        if size > LARGEST || align > LARGEST {
            return None;
        }
        // The smallest class of this size, and then the next one of this alignment. A power of two is never further than the next
        // power of two, and the largest class is one.
        let mut class = SizeClass::smallest(if size < align { align } else { size });
        while !class.size().is_multiple_of(align) {
            class.0 += 1;
        }
        Some(class)
    }

    /// The smallest class with room for `size` bytes, which is at most [`LARGEST`].
    const fn smallest(size: usize) -> SizeClass {
        if size <= STEP * STEPS {
            return SizeClass(if size == 0 { 0 } else { (size - 1) / STEP } as u8);
        }
        // The power of two below the size, and the quarter of the distance to the next one in which it lies.
        let doubling = (size - 1).ilog2() as usize;
        let part = (size - 1 - (1 << doubling)) >> (doubling - PARTS.ilog2() as usize);
        let first = (STEP * STEPS).ilog2() as usize;
        SizeClass((STEPS + (doubling - first) * PARTS + part) as u8)
    }

    /// Its number, from 0.
    #[inline(always)]
    pub const fn index(self) -> usize {
        self.0 as usize
    }

    /// The size of its objects in bytes.
    #[inline(always)]
    pub const fn size(self) -> usize {
        SIZES[self.0 as usize]
    }

    /// The alignment of its objects in bytes.
    pub const fn align(self) -> usize {
        1 << self.size().trailing_zeros()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout(size: usize, align: usize) -> Layout {
        Layout::from_size_align(size, align).unwrap()
    }

    #[test]
    fn classes_ascend_and_end_at_the_largest() {
        let sizes: Vec<usize> = SizeClass::all().map(SizeClass::size).collect();
        assert!(sizes.is_sorted_by(|one, next| one < next), "{sizes:?}");
        assert_eq!(sizes[..9], [8, 16, 24, 32, 40, 48, 56, 64, 80]);
        assert_eq!(sizes.last(), Some(&LARGEST));
    }

    #[test]
    fn a_layout_gets_the_smallest_class_with_room() {
        for size in 0..=LARGEST {
            let class = SizeClass::of(layout(size, 1)).unwrap();
            assert!(class.size() >= size);
            assert!(class.index() == 0 || SizeClass::new(class.index() - 1).unwrap().size() < size, "{size}");
        }
        assert_eq!(SizeClass::of(layout(LARGEST + 1, 1)), None);
    }

    #[test]
    fn an_object_wastes_less_than_a_quarter_or_8_bytes() {
        for size in 1..=LARGEST {
            let class = SizeClass::of(layout(size, 1)).unwrap();
            let waste = class.size() - size;
            assert!(waste < 8 || waste * 4 < class.size(), "{size} bytes in {}", class.size());
        }
    }

    #[test]
    fn objects_have_the_alignment_of_their_layout() {
        for size in (0..600).chain([1000, 1024, 3000, 4096, 5000, 9000, LARGEST]) {
            for shift in 0..=LARGEST.ilog2() {
                let wanted = layout(size, 1 << shift);
                let class = SizeClass::of(wanted).unwrap();
                assert!(class.size() >= size && class.align() >= wanted.align(), "{wanted:?}: {class:?}");
                let smaller = SizeClass::all().take(class.index());
                assert!(
                    smaller.clone().all(|class| class.size() < size || class.align() < wanted.align()),
                    "{wanted:?} fits into less than {class:?}"
                );
            }
        }
        assert_eq!(SizeClass::of(layout(1, 2 * LARGEST)), None);
    }

    #[test]
    fn a_power_of_two_is_naturally_aligned() {
        for shift in 3..=LARGEST.ilog2() {
            let class = SizeClass::of(layout(1 << shift, 1 << shift)).unwrap();
            assert_eq!((class.size(), class.align()), (1 << shift, 1 << shift));
        }
    }
}
