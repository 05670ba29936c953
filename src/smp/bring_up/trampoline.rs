//! The two pages that the processors wake up in, from the kernel's side. `ap_trampoline` has their code and their map.

use core::sync::atomic::{AtomicU8, Ordering};

use ap_trampoline::{
    BYTES, FILLER, Hold, MAILBOX, Mailbox, PAGE_BYTES, SEEN_BITS, SEEN_PROTECTED_MODE, SEEN_REAL_MODE,
    Scratch, Slot, Stage, TablePointer,
};
use spin::Once;
use x86_64::registers::control::{Cr0, Cr4};
use x86_64::registers::model_specific::{Efer, EferFlags};

use super::ap;
use crate::boot::{self, direct_map};
use crate::cpu::ApicId;
use crate::interrupts;
use crate::memory::{MapError, TrampolineTables};
use crate::patchable;

/// There is one, for good: CPUs that are called later wake up in it too.
static TRAMPOLINE: Once<Trampoline> = Once::new();

/// The pages, filled and ready, and the slots that they lead to.
#[derive(Debug)]
pub struct Trampoline {
    passage: TrampolineTables,
    slots: &'static [Slot],
    skip_init_delay: bool,
}

/// What the pages beside the trampoline's are filled with where the kernel has them to itself.
const NEIGHBOUR_FILLER: u8 = 0xa5;

/// Fills the pages, once, and makes the one with the code read-only. The slots are in ascending order of their APIC IDs.
///
/// # Errors
/// The page with the code cannot be made read-only.
pub fn prepare(
    passage: TrampolineTables,
    slots: &'static [Slot],
    skip_init_delay: bool,
) -> Result<&'static Trampoline, MapError> {
    TRAMPOLINE.try_call_once(|| {
        let trampoline = Trampoline { passage, slots, skip_init_delay };
        trampoline.fill();
        trampoline.passage.protect_code()?;
        Ok(trampoline)
    })
}

/// The trampoline, once it is prepared.
pub fn ready() -> Option<&'static Trampoline> {
    TRAMPOLINE.get()
}

patchable! {
    /// Fills the pages: the first so that a processor that runs astray in it is caught, the second with zeroes.
    pub fn fill_pages(pages: &mut [u8; BYTES]) {
        pages[..PAGE_BYTES].fill(FILLER);
        pages[PAGE_BYTES..].fill(0);
    }

    /// Who is to be held on its way up, and where: nobody.
    pub fn hold() -> Hold {
        Hold { apic_id: ApicId::X2APIC_BROADCAST.0, ..Hold::default() }
    }
}

/// Waits as long as this CPU is held in that stage: a deliberate fault.
#[cfg(feature = "faults")]
pub fn wait_while_held(slot: &Slot, stage: Stage) {
    let Some(trampoline) = TRAMPOLINE.get() else { return };
    let hold = &trampoline.scratch().hold;
    let is_meant = hold.apic_id == slot.apic_id && hold.stage == stage as u32;
    while is_meant && hold.is_on.load(Ordering::Acquire) != 0 {
        core::hint::spin_loop();
    }
}

/// Lets the processor go that is held.
#[cfg(feature = "faults")]
pub fn let_go() {
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
        let mut mailbox = Mailbox::new(self.passage.page() as u32);
        mailbox.kernel_gdt_pointer = TablePointer { limit: gdt_limit, base: gdt_base };
        mailbox.kernel_idt_pointer = TablePointer { limit: idt.limit, base: idt.base.as_u64() };
        mailbox.cr0 = Cr0::read_raw() as u32;
        mailbox.cr3 = self.passage.root();
        mailbox.cr4 = Cr4::read_raw() as u32;
        // LMA is the processor's to set.
        mailbox.efer = (Efer::read() - EferFlags::LONG_MODE_ACTIVE).bits() as u32;
        mailbox.slots = self.slots.as_ptr().addr() as u64;
        mailbox.slot_count = self.slots.len() as u32;
        mailbox.late_aps = (&raw const ap::SENT_AWAY).addr() as u64;
        mailbox.nmis = (&raw const ap::TRAMPOLINE_NMIS).addr() as u64;
        mailbox.machine_checks = (&raw const ap::TRAMPOLINE_MACHINE_CHECKS).addr() as u64;
        mailbox.entry = ap::entry as *const () as u64;
        let page: *mut u8 = direct_map::pointer(self.passage.page());
        // SAFETY: the two pages are the passage's own, mapped for writing in the direct map until `prepare` seals the first, and
        // no processor has been told of them yet. Code, mailbox, scratch and marks lie apart, as `ap_trampoline` asserts; the
        // marks are 0 from `fill_pages`. The neighbours are the passage's own as well, where it has any.
        unsafe {
            for neighbour in self.passage.neighbours() {
                direct_map::pointer::<u8>(neighbour).write_bytes(NEIGHBOUR_FILLER, PAGE_BYTES);
            }
            fill_pages(&mut *page.cast());
            page.copy_from_nonoverlapping(code.as_ptr(), code.len());
            page.add(MAILBOX).cast::<Mailbox>().write(mailbox);
            page.add(PAGE_BYTES).cast::<Scratch>().write(Scratch { hold: hold() });
        }
    }

    /// The slots of all CPUs that can be called.
    pub fn slots(&self) -> &'static [Slot] {
        self.slots
    }

    /// The slot of the CPU with that APIC ID.
    pub fn slot_of(&self, apic_id: ApicId) -> Option<&'static Slot> {
        let place = self.slots.binary_search_by_key(&apic_id.0, |slot| slot.apic_id).ok()?;
        self.slots.get(place)
    }

    /// Whether the processors need no wait after INIT: `Features::skip_init_delay`.
    pub fn skip_init_delay(&self) -> bool {
        self.skip_init_delay
    }

    /// Takes back the marks that a processor left in the page when it came up before.
    pub fn clear_marks(&self, slot: &Slot) {
        let id = slot.apic_id as usize;
        if id >= SEEN_BITS {
            return;
        }
        let page: *mut u8 = direct_map::pointer(self.passage.page());
        for marks in [SEEN_REAL_MODE, SEEN_PROTECTED_MODE] {
            // SAFETY: a byte of the page, whose bits others change by locked instructions too.
            let byte = unsafe { AtomicU8::from_ptr(page.add(marks + id / 8)) };
            byte.fetch_and(!(1 << (id % 8)), Ordering::Relaxed);
        }
    }

    /// The page's number, as a start-up interrupt bears it.
    pub fn start_up_page(&self) -> u8 {
        (self.passage.page() >> 12) as u8
    }

    /// Where a processor was last seen: in its slot, or, before it has claimed that, by its marks in the page.
    pub fn last_seen(&self, slot: &Slot) -> Stage {
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
        let id = apic_id as usize;
        if id >= SEEN_BITS {
            return false;
        }
        let page: *mut u8 = direct_map::pointer(self.passage.page());
        // SAFETY: a byte of the page: `id` is below `SEEN_BITS`, for which `ap_trampoline` asserts that there is room behind
        // either of the two offsets. The page is never given back (`TRAMPOLINE` is permanent). The processors set its bits
        // meanwhile, by locked instructions, and this kernel changes them in `clear_marks`, atomically too.
        let byte = unsafe { AtomicU8::from_ptr(page.add(marks + id / 8)) };
        byte.load(Ordering::Relaxed) & (1 << (id % 8)) != 0
    }

    #[cfg(feature = "faults")]
    fn scratch(&self) -> &Scratch {
        // SAFETY: `fill` wrote it there, and the page is never given back; what is written since is atomic.
        unsafe { &*direct_map::pointer::<Scratch>(self.passage.page() + PAGE_BYTES as u64) }
    }

    /// Whether the pages beside these are as [`prepare`] left them.
    pub fn neighbours_are_intact(&self) -> bool {
        self.passage.neighbours().all(|neighbour| {
            // SAFETY: the passage's own page, mapped in the direct map, which nobody writes after `fill`.
            let bytes = unsafe { &*direct_map::pointer::<[u8; PAGE_BYTES]>(neighbour) };
            bytes.iter().all(|byte| *byte == NEIGHBOUR_FILLER)
        })
    }
}
