//! The text of `--help` after the options.

use crate::base::verdict::STATUSES;

/// The text: statuses, environment, examples.
pub(crate) fn after_help() -> String {
    let statuses: String =
        STATUSES.iter().map(|(status, meaning)| format!("  {status:>3}  {meaning}\n")).collect();
    format!("Exit status:\n{statuses}\n{AFTER_STATUSES}")
}

const AFTER_STATUSES: &str = "\
Environment:
  OCTOPOD_QEMU=PATH      as --qemu
  OCTOPOD_BOCHS=PATH     as --bochs
  OCTOPOD_OVMF=DIR       the folder of the UEFI firmware, for --boot uefi
  OCTOPOD_NO_INSTALL=1   install nothing; print the command instead (at a terminal the launcher asks first)
  OCTOPOD_ROOT=DIR       the checkout to work on, instead of the nearest one

Examples:
  cargo run                                           stress on eight CPUs
  cargo run -- boot --smp 64 --machine pc             64 CPUs on an older PC
  cargo run -- boot --smp 6,sockets=2,cores=3         sparse APIC IDs
  cargo run -- boot --boot uefi                       by GRUB on UEFI firmware, from an ISO image
  cargo run -- stress --seconds 60 --json out.json    a report for programs
  cargo run -- boot --log smp=debug,warn              more log lines of one module, fewer of the others
  cargo run -- boot --emulator bochs                  in Bochs, which is slower and stricter
  cargo run -- boot -- -d int -D int.log              QEMU's own options after --
  cargo run -- boot --trace                           a timeline of each CPU, for Perfetto
  cargo run -- bench                                  the cost of operations, in instructions
  cargo run -- report OLD NEW                         compare two runs: folders, or their report.json
  cargo run -- run --example hello                    a custom kernel, from examples/
  cargo run -- run --kernel my-kernel.elf             a custom kernel, from an ELF file
  cargo run -- shell                                  the console of the running kernel
  cargo run -- shell -c cpus -c irq                   run these commands in it
  printf 'cpus\\nirq\\n' | cargo run -q -- shell         commands from a pipe; its end ends the run
  cargo run -- gdb --append work=stress               wait for gdb, then stress
  cargo run -- matrix --tier full --shard 1/4         a quarter of all rows of config/machines.toml
  cargo run -- matrix memory                          the rows whose name contains `memory`
  cargo run -- soak boots --count 22                  a few boots of the soak
  cargo run -- soak loom shuttle                      the models of the lock-free parts";
