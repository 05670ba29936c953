//! The two trampoline pages, as the kernel fills and reads them. The crate `ap_trampoline` holds their code and their
//! layout.

use core::sync::atomic::{AtomicU8, Ordering};

use ap_trampoline::{
    ApSlot, BYTES, FILLER, MAILBOX, Mailbox, PAGE_BYTES, SEEN_BITS, SEEN_PROTECTED_MODE, SEEN_REAL_MODE,
    Scratch, Stage, StageHold, TablePointer,
};
use spin::Once;
use x86_64::registers::control::{Cr0, Cr4};
use x86_64::registers::model_specific::{Efer, EferFlags};

use super::ap_state;
use crate::boot::memory_map::PhysRange;
use crate::boot::{self, direct_map};
use crate::cpu::ApicId;
use crate::interrupts;
use crate::memory::{MapError, TrampolineTables};
use crate::patchable;

/// The trampoline. It is never freed: a CPU that returns from offline starts in it too.
static TRAMPOLINE: Once<Trampoline> = Once::new();

/// The filled trampoline pages, and the APs' slots.
#[derive(Debug)]
pub(crate) struct Trampoline {
    tables: TrampolineTables,
    slots: &'static [ApSlot],
    skip_init_delay: bool,
}

/// The content of the pages beside the trampoline's, where the kernel owns them.
const NEIGHBOUR_FILLER: u8 = 0xa5;

/// Fills the pages, once, and write-protects the code page. The slots are in ascending order of their APIC IDs.
///
/// # Errors
/// [`MapError`] if the code page cannot be write-protected.
pub(crate) fn prepare(
    tables: TrampolineTables,
    slots: &'static [ApSlot],
    skip_init_delay: bool,
) -> Result<&'static Trampoline, MapError> {
    TRAMPOLINE.try_call_once(|| {
        let trampoline = Trampoline { tables, slots, skip_init_delay };
        trampoline.fill();
        let mut is_protected = Ok(());
        protect_code(&trampoline.tables, &mut is_protected);
        is_protected.map(|()| trampoline)
    })
}

/// Returns the trampoline if it is prepared.
pub(crate) fn ready() -> Option<&'static Trampoline> {
    TRAMPOLINE.get()
}

/// Returns the physical page of the APs' first code, if there is one.
pub(crate) fn trampoline_code() -> Option<PhysRange> {
    ready().map(|trampoline| trampoline.tables.code())
}

patchable! {
    /// Sets the result of [`TrampolineTables::protect_code`].
    pub(crate) fn protect_code(tables: &TrampolineTables, result: &mut Result<(), MapError>) {
        *result = tables.protect_code();
    }

    /// Fills the pages: the first with an instruction that traps stray execution, the second with zeros.
    pub(crate) fn fill_pages(pages: &mut [u8; BYTES]) {
        pages[..PAGE_BYTES].fill(FILLER);
        pages[PAGE_BYTES..].fill(0);
    }

    /// Returns the AP to hold during bring-up and the stage to hold it at: none. Fault injection replaces this.
    pub(crate) fn held_ap() -> StageHold {
        StageHold { apic_id: ApicId::X2APIC_BROADCAST.0, ..StageHold::default() }
    }
}

/// Spins as long as this CPU is held at that stage by fault injection.
#[cfg(feature = "faults")]
pub(crate) fn wait_while_held(slot: &ApSlot, stage: Stage) {
    let Some(trampoline) = TRAMPOLINE.get() else { return };
    let hold = &trampoline.scratch().hold;
    let is_meant = hold.apic_id == slot.apic_id && hold.stage == stage as u32;
    while is_meant && hold.is_on.load(Ordering::Acquire) != 0 {
        core::hint::spin_loop();
    }
}

/// Releases the AP that is held.
#[cfg(feature = "faults")]
pub(crate) fn release_ap() {
    if let Some(trampoline) = TRAMPOLINE.get() {
        trampoline.scratch().hold.is_on.store(0, Ordering::Release);
    }
}

impl Trampoline {
    fn fill(&self) {
        let code = ap_trampoline::code();
        assert!(code.len() <= MAILBOX, "the trampoline's code runs into its mailbox");
        let idt = interrupts::early_idt_pointer();
        let (gdt_base, gdt_limit) = boot::early_gdt();
        let mut mailbox = Mailbox::new(self.tables.page() as u32);
        mailbox.kernel_gdt_pointer = TablePointer { limit: gdt_limit, base: gdt_base };
        mailbox.kernel_idt_pointer = TablePointer { limit: idt.limit, base: idt.base.as_u64() };
        mailbox.cr0 = Cr0::read_raw() as u32;
        mailbox.cr3 = self.tables.root();
        mailbox.cr4 = Cr4::read_raw() as u32;
        // The processor sets LMA itself.
        mailbox.efer = (Efer::read() - EferFlags::LONG_MODE_ACTIVE).bits() as u32;
        mailbox.slots = self.slots.as_ptr().addr() as u64;
        mailbox.slot_count = self.slots.len() as u32;
        mailbox.late_aps = (&raw const ap_state::LATE_APS).addr() as u64;
        mailbox.nmis = (&raw const ap_state::TRAMPOLINE_NMIS).addr() as u64;
        mailbox.machine_checks = (&raw const ap_state::TRAMPOLINE_MACHINE_CHECKS).addr() as u64;
        mailbox.entry = ap_state::COMMON.get().map_or(0, |common| common.entry);
        let page: *mut u8 = direct_map::pointer(self.tables.page());
        for neighbour in self.tables.neighbours() {
            // SAFETY: `TrampolineTables` owns the page, which is mapped for writing in the direct map.
            unsafe { direct_map::pointer::<u8>(neighbour).write_bytes(NEIGHBOUR_FILLER, PAGE_BYTES) };
        }
        // SAFETY: `TrampolineTables` owns the two pages. They are mapped for writing in the direct map until `prepare`
        // write-protects the first, and no AP uses them before the first start-up IPI. The reference ends with the call.
        fill_pages(unsafe { &mut *page.cast() });
        // SAFETY: `ap_trampoline` asserts that the code fits into the first page and overlaps neither the mailbox nor the
        // marks, which `fill_pages` has zeroed. The page is this value's and writable, and no AP uses it yet.
        unsafe { page.copy_from_nonoverlapping(code.as_ptr(), code.len()) };
        // SAFETY: `ap_trampoline` asserts that the mailbox lies in the first page.
        let mailbox_at = unsafe { page.add(MAILBOX) }.cast::<Mailbox>();
        // SAFETY: the mailbox is aligned, as `ap_trampoline` asserts, and in a page of this value that no AP uses yet.
        unsafe { mailbox_at.write(mailbox) };
        // SAFETY: the second page follows the first.
        let scratch_at = unsafe { page.add(PAGE_BYTES) }.cast::<Scratch>();
        // SAFETY: a page is aligned for the scratch area at its start, which `ap_trampoline` asserts to overlap no mark; no AP
        // uses the page yet.
        unsafe { scratch_at.write(Scratch { hold: held_ap() }) };
    }

    /// Returns the slots of all APs that can be started.
    pub(crate) fn slots(&self) -> &'static [ApSlot] {
        self.slots
    }

    /// Returns the slot of the CPU with that APIC ID.
    pub(crate) fn slot_of(&self, apic_id: ApicId) -> Option<&'static ApSlot> {
        let place = self.slots.binary_search_by_key(&apic_id.0, |slot| slot.apic_id).ok()?;
        self.slots.get(place)
    }

    /// Returns whether the processors need no wait after INIT: `Features::skip_init_delay`.
    pub(crate) fn skip_init_delay(&self) -> bool {
        self.skip_init_delay
    }

    /// Clears the marks that the AP has set in the page during an earlier bring-up.
    pub(crate) fn clear_marks(&self, slot: &ApSlot) {
        for marks in [SEEN_REAL_MODE, SEEN_PROTECTED_MODE] {
            if let Some((byte, bit)) = self.mark(marks, slot.apic_id) {
                byte.fetch_and(!bit, Ordering::Relaxed);
            }
        }
    }

    /// Returns the page number of the code page: the vector of the start-up IPI.
    pub(crate) fn start_up_page(&self) -> u8 {
        (self.tables.page() >> 12) as u8
    }

    /// Returns the last stage that an AP has reached: by its slot, or by its marks in the page before it has claimed the
    /// slot.
    pub(crate) fn last_seen(&self, slot: &ApSlot) -> Stage {
        let stage = slot.stage.load(Ordering::Acquire) as usize;
        if stage != Stage::SipiSent as usize {
            return Stage::ALL[stage % Stage::COUNT];
        }
        if self.is_marked(SEEN_PROTECTED_MODE, slot.apic_id) {
            Stage::ProtectedMode
        } else if self.is_marked(SEEN_REAL_MODE, slot.apic_id) {
            Stage::RealMode
        } else {
            Stage::SipiSent
        }
    }

    fn is_marked(&self, marks: usize, apic_id: u32) -> bool {
        self.mark(marks, apic_id).is_some_and(|(byte, bit)| byte.load(Ordering::Relaxed) & bit != 0)
    }

    /// Returns the byte that holds the mark of this APIC ID, and its bit; `None` for an ID without a mark. `marks` is
    /// `SEEN_REAL_MODE` or `SEEN_PROTECTED_MODE`.
    fn mark(&self, marks: usize, apic_id: u32) -> Option<(&AtomicU8, u8)> {
        let id = apic_id as usize;
        if id >= SEEN_BITS {
            return None;
        }
        let page: *mut u8 = direct_map::pointer(self.tables.page());
        // SAFETY: `id` is below `SEEN_BITS`, for which `ap_trampoline` reserves room in the data page behind either offset.
        let byte = unsafe { page.add(marks + id / 8) };
        // SAFETY: the page is never freed (`TRAMPOLINE`). APs change the byte by locked instructions, the kernel by `AtomicU8`.
        Some((unsafe { AtomicU8::from_ptr(byte) }, 1 << (id % 8)))
    }

    #[cfg(feature = "faults")]
    fn scratch(&self) -> &Scratch {
        // SAFETY: `fill` has written it, and the page is never freed (`TRAMPOLINE`). `StageHold::is_on`, which changes since,
        // is atomic.
        unsafe { &*direct_map::pointer::<Scratch>(self.tables.page() + PAGE_BYTES as u64) }
    }

    /// Returns whether the pages beside these are as [`prepare`] has filled them.
    pub(crate) fn neighbours_are_intact(&self) -> bool {
        self.tables.neighbours().all(|neighbour| {
            // SAFETY: the page belongs to `TrampolineTables` and is mapped in the direct map. No code of the kernel
            // writes it after `fill`.
            let bytes = unsafe { &*direct_map::pointer::<[u8; PAGE_BYTES]>(neighbour) };
            bytes.iter().all(|byte| *byte == NEIGHBOUR_FILLER)
        })
    }
}
