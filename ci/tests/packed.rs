//! A damaged kernel, compressed or not, is refused with the reason and not run. So is a kernel that is entered by an unknown boot
//! protocol.

use object::{Object, ObjectSegment, ObjectSymbol};
use octopod_ci::base::{Silent, Workspace};
use octopod_ci::kernel::{KernelSource, build};
use octopod_ci::{launch, parse, setup};
use octopod_payload::{HEAD_BYTES, Head};

use crate::launcher::fake::PATIENCE;

const BOOT: [&str; 5] = ["boot", "--smp", "1", "--accel", "tcg"];

#[test]
fn a_damaged_payload_is_refused() {
    let whole = compressed_kernel();
    // The unpacker's code and its symbols hold the magic number too, but no head behind it that makes sense.
    let (at, head) = (0..whole.len()).find_map(|at| Some((at, head_at(&whole[at..])?))).unwrap();

    let boot_with = |change: &dyn Fn(&mut [u8])| {
        let mut damaged = whole.clone();
        change(&mut damaged[at..]);
        boot(&damaged, "pvh")
    };
    let in_the_middle = HEAD_BYTES + head.packed_bytes as usize / 2;
    let damaged = "the compressed kernel is damaged: its checksum is wrong";
    assert_eq!(boot_with(&|payload| payload[in_the_middle] ^= 1), (5, damaged.to_owned()));
    let no_kernel = "the unpacker was built without a kernel";
    assert_eq!(boot_with(&|payload| payload[0] ^= 1), (5, no_kernel.to_owned()));
    // The last byte of the head's second checksum: what comes out is not what went in.
    let not_the_same =
        "the kernel was not unpacked to what was packed: too little memory, or a damaged image";
    let at = octopod_payload::UNPACKED_CHECKSUM_AT;
    assert_eq!(boot_with(&|payload| payload[at] ^= 1), (5, not_the_same.to_owned()));
    assert_eq!(boot_with(&|_| {}).0, 0);
}

/// Damage in code, in a constant and in a variable; and a file without a checksum, which is believed.
#[test]
fn a_damaged_kernel_is_refused() {
    let whole = kernel(&[]);
    let file = object::File::parse(&*whole).unwrap();
    let place = |name: &str, below: u64| {
        let symbol = file.symbols().find(|symbol| symbol.name() == Ok(name)).unwrap();
        let address = symbol.address() - below;
        let mut segments = file.segments().map(|segment| (segment.address(), segment.file_range()));
        let found = segments.find(|(start, (_, bytes))| (*start..start + bytes).contains(&address));
        let (start, (at, _)) = found.unwrap();
        (at + address - start) as usize
    };
    let damaged = "the kernel was damaged after it was loaded: too little memory, or a faulty one";
    for at in [place("checksum_start", 0), place("relr_start", 0), place("checksum_end", 1)] {
        let mut damaged_kernel = whole.clone();
        damaged_kernel[at] ^= 1;
        assert_eq!(boot(&damaged_kernel, "pvh"), (5, damaged.to_owned()), "byte {at} of the file");
    }
    let mut unsealed = whole.clone();
    let checksum = place("rt0_checksum", 0);
    assert_ne!(unsealed[checksum..checksum + 4], [0; 4]);
    unsealed[checksum..checksum + 4].fill(0);
    assert_eq!(boot(&unsealed, "pvh").0, 0);
}

/// With so little RAM that the image just fits below what QEMU's firmware keeps (128 KiB, SeaBIOS's tables among it), it uses
/// some of the image's place for itself at first. How much RAM that is follows from the image.
#[test]
fn a_kernel_that_firmware_has_damaged_is_refused() {
    let whole = kernel(&[]);
    let file = object::File::parse(&*whole).unwrap();
    let end = file.symbols().find(|symbol| symbol.name() == Ok("rt0_phys_image_end")).unwrap().address();
    let mem = format!("{}K", end.div_ceil(1024) + 128 + 16);
    let mut config = parse(&[&BOOT[..], &["--mem", &mem]].concat()).unwrap().0;
    config.run.limit = PATIENCE;
    let outcome = launch(&config);
    let reason = "the kernel was damaged after it was loaded: too little memory, or a faulty one";
    assert_eq!((outcome.status, outcome.report.reason.as_deref()), (5, Some(reason)), "{mem}");
}

/// The unpacker has the same entry as the kernel. Either one refuses a loader whose number it does not know.
#[test]
fn an_unknown_loader_is_refused() {
    for mut whole in [compressed_kernel(), kernel(&["--boot", "multiboot1"])] {
        // cmp eax, 0x2badb002
        let instruction = [0x3d, 0x02, 0xb0, 0xad, 0x2b];
        let at = whole.windows(instruction.len()).position(|bytes| bytes == instruction).unwrap();
        whole[at + 1] ^= 1;
        let reason = "not started by a Multiboot or PVH loader";
        assert_eq!(boot(&whole, "multiboot1"), (5, reason.to_owned()));
    }
}

fn compressed_kernel() -> Vec<u8> {
    kernel(&["--compressed"])
}

fn kernel(options: &[&str]) -> Vec<u8> {
    let named = std::env::var_os("OCTOPOD_QEMU");
    setup::qemu::provide(named.as_deref(), &mut Silent).unwrap();
    setup::target::provide(&mut Silent).unwrap();
    let config = parse(&[&BOOT, options].concat()).unwrap().0.kernel;
    let kernel = build::provide(&config, &Workspace::find().unwrap(), &mut Silent).unwrap();
    std::fs::read(&kernel.path).unwrap()
}

/// Boots that file by that protocol: the status, and the reason.
fn boot(elf: &[u8], protocol: &str) -> (u8, String) {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), elf).unwrap();
    let mut config = parse(&[&BOOT[..], &["--boot", protocol]].concat()).unwrap().0;
    config.kernel.source = KernelSource::File(file.path().to_owned());
    config.run.limit = PATIENCE;
    let outcome = launch(&config);
    (outcome.status, outcome.report.reason.unwrap_or_default())
}

fn head_at(bytes: &[u8]) -> Option<Head> {
    Head::from_bytes(bytes).filter(|head| {
        head.packed_bytes > 0
            && head.packed_bytes < head.unpacked_bytes
            && head.unpacked_bytes <= head.memory_bytes
    })
}
