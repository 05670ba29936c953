//! The objects of the workloads: a few dozen layouts, and an object as one word.

use core::alloc::Layout;
use core::ptr::NonNull;

use super::sizes::RECORDED;

/// An index into the layouts of the workloads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::stress) struct Shape(u8);

/// The layouts beside those of the record: odd sizes, and each alignment up to a page.
const SPECIAL: &[(usize, usize)] = &[
    (1, 1),
    (2, 2),
    (3, 1),
    (4, 4),
    (5, 1),
    (7, 1),
    (12, 4),
    (20, 4),
    (33, 1),
    (100, 4),
    (1000, 8),
    (5000, 16),
    (8, 64),
    (64, 16),
    (64, 32),
    (64, 64),
    (192, 64),
    (128, 128),
    (256, 256),
    (512, 512),
    (1024, 1024),
    (2048, 2048),
    (4096, 4096),
    (8, 4096),
    (100_000, 4096),
];

/// The layouts: first those of the record, in ascending order.
const LAYOUTS: [Layout; RECORDED.len() + SPECIAL.len()] = {
    let mut layouts = [Layout::new::<u64>(); RECORDED.len() + SPECIAL.len()];
    let mut index = 0;
    while index < layouts.len() {
        let (size, align) = match index.checked_sub(RECORDED.len()) {
            None => (RECORDED[index].size, align_of::<u64>()),
            Some(index) => SPECIAL[index],
        };
        match Layout::from_size_align(size, align) {
            Ok(layout) => layouts[index] = layout,
            Err(_) => panic!("no layout"),
        }
        index += 1;
    }
    layouts
};

impl Shape {
    /// All shapes.
    pub(in crate::stress) const ALL: usize = LAYOUTS.len();

    /// 8 bytes, the objects of `threadtest`.
    pub(in crate::stress) const TINY: Shape = Shape::of_size(8);
    /// 64 bytes, the objects of `box64`.
    pub(in crate::stress) const BOX: Shape = Shape::of_size(64);
    /// 4 KiB, the objects of the workloads that exhaust memory.
    pub(in crate::stress) const PAGE: Shape = Shape::of_size(4096);

    /// The shape with this size in the record.
    pub(in crate::stress) const fn of_size(size: usize) -> Shape {
        let mut index = 0;
        while RECORDED[index].size != size {
            index += 1;
        }
        Shape(index as u8)
    }

    /// The shape with this index.
    ///
    /// # Panics
    /// If there are fewer.
    pub(in crate::stress) fn of_index(index: usize) -> Shape {
        assert!(index < LAYOUTS.len(), "there are {} shapes", LAYOUTS.len());
        Shape(index as u8)
    }

    /// Its index; of a size of the record, that of the size.
    pub(in crate::stress) const fn index(self) -> usize {
        self.0 as usize
    }

    /// The layout.
    pub(in crate::stress) fn layout(self) -> Layout {
        LAYOUTS[self.index()]
    }
}

/// An object that a workload holds. Its address is an exposed one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::stress) struct Object {
    pub address: NonNull<u8>,
    pub shape: Shape,
}

/// The bits of an address in a word. The bits above are copies of its topmost one.
const ADDRESS_BITS: u32 = 48;

impl Object {
    /// The object as one word, which is not 0.
    pub(in crate::stress) fn pack(self) -> u64 {
        let address = self.address.as_ptr().expose_provenance() as u64;
        (address & ((1 << ADDRESS_BITS) - 1)) | u64::from(self.shape.0) << ADDRESS_BITS
    }

    /// The object of a word; `None` for 0.
    pub(in crate::stress) fn unpack(word: u64) -> Option<Object> {
        let shape = Shape((word >> ADDRESS_BITS) as u8);
        let above = u64::BITS - ADDRESS_BITS;
        let address = ((word << above) as i64 >> above) as usize;
        NonNull::new(core::ptr::with_exposed_provenance_mut(address)).map(|address| Object { address, shape })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_is_a_word() {
        assert_eq!(Object::unpack(0), None);
        for (index, address) in [(0, 0x1000_usize), (37, 0x7fff_ffff_fff8), (61, 0xffff_8000_0000_0001)] {
            let address = NonNull::new(core::ptr::without_provenance_mut(address)).unwrap();
            let object = Object { address, shape: Shape::of_index(index) };
            assert_eq!(Object::unpack(object.pack()), Some(object));
        }
    }

    #[test]
    fn shapes_have_the_sizes_that_they_are_named_for() {
        let sizes = [Shape::TINY, Shape::BOX, Shape::PAGE].map(|shape| shape.layout().size());
        assert_eq!(sizes, [8, 64, 4096]);
        let aligns: Vec<_> = (0..Shape::ALL).map(|index| Shape::of_index(index).layout().align()).collect();
        assert!((0..=12).all(|shift| aligns.contains(&(1 << shift))));
    }
}
