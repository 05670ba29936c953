//! The checks of the kernel's image. Each returns a line for each fault.

use iced_x86::{
    Code as Opcode, CpuidFeature, Decoder, DecoderOptions, Formatter, Instruction, InstructionInfoFactory,
    IntelFormatter, Mnemonic, OpKind, Register,
};

use super::elf::{Code, Image, RelocationKind, SegmentKind, Symbol};

/// The function that does nothing but add 1 to a per-CPU counter.
pub(crate) const PROBE: &str = "octopod_probe_per_cpu_add";

/// Code that runs before the kernel proper, or in real mode, by section.
const EXEMPT_SECTIONS: [&str; 2] = [".rt0", ".ap_trampoline"];
/// The same by the symbols around it.
const EXEMPT_RANGE: [&str; 2] = ["ap_trampoline_start", "ap_trampoline_end"];

/// A note of Xen's that holds the 32-bit physical entry point (Xen, public/elfnote.h: XEN_ELFNOTE_PHYS32_ENTRY).
const PVH_NOTE_TYPE: u32 = 18;
/// Header (12), name (4), and a 32-bit address: the PVH note, and nothing else.
const PVH_NOTE_BYTES: usize = 20;

/// Every check.
pub(crate) fn all(image: &Image) -> Vec<String> {
    let checks = [
        no_vector_registers,
        only_checked_features,
        per_cpu_add_is_one_instruction,
        only_packed_relocations,
        no_writable_code,
        pvh_note,
    ];
    checks.iter().flat_map(|check| check(image)).collect()
}

/// The kernel is soft-float, and interrupts save no vector state: such an instruction would corrupt the vector registers of the
/// interrupted code.
pub(crate) fn no_vector_registers(image: &Image) -> Vec<String> {
    let bound = |name| image.symbols.iter().find(|symbol| symbol.name == name).map(|symbol| symbol.address);
    let exempt = match EXEMPT_RANGE.map(bound) {
        [Some(start), Some(end)] => start..end,
        _ => 0..0,
    };
    let mut info = InstructionInfoFactory::new();
    let mut faults = Vec::new();
    for code in image.code.iter().filter(|code| !EXEMPT_SECTIONS.contains(&&*code.section)) {
        for instruction in disassemble(image, code).filter(|one| !exempt.contains(&one.ip())) {
            let registers = info.info(&instruction).used_registers();
            if registers.iter().any(|used| is_vector(used.register()))
                || is_floating_point(instruction.code())
            {
                let (address, place) = (instruction.ip(), place_of(image, instruction.ip()));
                faults.push(format!("vector code at {address:#x} in {place}: {}", text_of(&instruction)));
            }
        }
    }
    faults
}

/// The features that rt0 checks by a table: CPUID's leaf, and the bit of EDX.
type FeatureBit = (u32, u32);

/// Which bit of CPUID says that a processor has an instruction; `None` for what every processor with long mode has, whatever
/// its CPUID says, and for what another feature brings with it.
///
/// # Errors
/// A feature that neither is.
fn feature_bit(feature: CpuidFeature) -> Result<Option<FeatureBit>, CpuidFeature> {
    use CpuidFeature::*;
    Ok(match feature {
        INTEL8086 | INTEL8086_ONLY | INTEL186 | INTEL286 | INTEL286_ONLY | INTEL386 | INTEL386_ONLY | INTEL486
        // CPUID itself rt0 finds by the flag that can be toggled; UD2 and PAUSE have no bit.
        | CPUID | PAUSE | MULTIBYTENOP => None,
        FPU | FPU287 | FPU387 => Some((1, 0)),
        TSC => Some((1, 4)),
        MSR => Some((1, 5)),
        CX8 => Some((1, 8)),
        CMOV => Some((1, 15)),
        FXSR => Some((1, 24)),
        SSE => Some((1, 25)),
        SSE2 => Some((1, 26)),
        X64 => Some((0x8000_0001, 29)),
        other => return Err(other),
    })
}

/// Instructions that only run where the kernel has found that the processor has them, by the functions that hold them.
const GUARDED: [(CpuidFeature, &[&str]); 3] = [
    (CpuidFeature::RDTSCP, &["tsc_by_rdtscp"]),
    (CpuidFeature::FSGSBASE, &["fs_base_by_instruction"]),
    (CpuidFeature::CMPXCHG16B, &["wf_alloc"]),
];

/// The processor that runs the image must have every instruction in it, and rt0 must have checked that, for all that it meets
/// there else is an exception before there is a way to report one. What the compiler may use is not typed in here: it is
/// what it has used.
pub(crate) fn only_checked_features(image: &Image) -> Vec<String> {
    let checked = match rows_of_rt0(image) {
        Ok(rows) => rows,
        Err(fault) => return vec![fault],
    };
    let mut faults = std::collections::BTreeMap::new();
    for code in image.code.iter().filter(|code| !EXEMPT_SECTIONS.contains(&&*code.section)) {
        for instruction in disassemble(image, code).filter(|one| !one.is_invalid()) {
            // TZCNT is REP BSF. A processor without BMI1 ignores the prefix, and for an operand that is not 0 the result is the same
            // (SDM Vol. 2B, TZCNT). Without BMI1 the compiler emits it only for such an operand.
            if instruction.mnemonic() == Mnemonic::Tzcnt {
                continue;
            }
            for &feature in instruction.cpuid_features() {
                let fault = match feature_bit(feature) {
                    Ok(None) => continue,
                    Ok(Some(bit)) if checked.iter().any(|(known, _)| *known == bit) => continue,
                    Ok(Some((leaf, bit))) => {
                        format!("bit {bit} of EDX of leaf {leaf:#x}, which rt0 does not check")
                    }
                    Err(_) => "a feature that is neither checked nor guarded".to_owned(),
                };
                let place = place_of(image, instruction.ip());
                let is_guarded = GUARDED.iter().any(|(guarded, functions)| {
                    *guarded == feature && functions.iter().any(|function| place.contains(function))
                });
                if !is_guarded {
                    let text = format!("{} in {place} needs {feature:?}: {fault}", text_of(&instruction));
                    faults.entry(format!("{feature:?}")).or_insert(text);
                }
            }
        }
    }
    faults.into_values().collect()
}

/// The rows of rt0's tables, each with its name.
pub(crate) fn rows_of_rt0(image: &Image) -> Result<Vec<(FeatureBit, String)>, String> {
    let mut rows = Vec::new();
    for (leaf, name) in [(1, "required_leaf_1"), (0x8000_0001, "required_leaf_80000001")] {
        let table = image.symbols.iter().find(|symbol| symbol.name == name);
        let table = table.ok_or(format!("there is no symbol {name}"))?.address;
        let code = image
            .code
            .iter()
            .find(|code| (code.address..code.address + code.data.len() as u64).contains(&table));
        let code = code.ok_or(format!("{name} lies in no code"))?;
        for row in code.data[(table - code.address) as usize..].chunks_exact(16) {
            let mask = u32::from_le_bytes([row[0], row[1], row[2], row[3]]);
            if mask == 0 {
                break;
            }
            let name = String::from_utf8_lossy(&row[4..]).trim_end_matches('\0').to_owned();
            rows.push(((leaf, mask.trailing_zeros()), name));
        }
    }
    Ok(rows)
}

fn is_vector(register: Register) -> bool {
    register.is_vector_register()
        || register.is_mm()
        || register.is_st()
        || register.is_k()
        || register.is_tmm()
}

/// Instructions for the whole floating-point state name no register.
fn is_floating_point(code: Opcode) -> bool {
    use CpuidFeature::{
        FPU, FPU287, FPU287XL_ONLY, FPU387, FPU387SL_ONLY, FXSR, MMX, XSAVE, XSAVEC, XSAVEOPT, XSAVES,
    };
    let state = [FXSR, XSAVE, XSAVEC, XSAVEOPT, XSAVES];
    let whole = [FPU, FPU287, FPU287XL_ONLY, FPU387, FPU387SL_ONLY, MMX];
    // XGETBV and XSETBV say which state exists, and touch none of it.
    let is_control = matches!(code, Opcode::Xgetbv | Opcode::Xsetbv);
    !is_control
        && code.cpuid_features().iter().any(|feature| state.contains(feature) || whole.contains(feature))
}

/// An interrupt may occur between any two instructions, and may move the thread to another CPU.
pub(crate) fn per_cpu_add_is_one_instruction(image: &Image) -> Vec<String> {
    let Some(probe) = image.symbols.iter().find(|symbol| symbol.name == PROBE) else {
        return vec![format!("there is no symbol {PROBE}")];
    };
    let Some(bytes) = bytes_of(image, probe) else {
        return vec![format!("{PROBE} lies in no code")];
    };
    let mut increments = 0;
    let mut faults = Vec::new();
    for instruction in Decoder::with_ip(64, bytes, probe.address, DecoderOptions::NONE) {
        if is_per_cpu_add(&instruction) {
            increments += 1;
        } else if !is_frame_of_a_function(&instruction) {
            faults.push(format!(
                "{PROBE}: `{}` where an increment through GS should be",
                text_of(&instruction)
            ));
        }
    }
    if faults.is_empty() && increments != 1 {
        faults.push(format!("{PROBE} has {increments} increments"));
    }
    faults
}

/// `add qword ptr gs:[rip + distance], amount`, or `inc`, not locked.
fn is_per_cpu_add(instruction: &Instruction) -> bool {
    matches!(instruction.mnemonic(), Mnemonic::Add | Mnemonic::Inc)
        && instruction.op0_kind() == OpKind::Memory
        && instruction.memory_size().size() == 8
        && instruction.memory_segment() == Register::GS
        && instruction.memory_base() == Register::RIP
        && !instruction.has_lock_prefix()
}

/// The kernel is built with frame pointers, also in functions that have no use for one.
fn is_frame_of_a_function(instruction: &Instruction) -> bool {
    let is_rbp = instruction.op0_kind() == OpKind::Register && instruction.op0_register() == Register::RBP;
    match instruction.mnemonic() {
        Mnemonic::Ret => true,
        Mnemonic::Push | Mnemonic::Pop => is_rbp,
        Mnemonic::Mov => {
            is_rbp
                && instruction.op1_kind() == OpKind::Register
                && instruction.op1_register() == Register::RSP
        }
        _ => false,
    }
}

/// rt0 adds a distance, and knows no other arithmetic, nor any but the packed form.
pub(crate) fn only_packed_relocations(image: &Image) -> Vec<String> {
    let fault = |kind: &RelocationKind| match kind {
        RelocationKind::Packed(_) => None,
        RelocationKind::Other(what) => Some(what.clone()),
    };
    let relocations = image.relocations.iter();
    relocations
        .filter_map(|one| {
            Some(format!("{}: a relocation of {}, which rt0 cannot apply", one.section, fault(&one.kind)?))
        })
        .collect()
}

/// The final page tables give each segment its rights.
pub(crate) fn no_writable_code(image: &Image) -> Vec<String> {
    let both = image.segments.iter().filter(|segment| segment.writable && segment.executable);
    both.map(|segment| format!("the segment at {:#x} is both writable and executable", segment.vaddr))
        .collect()
}

/// QEMU takes the note's segment's alignment for the notes' own, and walks astray where it is not 4.
pub(crate) fn pvh_note(image: &Image) -> Vec<String> {
    let notes: Vec<_> = image.segments.iter().filter(|segment| segment.kind == SegmentKind::Note).collect();
    let [note] = notes[..] else {
        return vec![format!("there are {} note segments, not one", notes.len())];
    };
    let mut faults = Vec::new();
    if note.align != 4 {
        faults.push(format!("the note segment is aligned to {}, not 4", note.align));
    }
    if note.vaddr % 4 != 0 {
        faults.push(format!("the note segment is at {:#x}, not at a multiple of 4", note.vaddr));
    }
    if note.data.len() != PVH_NOTE_BYTES {
        faults.push(format!("the note segment has {} bytes, the PVH note {PVH_NOTE_BYTES}", note.data.len()));
        return faults;
    }
    let word = |index: usize| u32::from_le_bytes(note.data[4 * index..][..4].try_into().unwrap());
    let (name_bytes, value_bytes, note_type, name, entry) =
        (word(0), word(1), word(2), &note.data[12..16], word(4));
    if (name_bytes, value_bytes, note_type, name) != (4, 4, PVH_NOTE_TYPE, b"Xen\0") {
        let name = name.escape_ascii();
        faults.push(format!(
            "the note is of type {note_type} and by \"{name}\", {name_bytes} and {value_bytes} bytes"
        ));
    }
    let holds_entry = image.segments.iter().any(|segment| {
        let range = segment.paddr..segment.paddr + segment.data.len() as u64;
        segment.kind == SegmentKind::Load && segment.executable && range.contains(&entry.into())
    });
    if !holds_entry {
        faults.push(format!("the PVH entry is {entry:#x}, which is in no executable segment"));
    }
    faults
}

/// A section's instructions. Reading begins anew at each symbol, so that data between functions cannot hide what follows.
pub(crate) fn disassemble<'a>(image: &Image, code: &'a Code) -> impl Iterator<Item = Instruction> + use<'a> {
    let end = code.address + code.data.len() as u64;
    let symbols = image.symbols.iter().map(|symbol| symbol.address);
    let mut starts: Vec<_> = symbols.filter(|address| (code.address..end).contains(address)).collect();
    starts.extend([code.address, end]);
    starts.sort_unstable();
    starts.dedup();
    let pieces: Vec<_> = starts.windows(2).map(|pair| (pair[0], pair[1])).collect();
    pieces.into_iter().flat_map(move |(start, end)| {
        let bytes = &code.data[(start - code.address) as usize..(end - code.address) as usize];
        Decoder::with_ip(64, bytes, start, DecoderOptions::NONE).into_iter()
    })
}

fn bytes_of<'a>(image: &'a Image, symbol: &Symbol) -> Option<&'a [u8]> {
    image.code.iter().find_map(|code| {
        let start = usize::try_from(symbol.address.checked_sub(code.address)?).ok()?;
        code.data.get(start..)?.get(..usize::try_from(symbol.size).ok()?)
    })
}

/// The symbol that an address belongs to.
fn place_of(image: &Image, address: u64) -> &str {
    let before = image.symbols.iter().filter(|symbol| symbol.address <= address);
    before.max_by_key(|symbol| (symbol.address, symbol.size)).map_or("no symbol", |symbol| &symbol.name)
}

fn text_of(instruction: &Instruction) -> String {
    let mut text = String::new();
    IntelFormatter::new().format(instruction, &mut text);
    text
}
