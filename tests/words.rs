//! Reads the sources, messages and documentation, and fails on words that have a standard term.
//!
//! The list holds names and phrases that octopod once used for things that the field names otherwise. Each row gives the term
//! to write. Two kinds of rows exist: an identifier matches as it is spelled; a phrase matches in any case, as whole words,
//! also inside `snake_case` names and across the lines of a comment.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

/// Folders and files that are read, relative to the package's.
const ROOTS: &[&str] = &[
    ".ci",
    ".github",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "Cargo.toml",
    "README.md",
    "ap_trampoline",
    "ci",
    "clippy.toml",
    "config",
    "docs",
    "examples",
    "linker",
    "src",
    "tests",
    "unpacker",
];

/// Extensions of files with words. Files without an extension are read as well.
const EXTENSIONS: &[&str] = &["S", "css", "ld", "log", "md", "py", "rs", "sh", "svg", "toml", "yml"];

/// Identifiers that have been renamed: the old one and the present one.
const IDENTIFIERS: &[(&str, &str)] = &[
    // Boot and launcher.
    ("Door", "BootProtocol"),
    ("LastWords", "CrashRecord"),
    ("House", "MappingPolicy"),
    ("SENT_AWAY", "LATE_APS"),
    ("go_away", "park_late_ap"),
    ("leave_ms", "cpu_offline_timeout_ms"),
    ("ap_progress_ms", "ap_bringup_timeout_ms"),
    ("request_ms", "ipi_call_timeout_ms"),
    ("panic_stop_ms", "panic_stop_timeout_ms"),
    ("nmi_answer_ms", "nmi_response_timeout_ms"),
    ("SealError", "ChecksumError"),
    // Injected faults and workloads.
    ("deaf_to_leave", "ignore_offline_request"),
    ("stuck_leaving", "hang_going_offline"),
    ("lost_on_return", "drop_sipi_on_online"),
    ("keep_from_others", "skip_remote_drain"),
    ("let_handler_in", "enable_irqs_in_refill"),
    ("accept_foreign", "accept_unowned_free"),
    ("strand_block", "skip_block_completion"),
    ("keep_apart", "skip_buddy_merge"),
    ("allow_in_nmi", "allow_alloc_in_nmi"),
    ("wait_in_handler", "block_in_irq"),
    ("lose_lent_frame", "leak_borrowed_frame"),
    ("FAMINE_ROUNDS", "EXHAUST_EVERY"),
    ("let_in", "irq_window"),
    // Memory.
    ("BEYOND_GUARDS", "IST_VECTORS"),
    ("HANDLERS_BEYOND", "IST_HANDLERS"),
    ("beyond_guards", "dispatch_ist"),
    ("Barred", "AllocDisabledGuard"),
    ("BARRED", "DISABLED"),
    ("ASLEEP", "EMPTY_UNTRACKED"),
    ("fall_asleep", "disable_cache"),
    ("is_shut", "is_disabled"),
    ("KEEPS_FRAMES", "CACHE_NONEMPTY"),
    ("own_magazine", "percpu_cache"),
    ("KEPT_ORDERS", "CACHED_ORDERS"),
    ("Afar", "RemoteMagazine"),
    ("Gain", "Reclaimable"),
    ("Want", "SearchTarget"),
    ("would_do", "matches"),
    ("Loose", "SingleFrames"),
    ("unhold", "release"),
    ("ArenaCensus", "ZoneStats"),
    ("TakingIn", "InsertGuard"),
    ("insert_low", "add_low_memory"),
    ("note_free", "mark_available"),
    ("note_taken", "mark_unavailable"),
    ("Whom", "DrainScope"),
    ("search_and_ask", "alloc_slow_path"),
    ("set_drain_others", "set_drain_hook"),
    ("Passage", "TrampolineTables"),
    ("PASSAGE_TABLES", "TABLES_NEEDED"),
    ("Paper", "FakeMemory, TestTables"),
    // SMP and synchronisation.
    ("Departure", "HotplugState"),
    ("AT_IT", "HOTPLUG_OWNER"),
    ("leave_if_asked", "offline_point"),
    ("leave_idle", "offline_from_idle"),
    ("be_quiet", "drain_pending_irqs"),
    ("hand_over", "migrate_timers"),
    ("call_again", "restart_ap"),
    ("let_go", "release_ap"),
    ("take_out", "remove"),
    ("put_in", "insert"),
    ("run_on_all", "on_each_cpu"),
    ("call_without_waiting", "call_async"),
    ("call_those_online", "call_online"),
    ("wake_one", "kick"),
    ("wake_who_waits", "kick_waiter"),
    ("Inboxes", "CallQueue"),
    ("not_notified", "ipi_failed"),
    ("OwnedMutex", "TrackedSpinLock"),
    ("IrqMutex", "SpinLockIrq"),
    ("loomed", "loom_atomics"),
    ("PinRule", "InterruptSourceOverride"),
    ("Roster", "CpuTopology"),
    ("RosterEntry", "CpuEntry"),
    ("redirectable", "patchable"),
    // Panic, watchdog, time.
    ("Remains", "CpuCrashState"),
    ("are_of_a_death", "has_panicked"),
    ("leave_place", "save_backtrace"),
    ("Victim", "StoppedCpu"),
    ("Death", "PanicInfo"),
    ("speak_again", "print_nested"),
    ("NOBODY", "NO_CPU"),
    ("Beating", "Heartbeat"),
    ("Guests", "OrphanedTimers"),
    ("Distrust", "ClocksourceFault"),
    ("MEETINGS", "SKEW_SAMPLES"),
    // Stress and self-test.
    ("Seat", "AllocContext"),
    ("SeatCache", "AllocContext"),
    ("Books", "AllocatorSnapshot"),
    ("Loan", "BorrowedMemory"),
    ("Doubled", "OwnershipViolation"),
    ("Patience", "StallDetector"),
    ("InVain", "Stalled"),
    ("Meeting", "Rendezvous"),
    ("strike_all", "send_nmi_all"),
    ("judge_once", "check_timer"),
    ("judge_race", "check_cancel_race"),
    ("forget_what_does_not_fit", "drop_excess_regions"),
];

/// Words and phrases of prose, in lower case, and what to write.
const PHRASES: &[(&str, &str)] = &[
    // Private terms.
    ("door", "boot protocol"),
    ("doors", "boot protocols"),
    ("the house", "page-table audit"),
    ("house rules", "page-table audit"),
    ("last words", "crash record"),
    ("last wd", "crash record"),
    ("loader's word", "boot information"),
    ("loader's words", "boot information"),
    ("disc", "ISO image"),
    ("discs", "ISO images"),
    ("famine", "memory exhaustion"),
    ("checkerboard", "fragmentation"),
    ("afar", "remotely; a remote magazine"),
    ("roster", "list of CPUs"),
    ("census", "statistics"),
    ("the passage", "trampoline tables"),
    ("books", "accounting, counts, allocator snapshot"),
    ("encounters", "races"),
    ("boot processor", "BSP"),
    ("kernel of one's own", "custom kernel"),
    ("kernels of one's own", "custom kernels"),
    ("unit of a word of the processor's", "machine word"),
    // Agents without a noun.
    ("whoever", "the caller, the lock holder"),
    ("whomever", "the caller, the lock holder"),
    ("whom", "name the CPU or the caller"),
    ("nobody", "no CPU, no caller"),
    ("nobody's", "unowned"),
    ("somebody", "another CPU, a caller"),
    ("somebody's", "of another CPU, of a caller"),
    ("anybody", "any CPU, any caller"),
    ("everybody", "every CPU, every caller"),
    ("one's", "name the owner"),
    ("oneself", "name the owner"),
    ("what others", "name the thing"),
    // Idioms.
    ("for good", "permanently, never freed"),
    ("in vain", "without effect, spurious"),
    ("as a rule", "typically, the median"),
    ("is told", "returns, reports, logs"),
    ("are told", "return, report, log"),
    ("was told", "returned, reported, logged"),
    ("were told", "returned, reported, logged"),
    ("be told", "be reported"),
    ("been told", "been reported"),
    ("hand out", "allocate, return"),
    ("hands out", "allocates, returns"),
    ("handed out", "allocated, returned"),
    ("handing out", "allocating"),
    ("give back", "free, release"),
    ("gives back", "frees, releases"),
    ("gave back", "freed, released"),
    ("given back", "freed, released"),
    ("giving back", "freeing, releasing"),
    ("take back", "revoke"),
    ("takes back", "revokes"),
    ("taken back", "revoked"),
    ("took back", "revoked"),
    ("put back", "release, reinsert"),
    ("puts back", "releases, reinserts"),
    ("on its way", "in flight, pending"),
    ("on their way", "in flight, pending"),
    ("come between", "interrupt, preempt"),
    ("comes between", "interrupts, preempts"),
    ("came between", "interrupted, preempted"),
    ("come in between", "interrupt, preempt"),
    ("comes in between", "interrupts, preempts"),
    ("came in between", "interrupted, preempted"),
    ("coming in between", "interrupting, preempting"),
    ("struck by", "interrupted by"),
    ("nmi strikes", "an NMI interrupts"),
    ("nmis strike", "NMIs interrupt"),
    ("deaf", "unresponsive"),
    ("beyond help", "unresponsive"),
    ("a death", "a panic"),
    ("vouch", "guarantee"),
    ("vouches", "is guaranteed by the caller (see # Safety)"),
    ("vouched", "guaranteed"),
    ("speaks of", "reports"),
    ("a look at", "a check of"),
    ("a look from", "a scan from"),
    ("sees to it", "ensures"),
    ("see to it", "ensure"),
    ("sent away", "parked"),
    ("leads nowhere", "is invalid"),
    ("lead nowhere", "are invalid"),
    ("what came of", "the result of"),
    ("what becomes of", "the result of"),
    ("what became of", "the result of"),
    ("what comes of", "the result of"),
    ("in the hands of", "owned by"),
    ("nothing more is run", "skipping"),
    ("going on with", "falling back to"),
];

/// Places where a word of the list is right: the file or folder, the word, and the reason.
const ALLOWED: &[(&str, &str, &str)] = &[
    ("CHANGELOG.md", "", "names what was renamed"),
    ("ci/src/present/comparison/tests.rs", "", "reads reports of earlier versions"),
    ("ci/src/report/document.rs", "door", "reads reports of earlier versions"),
    ("ci/tests/docs/commands.rs", "", "names parameters that the kernel no longer has"),
    ("ci/tests/logs", "", "logs of earlier versions, which stay readable"),
    ("docs/report.md", "", "documents the renamed fields of earlier reports"),
    ("src/wire.rs", "sent away", "reads reports of earlier versions"),
    ("tests/safety_comments.rs", "vouch", "refuses the word in SAFETY comments"),
    ("tests/safety_comments.rs", "vouches", "refuses the word in SAFETY comments"),
    ("tests/words.rs", "", "holds the list"),
];

/// A word of a text: in lower case, the line that it is on, from 1, and whether only blanks, comment markers or `_` separate it
/// from the word before.
struct Word {
    text: String,
    line: usize,
    follows: bool,
}

/// A word that must not be used: its line, and the row of the list.
type Finding = (usize, &'static str, &'static str);

#[test]
fn sources_messages_and_documentation_use_standard_terms() {
    let package: PathBuf = std::env::var_os("CARGO_MANIFEST_DIR").expect("cargo runs this test").into();
    let mut files = Vec::new();
    ROOTS.iter().for_each(|root| collect(&package.join(root), &mut files));
    assert!(files.len() > 500, "only {} files are read", files.len());
    let (mut problems, mut used) = (Vec::new(), vec![false; ALLOWED.len()]);
    for file in &files {
        let name = file.strip_prefix(&package).unwrap().display().to_string();
        let Ok(text) = fs::read_to_string(file) else { panic!("{name} is not UTF-8") };
        for (line, banned, standard) in findings(&text) {
            let allowance = ALLOWED
                .iter()
                .position(|(path, word, _)| is_within(&name, path) && (word.is_empty() || *word == banned));
            match allowance {
                Some(index) => used[index] = true,
                None => problems.push(format!("{name}:{line}: {banned:?}: write {standard:?}")),
            }
        }
    }
    for ((path, word, _), used) in ALLOWED.iter().zip(used) {
        if !used && package.join(path).exists() {
            problems.push(format!("{path} does not use {word:?} any more: remove the allowance"));
        }
    }
    assert!(problems.is_empty(), "{} words:\n{}\n", problems.len(), problems.join("\n"));
}

#[test]
fn phrases_are_found_in_prose_names_and_across_lines() {
    let text =
        "/// The memory is kept for\n    /// good: nobody frees it.\nfn frees_in_vain() {}\n# On its\n# way";
    let found: Vec<_> = findings(text).into_iter().map(|(line, banned, _)| (line, banned)).collect();
    assert_eq!(found, [(1, "for good"), (2, "nobody"), (3, "in vain"), (4, "on its way")]);
}

#[test]
fn parts_of_words_and_separated_words_are_accepted() {
    let text =
        "fn indoors() {} // a discard; it is for, good. Not told. `for` good\nlet doorstep = \"for\", good;";
    assert_eq!(findings(text), []);
}

#[test]
fn identifiers_are_found_as_they_are_spelled() {
    let text = "let lock: IrqMutex<u8> = f();\nstruct Gain;\nlet gain = irqmutex();\nwake_one_by_one();";
    assert_eq!(findings(text), [(1, "IrqMutex", "SpinLockIrq"), (2, "Gain", "Reclaimable")]);
}

#[test]
fn each_row_is_found_and_no_row_repeats_another() {
    let rows = || IDENTIFIERS.iter().chain(PHRASES);
    for (banned, standard) in rows() {
        assert!(!standard.is_empty());
        assert!(findings(banned).contains(&(1, *banned, *standard)), "{banned:?} is not found");
        assert_eq!(rows().filter(|(other, _)| other == banned).count(), 1, "{banned:?} is listed twice");
    }
    PHRASES.iter().for_each(|(phrase, _)| assert_eq!(*phrase, phrase.to_lowercase()));
}

/// Words that begin a question. A summary that begins with one is no sentence that says what the item is.
const QUESTIONS: &[&str] = &["How", "What", "When", "Where", "Whether", "Which", "Who", "Whose", "Why"];

/// The kernel's sources are not read: there, "Whether" begins the summary of many flags.
#[test]
fn summaries_of_the_launcher_are_no_questions() {
    let package: PathBuf = std::env::var_os("CARGO_MANIFEST_DIR").expect("cargo runs this test").into();
    let mut files = Vec::new();
    collect(&package.join("ci/src"), &mut files);
    assert!(files.len() > 100, "only {} files are read", files.len());
    let problems: Vec<String> = files
        .iter()
        .flat_map(|file| {
            let text = fs::read_to_string(file).unwrap();
            let lines = questions(&text).into_iter().map(|line| format!("{}:{line}", file.display()));
            lines.collect::<Vec<_>>()
        })
        .collect();
    assert!(problems.is_empty(), "say what the item is:\n{}\n", problems.join("\n"));
}

#[test]
fn no_log_line_names_its_module_twice() {
    let package: PathBuf = std::env::var_os("CARGO_MANIFEST_DIR").expect("cargo runs this test").into();
    let mut files = Vec::new();
    collect(&package.join("src"), &mut files);
    for file in files {
        let module = file.strip_prefix(package.join("src")).unwrap().with_extension("");
        let module = module.iter().next().unwrap().to_string_lossy();
        let text = fs::read_to_string(&file).unwrap_or_default();
        let twice: Vec<_> = log_subjects(&text).filter(|subject| *subject == module).collect();
        assert!(twice.is_empty(), "{}: the log itself begins a line with \"{module}: \"", file.display());
    }
}

#[test]
fn subjects_of_log_lines_are_found() {
    let text = "log::info!(\"heap: {a}\"); log::warn!(\n    \"no memory: {b}\"\n); log::set_logger(\"x: \"); log::error!(c)";
    assert_eq!(log_subjects(text).collect::<Vec<_>>(), ["heap", "no memory"]);
}

/// What comes before the first colon of each log line.
fn log_subjects(text: &str) -> impl Iterator<Item = &str> {
    text.split("log::").skip(1).filter_map(|call| {
        let (level, arguments) = call.split_once("!(")?;
        let message = arguments.trim_start().strip_prefix('"')?;
        let subject = message.split(['"', '\n']).next()?.split_once(": ")?.0;
        level.bytes().all(|byte| byte.is_ascii_lowercase()).then_some(subject)
    })
}

#[test]
fn summaries_that_begin_with_a_question_are_found() {
    let text = "//! Why a run ends.\n\n/// Returns the sum.\n/// Where it is 0, nothing is added.\nfn f() {}\n    /// How long.\n    x: u8,\n// What follows is short.\n/// Whatever it is.";
    assert_eq!(questions(text), [1, 6]);
}

/// The lines, from 1, on which a documentation comment begins with a word of [`QUESTIONS`].
fn questions(text: &str) -> Vec<usize> {
    let summary = |line: &str| {
        let line = line.trim_start();
        line.strip_prefix("///").or_else(|| line.strip_prefix("//!")).map(str::to_owned)
    };
    let mut found = Vec::new();
    let mut before = None;
    for (index, line) in text.lines().enumerate() {
        let documentation = summary(line);
        if let (None, Some(text)) = (&before, &documentation) {
            let first = text.split_whitespace().next().unwrap_or_default();
            found.extend(QUESTIONS.contains(&first).then_some(index + 1));
        }
        before = documentation;
    }
    found
}

fn is_within(name: &str, path: &str) -> bool {
    name.strip_prefix(path).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Adds the files to read: `path` itself, or those below it. What git ignores is not octopod's.
fn collect(path: &Path, files: &mut Vec<PathBuf>) {
    let name = path.file_name().unwrap().to_string_lossy();
    if path.is_dir() {
        if name != "target" && name != "corpus" && name != "artifacts" {
            let mut entries: Vec<_> =
                fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()).collect();
            entries.sort();
            entries.iter().for_each(|entry| collect(entry, files));
        }
    } else if path.extension().is_none_or(|extension| EXTENSIONS.iter().any(|known| extension == *known))
        && path.exists()
    {
        files.push(path.to_path_buf());
    }
}

/// Returns the words of the list that a text uses, by line.
fn findings(text: &str) -> Vec<Finding> {
    static BY_IDENTIFIER: LazyLock<HashMap<&str, &str>> =
        LazyLock::new(|| IDENTIFIERS.iter().copied().collect());
    /// A phrase by its first word: all of its words, and the row of the list.
    type Phrase = (Vec<&'static str>, (&'static str, &'static str));
    static BY_FIRST_WORD: LazyLock<HashMap<&str, Vec<Phrase>>> = LazyLock::new(|| {
        let mut phrases: HashMap<&str, Vec<Phrase>> = HashMap::new();
        for row in PHRASES {
            let words: Vec<&str> = row.0.split(' ').collect();
            phrases.entry(words[0]).or_default().push((words, *row));
        }
        phrases
    });
    let mut found: Vec<Finding> = identifiers(text)
        .filter_map(|(line, word)| {
            BY_IDENTIFIER.get_key_value(word).map(|(banned, standard)| (line, *banned, *standard))
        })
        .collect();
    let words = words(text);
    for (index, word) in words.iter().enumerate() {
        for (phrase, (banned, standard)) in BY_FIRST_WORD.get(word.text.as_str()).into_iter().flatten() {
            let rest = words[index + 1..].iter().zip(&phrase[1..]);
            if rest.clone().count() == phrase.len() - 1
                && rest.into_iter().all(|(word, wanted)| word.follows && word.text == *wanted)
            {
                found.push((word.line, banned, standard));
            }
        }
    }
    found.sort_by_key(|finding| finding.0);
    found
}

/// The identifiers of a text, with their lines, from 1.
fn identifiers(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines().enumerate().flat_map(|(index, line)| {
        line.split(|character: char| !character.is_alphanumeric() && character != '_')
            .map(move |word| (index + 1, word))
    })
}

/// The words of a text. An apostrophe within a word is part of it, an underscore separates two.
fn words(text: &str) -> Vec<Word> {
    let mut words = Vec::new();
    for (index, line) in text.lines().enumerate() {
        // Comment markers and indentation at the start of a line separate no words.
        let line = line.trim_start();
        let body = line.trim_start_matches(['/', '!', '#', '*', ';']);
        let is_comment = body.len() < line.len();
        let mut gap = true;
        let mut starts_line = true;
        let mut word = String::new();
        let mut characters = body.chars().chain([' ']).peekable();
        while let Some(character) = characters.next() {
            let is_inner = character == '\''
                && !word.is_empty()
                && characters.peek().is_some_and(|next| next.is_alphabetic());
            if character.is_alphanumeric() || is_inner {
                word.extend(character.to_lowercase());
                continue;
            }
            if !word.is_empty() {
                words.push(Word { text: std::mem::take(&mut word), line: index + 1, follows: gap });
                (gap, starts_line) = (true, false);
            }
            let blank = character.is_whitespace() || matches!(character, '_' | '-');
            gap &= blank || starts_line && is_comment;
        }
    }
    words
}
