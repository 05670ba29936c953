//! The checks find the injected faults.

use super::World;
use super::concurrent::{Owners, Random};
use crate::memory::cache::Magazine;
use crate::memory::frames::Order;
use crate::memory::frames::faults::{EVERY, FrameFault, arm};
use std::sync::atomic::Ordering;
use std::vec::Vec;

/// Frames doubled and frames lost, with this fault, in a workload that refills and flushes often.
fn damage(fault: Option<Fault>) -> (usize, usize) {
    let world = World::new(8);
    let owners = Owners::new(&world);
    let magazine = Magazine::new();
    let mut random = Random(7);
    let mut held = Vec::new();
    arm(fault);
    for _ in 0..EVERY * 4 {
        for _ in 0..random.below(300) {
            if let Some(frame) = world.frames.alloc(&magazine, Order::FRAME) {
                owners.take(&world, frame, Order::FRAME);
                held.push(frame);
            }
        }
        let rest = random.below(held.len() + 1);
        for frame in held.split_off(rest) {
            owners.give(&world, frame, Order::FRAME);
            // A frame with two owners comes back twice; that it is noticed there is another test's matter.
            let _ = world.frames.free(&magazine, frame, Order::FRAME);
        }
    }
    arm(None);
    for frame in held {
        let _ = world.frames.free(&magazine, frame, Order::FRAME);
    }
    let _ = world.frames.drain(&magazine);
    let lost = world.frames.total_frames().saturating_sub(world.frames.free_frames());
    (owners.doubled.load(Ordering::Relaxed), lost)
}

/// Set in the process that a test has to itself.
const ALONE: &str = "OCTOPOD_FAULTS_ALONE";

#[test]
fn each_fault_is_noticed_and_only_as_what_it_is() {
    // A fault is armed for every allocator of its process.
    if std::env::var_os(ALONE).is_none() {
        return pass_alone("each_fault_is_noticed_and_only_as_what_it_is");
    }
    assert_eq!(damage(None), (0, 0));
    let (doubled, _) = damage(Some(FrameFault::DoubleAllocate));
    assert!(doubled > 0, "no double allocation was found");
    let (doubled, lost) = damage(Some(FrameFault::LeakFrame));
    assert_eq!(doubled, 0);
    assert!(lost > 0, "a lost frame went unnoticed");
}

/// Runs that test of this module in a process of its own.
fn pass_alone(name: &str) {
    let (_, module) = module_path!().split_once("::").expect("a crate and a module");
    let output = std::process::Command::new(std::env::current_exe().expect("a test binary"))
        .args(["--exact", &std::format!("{module}::{name}")])
        .env(ALONE, "1")
        .output()
        .expect("it starts");
    let report = std::string::String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && report.contains("1 passed"), "{report}");
}
