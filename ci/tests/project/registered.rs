//! What another crate of a project registers: the kernel has it also after optimisation of the whole program.

use serde_json::Value;

use super::*;

/// A crate that the program does not call.
const QUEUE: &str = "#![no_std]

use octopod::stress::allocators::*;

octopod::frame_allocator! {
    /// Never has a frame.
    pub static NOTHING = \"nothing\",
    metadata: |_| 0,
    shape: MemoryShape::Ranges,
    run: |_memory, run| run(&Nothing),
}

struct Nothing;

impl FrameSource for Nothing {
    fn alloc(&self, _: &mut AllocContext, _: Order) -> Option<FrameNumber> {
        None
    }

    unsafe fn free(&self, _: &mut AllocContext, frame: FrameNumber, _: Order) -> Result<(), FreeError> {
        Err(FreeError::DoubleFree { frame })
    }

    fn drain(&self, _: &mut AllocContext) {}

    fn free_frames(&self) -> usize {
        0
    }
}

octopod::fault! {
    /// An item is lost.
    pub static LOSE_ITEM = \"lose_item\";
}

octopod::option! {
    /// The length of the queue.
    pub static LENGTH: u64 = 16, \"length\";
}
";

const MAIN: &str = "#![no_std]
#![no_main]

use queue as _;

octopod::program!(octopod::stages::stress);
";

/// Nothing is booted: the list is that of the file.
#[test]
fn what_another_crate_registers_is_in_a_program_that_is_optimised_as_a_whole() {
    let project = Project::new("whole", &[]);
    let manifest = fs::read_to_string(project.folder.join("Cargo.toml")).unwrap();
    let octopod = manifest.lines().find(|line| line.starts_with("octopod = ")).unwrap();
    let package = "[package]\nname = \"queue\"\nversion = \"0.1.0\"\nedition = \"2024\"\n\n[dependencies]\n";
    project.write("queue/Cargo.toml", &format!("{package}{octopod}\n"));
    project.write("queue/src/lib.rs", QUEUE);
    project.replace("Cargo.toml", octopod, &format!("{octopod}\nqueue = {{ path = \"queue\" }}"));
    // Unused statics are removed at this level, too, in half the time.
    let profile = "[profile.release]\nlto = \"fat\"\ncodegen-units = 1\nopt-level = 1\n";
    project.replace("Cargo.toml", "[profile.release]\n", profile);
    project.add("Cargo.toml", "\n[workspace]\nmembers = [\"queue\"]\n");
    project.write("src/main.rs", MAIN);
    project.octopod(&["list", "--json", "list.json"]).expect(0, &[]);
    let list: Value = serde_json::from_slice(&fs::read(project.folder.join("list.json")).unwrap()).unwrap();
    let entries: Vec<_> =
        list.as_array().unwrap().iter().filter(|one| one["kind"] != "panic context").collect();
    let entry = |at: usize| ["kind", "name", "summary", "file"].map(|key| entries[at][key].as_str().unwrap());
    let file = "queue/src/lib.rs";
    let expected = [
        ["frame allocator", "nothing", "Never has a frame.", file],
        ["fault", "lose_item", "An item is lost.", file],
        ["parameter", "length", "The length of the queue.", file],
    ];
    assert_eq!((0..entries.len()).map(entry).collect::<Vec<_>>(), expected, "{list:#}");
}
