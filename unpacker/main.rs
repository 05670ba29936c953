//! Unpacks a compressed kernel to the pages after itself, and enters it with the loader's boot information. It is all
//! assembly, because it runs before the processor's features are known.

#![cfg_attr(target_os = "none", no_std, no_main)]

#[cfg(target_os = "none")]
mod kernel {
    use octopod_payload::{
        HEAD_BYTES, MAGIC, PACKED_BYTES_AT, PACKED_CHECKSUM_AT, UNPACKED_BYTES_AT, UNPACKED_CHECKSUM_AT,
        entry,
    };

    core::arch::global_asm!(
        ".set IMAGE_PHYS, 0x100000",
        ".set PROTOCOL_PVH, {protocol_pvh}",
        ".set PROTOCOL_MULTIBOOT1, {protocol_multiboot1}",
        ".set PROTOCOL_MULTIBOOT2, {protocol_multiboot2}",
        ".set PVH_MAGIC, {pvh_magic}",
        ".set MULTIBOOT1_MAGIC, {multiboot1_magic}",
        ".set MULTIBOOT1_HEADER_FLAGS, {multiboot1_header_flags}",
        ".set MULTIBOOT2_MAGIC, {multiboot2_magic}",
        ".set MULTIBOOT2_HEADER_MAGIC, {multiboot2_header_magic}",
        ".set UNPACKED_ENTRY, {unpacked_entry}",
        ".set DATA_SELECTOR, 16",
        ".set CODE_32_SELECTOR, 24",
        ".set EXIT_PORT, {exit_port}",
        ".set EXIT_REFUSED, {exit_refused}",
        ".set SHUTDOWN_PORT, {shutdown_port}",
        ".set SHUTDOWN, {shutdown}",
        ".set PAYLOAD_MAGIC, {magic}",
        ".set HEAD_BYTES, {head_bytes}",
        ".set PACKED_BYTES, {packed_bytes}",
        ".set PACKED_CHECKSUM, {packed_checksum}",
        ".set UNPACKED_BYTES, {unpacked_bytes}",
        ".set UNPACKED_CHECKSUM, {unpacked_checksum}",
        include_str!("shared/multiboot_entry.S"),
        include_str!("shared/descriptors_32.S"),
        include_str!("unpacker.S"),
        include_str!("shared/checksum.S"),
        ".code64",
        ".text",
        protocol_pvh = const entry::PROTOCOL_PVH,
        protocol_multiboot1 = const entry::PROTOCOL_MULTIBOOT1,
        protocol_multiboot2 = const entry::PROTOCOL_MULTIBOOT2,
        pvh_magic = const entry::PVH_MAGIC,
        multiboot1_magic = const entry::MULTIBOOT1_MAGIC,
        multiboot1_header_flags = const entry::MULTIBOOT1_HEADER_FLAGS,
        multiboot2_magic = const entry::MULTIBOOT2_MAGIC,
        multiboot2_header_magic = const entry::MULTIBOOT2_HEADER_MAGIC,
        unpacked_entry = const entry::UNPACKED_ENTRY,
        exit_port = const entry::EXIT_PORT,
        exit_refused = const entry::EXIT_REFUSED,
        shutdown_port = const entry::SHUTDOWN_PORT,
        shutdown = const entry::SHUTDOWN,
        magic = const MAGIC,
        head_bytes = const HEAD_BYTES,
        packed_bytes = const PACKED_BYTES_AT,
        packed_checksum = const PACKED_CHECKSUM_AT,
        unpacked_bytes = const UNPACKED_BYTES_AT,
        unpacked_checksum = const UNPACKED_CHECKSUM_AT,
        options(att_syntax)
    );
}

/// The payload. The linker script places its section. `include_bytes!` accepts a file at any path.
#[cfg(target_os = "none")]
#[used]
#[unsafe(link_section = ".payload")]
static PAYLOAD: [u8; include_bytes!(env!("OCTOPOD_PAYLOAD_COPY")).len()] =
    *include_bytes!(env!("OCTOPOD_PAYLOAD_COPY"));

/// Reports that the unpacker does not run on a host.
#[cfg(not(target_os = "none"))]
fn main() {
    eprintln!("octopod-unpacker runs on bare metal; `cargo run -- --compressed` boots it under QEMU");
    std::process::exit(2);
}

#[cfg(target_os = "none")]
#[panic_handler]
fn never_called(_: &core::panic::PanicInfo) -> ! {
    // No Rust code here can panic, but the language requires a handler.
    loop {}
}
