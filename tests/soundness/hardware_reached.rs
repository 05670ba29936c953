//! Reaches hardware that can write to any memory or stop the machine: ports, control registers, APICs, interrupt vectors,
//! device mappings.
//! refused: E0603 module `registers` is private
//! refused: E0603 module `apic` is private
//! refused: E0603 function `register` is private
//! refused: E0603 function `replace` is private
//! refused: E0603 function `map_device` is private
//! refused: E0603 function `map_table` is private
//! refused: E0624 method `enable` is private

pub use octopod::cpu::Features;
pub use octopod::{interrupts, memory};

#[cfg(attempt)]
mod attempt {
    use octopod::apic::send_to_self;
    use octopod::cpu::registers::write_to_port;
    use octopod::interrupts::{register, replace};
    use octopod::memory::{map_device, map_table};

    pub fn enabled(features: &octopod::cpu::Features) {
        features.enable();
    }
}
