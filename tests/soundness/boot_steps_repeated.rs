//! Calls what the boot calls once, on one CPU, in its order: memory, CPU numbers, threads, timers, bring-up, clocks.
//! refused: E0603 module `init` is private
//! refused: E0603 function `init` is private
//! refused: E0603 function `add_low_memory` is private
//! refused: E0603 function `map_stacks` is private
//! refused: E0603 function `prepare_area` is private
//! refused: E0603 module `thread` is private
//! refused: E0603 function `start` is private
//! refused: E0603 function `set_clock` is private
//! refused: E0603 function `open_calls` is private

pub use octopod::{cpu, memory, smp, sync, time};

#[cfg(attempt)]
pub use octopod::{
    cpu::prepare_area, cpu::thread::current as current_thread, memory::add_low_memory,
    memory::init as init_memory, memory::map_stacks, smp::open_calls, smp::start as start_cpus,
    sync::set_clock, time::init as init_time, time::timer::start,
};
