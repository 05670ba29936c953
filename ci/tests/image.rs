//! Reads the kernel's ELF file and holds it to what no source can promise: that no vector register is touched outside
//! rt0, that a per-CPU increment is one instruction, that rt0 can apply every relocation, that no segment is both
//! writable and executable, and that loaders find the PVH note.
//!
//! Each check is a function over an [`Image`], so that the tests can also pass it an invalid one. [`Image::read`] creates an
//! image from a file.

use octopod_ci::base::{Silent, Workspace};
use octopod_ci::kernel::{KernelConfig, build};

mod checks;
mod elf;

use checks::PROBE;
use elf::{Code, Image, Relocation, RelocationKind, Segment, SegmentKind, Symbol};

#[test]
fn the_kernel_image_is_sound() {
    let kernel = build::provide(&KernelConfig::default(), &Workspace::find().unwrap(), &mut Silent)
        .unwrap_or_else(|error| panic!("the kernel does not build: {error}"));
    let bytes = std::fs::read(&kernel.path).unwrap();
    let image = Image::read(&bytes).unwrap();
    let instructions = image.code.iter().map(|code| checks::disassemble(&image, code).count()).sum::<usize>();
    assert!(instructions > 5_000, "only {instructions} instructions were found: the test has gone blind");
    let packed = image.relocations.iter().map(|one| match one.kind {
        RelocationKind::Packed(words) => words,
        RelocationKind::Other(_) => 0,
    });
    assert!(packed.sum::<usize>() > 10, "no relocation was found: the test has gone blind");
    let faults = checks::all(&image);
    assert!(faults.is_empty(), "{}:\n{}\n", kernel.path.display(), faults.join("\n"));
}

/// Settings that a user has for other programs, in the environment. Those in files of cargo's are read by the unit tests of
/// `kernel_build::isolation`.
#[test]
fn settings_for_other_programs_do_not_reach_the_kernel() {
    let provide =
        || build::provide(&KernelConfig::default(), &Workspace::find().unwrap(), &mut Silent).unwrap();
    // The launcher waits as long as the kernel is held.
    let built = std::fs::read(&provide().path).unwrap();
    octopod_ci::setup::qemu::provide(std::env::var_os("OCTOPOD_QEMU").as_deref(), &mut Silent).unwrap();
    let out = tempfile::tempdir().unwrap();
    let mut launcher = std::process::Command::new(env!("CARGO_BIN_EXE_octopod"));
    launcher.args(["boot", "--accel", "tcg", "--smp", "1", "--out"]).arg(out.path());
    launcher.envs([
        ("CARGO_TARGET_X86_64_UNKNOWN_NONE_RUSTFLAGS", "-Ctarget-cpu=x86-64-v3"),
        ("RUSTFLAGS", "-Ctarget-cpu=native"),
        ("CARGO_BUILD_TARGET", "x86_64-unknown-linux-gnu"),
        ("CARGO_PROFILE_KERNEL_STRIP", "true"),
        ("CARGO_PROFILE_RELEASE_OPT_LEVEL", "0"),
        ("CARGO_INCREMENTAL", "1"),
        ("RUSTC_WRAPPER", "/bin/false"),
        ("CARGO_BUILD_RUSTC_WORKSPACE_WRAPPER", "/bin/false"),
    ]);
    let output = launcher.output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let booted = std::fs::read(out.path().join("octopod-kernel")).unwrap();
    assert!(booted == built, "another kernel was built");
}

const TEXT: u64 = 0xffff_8000_0010_0000;
const LOADED_AT: u64 = 0x10_0000;

/// `add qword ptr gs:[rip + 0x40], 1`, then `ret`.
const GOOD_PROBE: &[u8] = &[0x65, 0x48, 0x83, 0x05, 0x40, 0, 0, 0, 1, 0xc3];

/// Where that has its rt0: behind all else.
const RT0: u64 = TEXT + 0x400;

/// An rt0 of one instruction, and its tables of the features that it looks for, by their bits.
fn rt0(leaf_1: &[u32], leaf_80000001: &[u32]) -> Vec<u8> {
    let row = |bit: &u32| [&(1u32 << bit).to_le_bytes()[..], b"NAME\0\0\0\0\0\0\0\0"].concat();
    let table = |bits: &[u32]| [bits.iter().flat_map(row).collect(), vec![0; 16]].concat();
    [&[0x0f, 0x57, 0xc0, 0xc3][..], &table(leaf_1), &table(leaf_80000001)].concat()
}

/// The smallest image that passes every check.
fn good_image() -> Image {
    let load = |vaddr: u64, flags: &str, data: &[u8]| Segment {
        kind: SegmentKind::Load,
        vaddr,
        paddr: vaddr - TEXT + LOADED_AT,
        align: 0x1000,
        writable: flags.contains('w'),
        executable: flags.contains('x'),
        data: data.to_vec(),
    };
    let mut note = Vec::new();
    for word in [4u32, 4, 18] {
        note.extend(word.to_le_bytes());
    }
    note.extend(b"Xen\0");
    note.extend((LOADED_AT as u32 + 0x10).to_le_bytes());
    let note = Segment { kind: SegmentKind::Note, align: 4, ..load(TEXT + 0x1000, "r", &note) };
    Image {
        segments: vec![
            load(TEXT, "rx", &[0xc3; 64]),
            load(TEXT + 0x1000, "r", &[0; 64]),
            load(TEXT + 0x2000, "rw", &[0; 64]),
            note,
        ],
        code: vec![
            Code { section: ".rt0".to_owned(), address: RT0, data: rt0(&[4, 15], &[29]) },
            Code { section: ".text".to_owned(), address: TEXT + 0x20, data: GOOD_PROBE.to_vec() },
        ],
        symbols: vec![
            Symbol { name: PROBE.to_owned(), address: TEXT + 0x20, size: GOOD_PROBE.len() as u64 },
            Symbol { name: "required_leaf_1".to_owned(), address: RT0 + 4, size: 0 },
            Symbol { name: "required_leaf_80000001".to_owned(), address: RT0 + 4 + 3 * 16, size: 0 },
        ],
        relocations: vec![Relocation { section: ".relr.dyn".to_owned(), kind: RelocationKind::Packed(20) }],
    }
}

/// An image whose probe has these bytes.
fn with_probe(bytes: &[u8]) -> Image {
    let mut image = good_image();
    image.code[1].data = bytes.to_vec();
    image.symbols[0].size = bytes.len() as u64;
    image
}

#[track_caller]
fn assert_faults(faults: Vec<String>, expected: &[&str]) {
    assert_eq!(faults.len(), expected.len(), "{faults:?}");
    for (fault, part) in faults.iter().zip(expected) {
        assert!(fault.contains(part), "{fault:?} does not say {part:?}");
    }
}

#[test]
fn a_good_image_passes() {
    assert_faults(checks::all(&good_image()), &[]);
}

#[test]
fn vector_and_floating_point_code_is_found() {
    let cases: [(&[u8], &str); 10] = [
        (&[0x0f, 0x57, 0xc0], "xorps xmm0,xmm0"),
        (&[0x66, 0x0f, 0x6f, 0x07], "movdqa xmm0,[rdi]"),
        (&[0xc5, 0xfc, 0x57, 0xc0], "vxorps ymm0,ymm0,ymm0"),
        (&[0x62, 0xf1, 0x7c, 0x48, 0x57, 0xc0], "vxorps zmm0,zmm0,zmm0"),
        (&[0xc5, 0xf8, 0x90, 0xc9], "kmovw k1,k1"),
        (&[0x0f, 0x6f, 0x07], "movq mm0,[rdi]"),
        (&[0x0f, 0x77], "emms"),
        (&[0xd9, 0xe8], "fld1"),
        (&[0xdb, 0xe3], "fninit"),
        (&[0x0f, 0xae, 0x07], "fxsave [rdi]"),
    ];
    for (bytes, text) in cases {
        let mut image = good_image();
        image.code[1].data = [bytes, &[0xc3]].concat();
        assert_faults(checks::no_vector_registers(&image), &[text]);
        // The same instruction in rt0, or in the trampoline in any section, is accepted.
        image.code[1].section = ".rt0".to_owned();
        assert_faults(checks::no_vector_registers(&image), &[]);
        image.code[1].section = ".text".to_owned();
        let bound = |name: &str, address| Symbol { name: name.to_owned(), address, size: 0 };
        image.symbols.push(bound("ap_trampoline_start", TEXT + 0x20));
        image.symbols.push(bound("ap_trampoline_end", TEXT + 0x40));
        assert_faults(checks::no_vector_registers(&image), &[]);
    }
}

#[test]
fn an_instruction_that_rt0_does_not_check_the_processor_for_is_found() {
    // rdtsc, cmovb eax,ecx, nop, tzcnt rax,rcx
    let checked = [&[0x0f, 0x31][..], &[0x0f, 0x42, 0xc1], &[0x90], &[0xf3, 0x48, 0x0f, 0xbc, 0xc1]];
    assert_faults(checks::only_checked_features(&with_probe(&checked.concat())), &[]);
    let cases: [(&[u8], &str); 6] = [
        (&[0xf3, 0x48, 0x0f, 0xbd, 0xc1], "needs LZCNT: a feature that is neither"),
        (&[0x0f, 0x32], "rdmsr in octopod_probe_per_cpu_add needs MSR: bit 5 of EDX of leaf 0x1"),
        (&[0x0f, 0xae, 0xf0], "needs SSE2: bit 26"),
        (&[0x0f, 0xc7, 0x0f], "needs CX8: bit 8"),
        (&[0x0f, 0x01, 0xf9], "needs RDTSCP: a feature that is neither checked nor guarded"),
        (&[0xf3, 0x0f, 0xb8, 0xc1], "needs POPCNT: a feature that is neither"),
    ];
    for (bytes, text) in cases {
        assert_faults(checks::only_checked_features(&with_probe(bytes)), &[text]);
    }
    let mut without = good_image();
    without.code[0].data = rt0(&[4], &[29]);
    without.symbols[2].address -= 16;
    without.code[1].data = vec![0x0f, 0x42, 0xc1];
    assert_faults(checks::only_checked_features(&without), &["cmovb eax,ecx"]);
    without.symbols.truncate(2);
    assert_faults(checks::only_checked_features(&without), &["no symbol required_leaf_80000001"]);
}

#[test]
fn what_only_looks_like_vector_code_is_let_pass() {
    // pause, lfence, mfence, prefetcht0 [rdi], movnti [rdi],rax, rdtscp
    let bytes = [
        &[0xf3, 0x90][..],
        &[0x0f, 0xae, 0xe8],
        &[0x0f, 0xae, 0xf0],
        &[0x0f, 0x18, 0x0f],
        &[0x48, 0x0f, 0xc3, 0x07],
        &[0x0f, 0x01, 0xf9],
    ];
    assert_faults(checks::no_vector_registers(&with_probe(&bytes.concat())), &[]);
}

#[test]
fn code_is_read_anew_from_each_symbol_on() {
    // The first byte of a five-byte instruction that would swallow what follows.
    let mut image = with_probe(&[0xb8, 0x0f, 0x57, 0xc0, 0xc3]);
    assert_faults(checks::no_vector_registers(&image), &[]);
    image.symbols.push(Symbol { name: "inner".to_owned(), address: TEXT + 0x21, size: 4 });
    assert_faults(checks::no_vector_registers(&image), &["at 0xffff800000100021 in inner: xorps xmm0,xmm0"]);
}

#[test]
fn a_per_cpu_increment_of_another_shape_is_found() {
    let frame = |inner: &[u8]| [&[0x55, 0x48, 0x89, 0xe5], inner, &[0x5d, 0xc3]].concat();
    let add = &GOOD_PROBE[..9];
    assert_faults(checks::per_cpu_add_is_one_instruction(&with_probe(&frame(add))), &[]);
    let cases: [(&[u8], &str); 8] = [
        (&[0xf0, 0x65, 0x48, 0x83, 0x05, 0x40, 0, 0, 0, 1], "lock add"),
        (&[0x48, 0x83, 0x05, 0x40, 0, 0, 0, 1], "add qword ptr [0FFFF"),
        (&[0x65, 0x83, 0x05, 0x40, 0, 0, 0, 1], "add dword ptr gs:"),
        (&[0x65, 0x48, 0x83, 0x00, 1], "gs:[rax]"),
        (&[0x65, 0x48, 0x83, 0x04, 0x25, 0x40, 0, 0, 0, 1], "gs:[40h]"),
        (&[0x65, 0x48, 0x01, 0x05, 0x40, 0, 0, 0, 0x90], "nop"),
        (&[0x65, 0x48, 0x8b, 0x05, 0x40, 0, 0, 0], "mov rax,gs:"),
        (&[0x90], "nop"),
    ];
    for (bytes, text) in cases {
        let faults = checks::per_cpu_add_is_one_instruction(&with_probe(&frame(bytes)));
        assert_faults(faults, &[text]);
    }
    for (bytes, times) in [(frame(&[]), 0), (frame(&[add, add].concat()), 2)] {
        let text = format!("has {times} increments");
        assert_faults(checks::per_cpu_add_is_one_instruction(&with_probe(&bytes)), &[&text]);
    }
    let mut missing = good_image();
    missing.symbols.clear();
    assert_faults(checks::per_cpu_add_is_one_instruction(&missing), &["no symbol"]);
    let mut elsewhere = good_image();
    elsewhere.symbols[0].address = 0x1000;
    assert_faults(checks::per_cpu_add_is_one_instruction(&elsewhere), &["lies in no code"]);
}

#[test]
fn a_relocation_that_rt0_cannot_apply_is_found() {
    let mut image = good_image();
    image
        .relocations
        .push(Relocation { section: ".rela.got".to_owned(), kind: RelocationKind::Other("type 6".into()) });
    assert_faults(checks::only_packed_relocations(&image), &[".rela.got: a relocation of type 6"]);
}

#[test]
fn a_segment_both_writable_and_executable_is_found() {
    let mut image = good_image();
    image.segments[0].writable = true;
    assert_faults(checks::no_writable_code(&image), &["0xffff800000100000"]);
}

#[test]
fn a_pvh_note_that_loaders_would_not_find_is_found() {
    type Damage = fn(&mut Vec<Segment>);
    let cases: [(Damage, &str); 10] = [
        (|segments| drop(segments.pop()), "0 note segments"),
        (|segments| segments.push(segments[3].clone()), "2 note segments"),
        (|segments| segments[3].align = 8, "aligned to 8"),
        (|segments| segments[3].vaddr += 2, "not at a multiple of 4"),
        (|segments| segments[3].data[8] = 1, "type 1"),
        (|segments| segments[3].data[12] = b'L', "Len"),
        (|segments| segments[3].data.extend([0; 4]), "24 bytes"),
        (|segments| segments[3].data.truncate(16), "16 bytes"),
        (|segments| segments[3].data[18] = 0x20, "0x200010, which is in no executable segment"),
        (|segments| segments[0].executable = false, "0x100010, which is in no executable segment"),
    ];
    for (damage, text) in cases {
        let mut image = good_image();
        damage(&mut image.segments);
        assert_faults(checks::pvh_note(&image), &[text]);
    }
}

#[test]
fn a_file_that_is_no_elf_is_refused() {
    assert!(Image::read(b"MZ").is_err());
    assert!(Image::read(&[0; 4096]).is_err());
}
