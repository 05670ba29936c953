//! The archives of the crates, as they would be published: each builds from what it contains and from the others, without the checkout,
//! and a project on them alone boots, tests, plugs in allocators, and fails with the right words when it is broken.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

use octopod_ci::base::Workspace;

use crate::launcher::fake::copy_program;
use crate::project::folder::{self, Project};
use crate::project::git;

/// The crates, each behind those that it needs.
const IN_ORDER: [&str; 5] = ["ap_trampoline", "octopod-macros", "octopod", "octopod-unpacker", "octopod-ci"];

/// Runs cargo, which must succeed. Returns what it said.
fn cargo(folder: &Path, target: &Path, words: &[&str]) -> String {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    for name in ["CARGO_MANIFEST_DIR", "CARGO_ENCODED_RUSTFLAGS", "RUSTFLAGS", "OUT_DIR"] {
        command.env_remove(name);
    }
    let output = command.current_dir(folder).env("CARGO_TARGET_DIR", target).args(words).output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "cargo {words:?}: {text}");
    text
}

/// The archives, unpacked.
struct Archives {
    folder: tempfile::TempDir,
    /// The target folder of the checks.
    target: PathBuf,
}

static ARCHIVES: LazyLock<Archives> = LazyLock::new(|| {
    let checkout = Workspace::find().unwrap();
    // The checkout's own target folder: what clippy checks of the registry's crates need not be checked twice.
    let target = checkout.own().parent().unwrap().to_owned();
    let said = cargo(&checkout.root, &target, &["package", "--workspace", "--no-verify", "--allow-dirty"]);
    let name =
        |line: &str| Some(line.trim().strip_prefix("Packaging ")?.split_whitespace().next()?.to_owned());
    assert_eq!(said.lines().filter_map(name).collect::<Vec<_>>(), IN_ORDER, "{said}");
    let folder = tempfile::tempdir().unwrap();
    for name in IN_ORDER {
        let archive = target.join(format!("package/{}.crate", package(name)));
        // An archive's files are older than anything that was built of their predecessors.
        let unpacked = Command::new("tar").arg("-xmzf").arg(&archive).current_dir(folder.path()).status();
        assert!(unpacked.unwrap().success(), "{}", archive.display());
    }
    let archives = Archives { folder, target };
    // A workspace of all of them.
    let folder = archives.path();
    let manifest = format!("[workspace]\nresolver = \"3\"\nmembers = {:?}\n", IN_ORDER.map(package));
    fs::write(folder.join("Cargo.toml"), manifest + &archives.patch(&IN_ORDER)).unwrap();
    fs::copy(checkout.root.join("Cargo.lock"), folder.join("Cargo.lock")).unwrap();
    archives
});

/// The folder of a crate in its archive.
fn package(name: &str) -> String {
    format!("{name}-{}", env!("CARGO_PKG_VERSION"))
}

impl Archives {
    fn path(&self) -> &Path {
        self.folder.path()
    }

    /// The section of a manifest that replaces the published crates.
    fn patch(&self, names: &[&str]) -> String {
        let line = |name: &&str| {
            let path = self.path().join(package(name));
            format!("{name} = {{ path = {:?} }}\n", path.to_str().unwrap())
        };
        format!("[patch.crates-io]\n{}", names.iter().map(line).collect::<String>())
    }
}

#[test]
fn the_archives_build_in_the_order_in_which_they_are_published() {
    let (folder, target) = (ARCHIVES.path(), &ARCHIVES.target);
    cargo(folder, target, &["check", "--workspace", "--lib", "--bins"]);
    let flags = "[target.x86_64-unknown-none]\nrustflags = [\"-Cforce-frame-pointers=yes\"]\n";
    fs::create_dir(folder.join(".cargo")).unwrap();
    fs::write(folder.join(".cargo/config.toml"), flags).unwrap();
    let kernel =
        ["check", "--target", "x86_64-unknown-none", "-p", "octopod", "-p", "octopod-unpacker", "--bins"];
    cargo(folder, target, &kernel);
}

/// The launcher in a folder of its own, where it does not find the checkout: in the full tier that of the archive, as `cargo install`
/// builds it, else a copy of the checkout's, as that takes a minute less.
fn launcher() -> PathBuf {
    let bin = ARCHIVES.path().join("bin");
    if env::var("OCTOPOD_TIER").as_deref() == Ok("full") {
        let archive = ARCHIVES.path().join(package("octopod-ci"));
        let root = ARCHIVES.path().to_str().unwrap();
        let install = ["install", "--locked", "--path", archive.to_str().unwrap(), "--root", root];
        cargo(ARCHIVES.path(), &ARCHIVES.path().join("target"), &install);
        assert!(bin.join("cargo-octopod").is_file(), "the subcommand of cargo is installed as well");
    } else {
        fs::create_dir(&bin).unwrap();
        copy_program(&folder::launcher(), &bin.join("octopod"));
    }
    bin.join("octopod")
}

/// The dependencies that [docs/kernels.md](../../docs/kernels.md) names, each with its manifest.
const AMONG_EACH_OTHER: [(&str, &str); 4] = [
    ("Cargo.toml", "ap_trampoline"),
    ("Cargo.toml", "octopod-macros"),
    ("ci/Cargo.toml", "octopod"),
    ("ci/Cargo.toml", "octopod-unpacker"),
];

#[test]
fn with_a_registry_beside_four_paths_the_crates_are_those_of_another_registry() {
    let checkout = Workspace::find().unwrap().root;
    let folder = tempfile::tempdir().unwrap();
    let (copy, index) = (folder.path().join("copy"), folder.path().join("index"));
    let repository = folder.path().join("octopod.git");
    git::commit_all(&repository, &checkout);
    git::check_out(&repository, &copy);
    for (manifest, name) in AMONG_EACH_OTHER {
        let path = copy.join(manifest);
        let text = fs::read_to_string(&path).unwrap();
        let begin = format!("\n{name} = {{ path = ");
        let with_registry = format!("\n{name} = {{ registry = \"other\", path = ");
        assert_eq!(text.matches(&begin).count(), 1, "{manifest}: {name}");
        fs::write(&path, text.replace(&begin, &with_registry)).unwrap();
    }
    // A registry that has no crate yet.
    fs::create_dir(&index).unwrap();
    fs::write(index.join("config.json"), "{\"dl\":\"https://other.invalid/\"}").unwrap();
    git::commit_all(&index.join(".git"), &index);
    let index = format!("file://{}", index.display());
    let configuration = format!("registries.other.index={index:?}");
    let words = ["--config", &configuration, "package", "--workspace", "--no-verify", "--allow-dirty"];
    let target = folder.path().join("target");
    cargo(&copy, &target, &[&words[..], &["--registry", "other"]].concat());
    let mut found = Vec::new();
    for name in IN_ORDER {
        let folder_of_archive = package(name);
        let archive = target.join(format!("package/{folder_of_archive}.crate"));
        let manifest = format!("{folder_of_archive}/Cargo.toml");
        let unpacked = Command::new("tar").arg("-xzOf").arg(&archive).arg(&manifest).output().unwrap();
        let manifest: toml::Table = String::from_utf8(unpacked.stdout).unwrap().parse().unwrap();
        let dependencies = manifest.get("dependencies").and_then(toml::Value::as_table);
        for (dependency, source) in dependencies.into_iter().flatten() {
            if IN_ORDER.contains(&&**dependency) {
                let registry = source.get("registry-index").and_then(toml::Value::as_str);
                assert_eq!(registry, Some(&*index), "{dependency} of {name}");
                found.push(dependency.clone());
            }
        }
    }
    assert_eq!(found.len(), AMONG_EACH_OTHER.len(), "{found:?}");
}

/// A registry that has octopod's crate alone, in a folder: cargo's configuration of it.
fn mirror() -> String {
    let folder = ARCHIVES.path().join("mirror");
    let octopod = ARCHIVES.path().join(package("octopod"));
    fs::create_dir(&folder).unwrap();
    fs::write(octopod.join(".cargo-checksum.json"), "{\"files\":{}}").unwrap();
    std::os::unix::fs::symlink(&octopod, folder.join(package("octopod"))).unwrap();
    let index = "sparse+https://mirror.invalid/";
    format!(
        "\n[registries.mirror]\nindex = \"{index}\"\n\n[source.of-mirror]\nregistry = \"{index}\"\n\
         replace-with = \"archives\"\n\n[source.archives]\ndirectory = {folder:?}\n"
    )
}

/// The crate whose allocator is plugged in, besides that of the template.
const PUBLISHED: &str =
    "buddy_system_allocator = { version = \"0.13\", default-features = false, features = [\"alloc\"] }";

#[test]
fn a_project_on_the_archives_alone_works_and_fails_with_the_right_words() {
    let launcher = launcher();
    // Nothing may resolve to the crate of the same name on crates.io.
    let nowhere = tempfile::tempdir().unwrap();
    let refused = folder::said(folder::outside(&launcher).args(["new", "guest"]).current_dir(nowhere.path()));
    refused.expect(2, &["--path DIR", "--git URL", "--registry NAME", "crates.io has another crate"]);
    assert!(!nowhere.path().join("guest").exists());

    let project = Project::made("guest", launcher, &["--template", "allocator", "--registry", "mirror"]);
    project.add(".cargo/config.toml", &mirror());
    project.replace("Cargo.toml", "[dependencies]", &format!("[dependencies]\n{PUBLISHED}"));
    project.replace("Cargo.toml", "smp = 4", "profile = \"dev\"\nsmp = 8");
    let manifest = fs::read_to_string(project.folder.join("Cargo.toml")).unwrap();
    assert!(manifest.contains("registry = \"mirror\" }"), "{manifest}");
    // Where it is published, what it depends on is as well.
    let patch = ARCHIVES.patch(&["ap_trampoline", "octopod-macros"]);
    let test = "[[test]]\nname = \"own\"\nharness = false\n";
    project.write("Cargo.toml", &format!("{manifest}\n{test}\n{patch}"));
    project.add("src/allocator.rs", MORE_ALLOCATORS);
    project.write("tests/own.rs", TESTS);
    project.write("src/bin/bare.rs", BARE);
    project.replace(
        "Cargo.toml",
        "[package.metadata.octopod]",
        "[package.metadata.octopod]\nbin = \"guest\"",
    );

    // Eight CPUs, its own tests, the template's allocator and a published one, in the kernel and on the host.
    let brief = ["stress", "--seconds", "0.4", "--workloads", "bulk", "--allocator"];
    let kernel = |allocator: &str| project.octopod(&[&brief[..], &[allocator, "--cpus", "8"]].concat());
    let host = |allocator: &str| {
        project.octopod(&[&brief[..], &[allocator, "--cpus", "2", "--host", "--mem", "16M"]].concat())
    };
    kernel("bitmap,buddy").expect(0, &["bitmap", "buddy", "PASS  8 CPUs"]);
    host("bitmap,buddy").expect(0, &["bitmap", "buddy", "PASS"]);
    project.cargo(&["test", "--test", "own", "passes"]).expect(0, &["passes ... ok", "1 passed"]);

    // A double allocation and a loss.
    for run in [&kernel as &dyn Fn(&str) -> folder::Said, &host] {
        run("twice").expect(1, &["bulk on twice", "frame 0x", "was allocated to cpu ", " had it"]);
        let lost =
            ["bulk on lossy", "frames that were free before are not free after: frame", "(freed by cpu "];
        run("lossy").expect(1, &lost);
    }
    // A failing test.
    let failed = project.cargo(&["test", "--test", "own"]);
    failed.expect(
        101,
        &["passes ... ok", "fails ... FAILED", "cpu 0 panicked at tests/own.rs:13:", "two are one"],
    );
    // A program that is not linked by octopod's script, as it does not use octopod.
    project
        .cargo(&["run", "--bin", "bare"])
        .expect(2, &["is not a kernel that can be booted", "octopod::program!"]);
    // Wrong flags.
    project.replace(".cargo/config.toml", "\"-Cforce-frame-pointers=yes\"", "");
    project.cargo(&["build"]).expect(
        101,
        &[
            "without frame pointers",
            "[target.x86_64-unknown-none] rustflags = [\"-Cforce-frame-pointers=yes\"]",
        ],
    );
}

/// An allocator of a published crate, and two broken ones.
const MORE_ALLOCATORS: &str = r#"
octopod::frame_allocator! {
    /// Buddies of a published crate, under a lock.
    pub static BUDDY = "buddy",
    metadata: |_| 0,
    shape: MemoryShape::Ranges,
    run: |memory, run| {
        let mut buddy = buddy_system_allocator::FrameAllocator::new();
        for range in memory.frames() {
            buddy.add_frame(range.start.get(), range.end.get());
        }
        let free = AtomicU64::new(memory.frames().iter().map(|range| (range.end.get() - range.start.get()) as u64).sum());
        run(&Counted { buddy: SpinLockIrq::new(buddy), free });
    },
}

use octopod::sync::SpinLockIrq;

struct Counted {
    buddy: SpinLockIrq<buddy_system_allocator::FrameAllocator<32>>,
    free: AtomicU64,
}

impl FrameSource for Counted {
    fn alloc(&self, _: &mut AllocContext, order: Order) -> Option<FrameNumber> {
        let first = self.buddy.lock().alloc(order.frames())?;
        self.free.fetch_sub(order.frames() as u64, Relaxed);
        Some(FrameNumber::new(first))
    }

    unsafe fn free(&self, _: &mut AllocContext, frame: FrameNumber, order: Order) -> Result<(), FreeError> {
        self.buddy.lock().dealloc(frame.get(), order.frames());
        self.free.fetch_add(order.frames() as u64, Relaxed);
        Ok(())
    }

    fn drain(&self, _: &mut AllocContext) {}

    fn free_frames(&self) -> usize {
        self.free.load(Relaxed) as usize
    }
}

octopod::frame_allocator! {
    /// The bitmap, which leaves the bit of each hundredth frame set.
    pub static TWICE = "twice",
    metadata: |needs| needs.frames.div_ceil(64) * size_of::<u64>(),
    shape: MemoryShape::Contiguous { alignment: Order::FRAME, most: None },
    run: |memory, run| run(&Broken { bitmap: Bitmap::on(memory), is_lossy: false }),
}

octopod::frame_allocator! {
    /// The bitmap, which does not set the bit of each hundredth frame again.
    pub static LOSSY = "lossy",
    metadata: |needs| needs.frames.div_ceil(64) * size_of::<u64>(),
    shape: MemoryShape::Contiguous { alignment: Order::FRAME, most: None },
    run: |memory, run| run(&Broken { bitmap: Bitmap::on(memory), is_lossy: true }),
}

struct Broken<'a> {
    bitmap: Bitmap<'a>,
    is_lossy: bool,
}

impl FrameSource for Broken<'_> {
    fn largest_order(&self) -> Order {
        Order::FRAME
    }

    fn alloc(&self, context: &mut AllocContext, order: Order) -> Option<FrameNumber> {
        let frame = self.bitmap.alloc(context, order)?;
        if !self.is_lossy && frame.get() % 100 == 0 {
            unsafe { self.bitmap.free(context, frame, order) }.ok()?;
        }
        Some(frame)
    }

    unsafe fn free(&self, context: &mut AllocContext, frame: FrameNumber, order: Order) -> Result<(), FreeError> {
        match self.is_lossy && frame.get() % 100 == 0 {
            true => Ok(()),
            false => unsafe { self.bitmap.free(context, frame, order) },
        }
    }

    fn drain(&self, _: &mut AllocContext) {}

    fn free_frames(&self) -> usize {
        self.bitmap.free_frames()
    }
}
"#;

/// A test that passes and one that fails.
const TESTS: &str = r#"#![no_std]
#![no_main]

octopod::test_main!();

#[octopod::test(cpus = all)]
fn passes() {
    assert!(octopod::memory::OwnedFrame::alloc().is_some());
}

#[octopod::test]
fn fails() {
    assert_eq!(1 + 1, 1, "two are one");
}
"#;

/// A program for the kernel's target that is no kernel.
const BARE: &str = r#"#![no_std]
#![no_main]

#[panic_handler]
fn panicked(_: &core::panic::PanicInfo) -> ! {
    loop {}
}

#[unsafe(no_mangle)]
extern "C" fn _start() -> ! {
    loop {}
}
"#;
