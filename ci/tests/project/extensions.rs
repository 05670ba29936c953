//! What a program adds to octopod: faults, trace events, figures, lines of the panic report, parts of the self-test, vectors.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::*;

const PROGRAM: &str = include_str!("extended.rs");

/// A file of benchmarks.
const COSTS: &str = "#![no_std]
#![no_main]

use core::hint::black_box;

octopod::test_main!();

octopod::bench! {
    \"square\" => || {
        let number = black_box(7_u64);
        black_box(number * number);
    },
    \"cube\" => || {
        let number = black_box(7_u64);
        black_box(number * number * number);
    },
}
";

/// `src/main.rs:LINE` of the program's only line with this text.
fn place(text: &str) -> String {
    let lines: Vec<_> = PROGRAM.lines().enumerate().filter(|(_, line)| line.contains(text)).collect();
    let [(index, _)] = lines[..] else { panic!("{text} is on {} lines", lines.len()) };
    format!("src/main.rs:{}", index + 1)
}

impl Project {
    /// Boots the program with these options. The run's folder is `out`.
    fn boots(&self, options: &[&str]) -> Said {
        let _ = fs::remove_dir_all(self.folder.join("out"));
        self.octopod(&[&["run", "--debug", "--smp", "4", "--out", "out"], options].concat())
    }

    fn json(&self, name: &str) -> Value {
        serde_json::from_slice(&fs::read(self.folder.join("out").join(name)).unwrap()).unwrap()
    }
}

#[test]
fn what_a_program_adds_is_in_reports_traces_and_lists() {
    let project = Project::new("extended", &[]);
    project.write("src/main.rs", PROGRAM);
    let with = |options: &[&str]| project.boots(options);

    with(&["--trace", "--append", "scheduler=last_first"])
        .expect(0, &["free vectors ", "items for a CPU ", "PASS  4 CPUs"]);
    let report = project.json("report.json");
    assert_eq!(
        report["figures"],
        json!([
            { "name": "free vectors", "unit": "vectors", "value": 64.0 },
            { "name": "items for a CPU", "unit": "items", "value": 2.5 },
        ])
    );
    let facts = report["facts"].as_array().unwrap();
    let own = facts.iter().filter(|fact| fact["subject"] == "program.queue");
    let own: Vec<_> = own.map(|fact| (&fact["name"], &fact["value"], &fact["text"])).collect();
    let number = |name: &str, value: u64| (json!(name), json!(value), Value::Null);
    // Threads were scheduled by the program's policy.
    let expected =
        [number("enqueued", 1), number("items", 10), (json!("kind"), Value::Null, json!("a \"counter\""))];
    assert_eq!(own, expected.each_ref().map(|(name, value, text)| (name, value, text)));
    // An error that the program returns has its place.
    let reasons = facts.iter().filter(|fact| fact["subject"] == "program.reason");
    let reasons: Vec<_> = reasons.map(|fact| fact["text"].as_str().unwrap()).collect();
    let expected = [
        format!("cpu 1000 is not online and takes no calls, at {}", place("smp::call(&CpuSet::of")),
        format!(
            "work for all CPUs cannot be started with interrupts off, at {}",
            place("smp::on_each_cpu(IPI_CALL_TIMEOUT_MS, &|_| ())")
        ),
        format!("no items, at {}", place("\"no items\"")),
    ];
    assert_eq!(reasons, expected);
    let vectors = report["interrupts"].as_array().unwrap();
    let mine =
        vectors.iter().find(|vector| vector["name"] == "my vector").expect("the vector is in the table");
    assert_eq!((&mine["vector"], &mine["per_cpu"]), (&json!(0x40), &json!([1, 1, 1, 1])));
    let trace = project.json("trace.json");
    let queued =
        trace["traceEvents"].as_array().unwrap().iter().filter(|event| event["name"] == "item queued");
    let queued: Vec<_> = queued.map(|event| event["args"].clone()).collect();
    assert_eq!(queued, (0..10).map(|id| json!({ "id": id, "length": id })).collect::<Vec<_>>());

    // All of it is listed without a boot: the kind, the name, the place and the purpose.
    let listed = project.octopod(&["list", "--debug"]);
    for (kind, name, text, summary) in [
        ("fault", "lose_item", "octopod::fault!", "An item that is queued is lost."),
        ("benchmark", "triple", "octopod::bench!", ""),
        ("self-test", "queues", "octopod::self_test!", "An item that is put in is counted."),
        (
            "scheduling policy",
            "last_first",
            "octopod::scheduler!",
            "The thread that has come last runs first.",
        ),
        ("trace event", "item queued", "trace_event!(\"item queued\"", ""),
        ("parameter", "first_id", "octopod::option!", "The number of the first item."),
        ("panic context", "zoo", "octopod::panic_context!", ""),
    ] {
        let words = [kind, name, &place(text), summary].join(" ");
        let is_it = |line: &str| line.split_whitespace().eq(words.split_whitespace());
        assert!(listed.status == Some(0) && listed.text.lines().any(is_it), "{words}: {}", listed.text);
    }
    // The shell of the program's own kernel.
    let shell = project.octopod_reads("call 1\n", &["shell", "--debug", "--smp", "2"]);
    shell.expect(0, &["cpu 1 ran the call", "PASS"]);
    // The kernel names the program's parameters first where it does not know one.
    with(&["--append", "first=1"]).expect(2, &["first: unknown parameter (known: first_id, work, "]);

    // An assertion, and the program's lines of the panic report.
    let lost = with(&["--inject", "lose_item"]);
    let at = place("\"items are lost\"");
    lost.expect(
        3,
        &[
            &format!("CPU 0 panicked at {at}: assertion `left == right` failed: items are lost"),
            "queue: 104 interrupts\nqueue: on this CPU: 1\n",
            "zoo: empty\n",
            "ark: line 16\nark: (more lines than the report takes)\n",
            &format!("PANIC  CPU 0: assertion `left == right` failed: items are lost, at {at}"),
            "before: begun",
        ],
    );
    let panic = &project.json("report.json")["panic"];
    let queue = json!({ "name": "queue", "lines": ["104 interrupts", "on this CPU: 1"] });
    let contexts = panic["contexts"].as_array().unwrap();
    let names: BTreeSet<_> = contexts.iter().map(|context| context["name"].as_str().unwrap()).collect();
    // With those of octopod.
    assert_eq!(names, ["ark", "queue", "scheduler", "zoo"].into());
    assert!(contexts.contains(&queue), "{contexts:?}");
    assert_eq!(panic["called_from"], Value::Null);

    // An exception, and a misused lock: the panic is in octopod, the headline in the program.
    with(&["--inject", "read_null"])
        .expect(3, &["exception 14", &format!("extended::main ({})", place(".read_volatile()"))]);
    let relocked = with(&["--inject", "relock"]);
    let at = place("drop(QUEUED.lock())");
    relocked.expect(3, &["which it holds itself, taken at src/main.rs:", &format!(", at {at}")]);
    let serial = fs::read_to_string(project.folder.join("out/serial.log")).unwrap();
    assert!(
        serial.lines().any(|line| line.trim_end() == format!("  at {at}")),
        "the kernel's own line names the program: {serial}"
    );

    // A panic in a line of the report hides neither the first panic nor the other lines.
    let twice = with(&["--inject", "bad_context", "--trace"]);
    let (first, second) = (place("\"the first panic\""), place("\"no line\""));
    twice.expect(
        3,
        &[
            &format!("PANIC  CPU 0: the first panic, at {first}"),
            &format!("queue: panicked: no line, at {second}\n"),
            // One of them comes after it, in whatever order the linker has put them.
            "zoo: empty\n",
            "ark: line 16\n",
        ],
    );
    let trace = project.json("trace.json");
    let events = trace["traceEvents"].as_array().unwrap();
    assert!(events.iter().any(|event| event["name"] == "item queued"), "the trace is sent all the same");

    // The names are in the lists.
    with(&["--inject", "none"]).expect(
        2,
        &["\"none\" is not known", "(allowed: bad_context, lose_item, read_null, relock, double_allocate"],
    );
    with(&["--append", "selftest.parts=none"]).expect(2, &["\"none\" is not known", ", queues)"]);
    with(&["--append", "scheduler=none"]).expect(2, &["\"none\" is not known", ", last_first)"]);
    let selftest = ["boot", "--debug", "--smp", "4", "--append", "work=selftest selftest.parts=queues"];
    project.octopod(&selftest).expect(0, &["PASS  4 CPUs"]);
    project.replace("src/main.rs", "put(round);", "put(round + 1);\nput(round);");
    project.octopod(&selftest).expect(1, &["FAIL  2 items after round 1"]);

    // A benchmark with a limit in the project's file: kept, missed, and of something that is not measured.
    let bench = |limits: &str| {
        let _ = fs::remove_dir_all(project.folder.join("out"));
        project.write("bench.toml", limits);
        project.octopod(&["bench", "--debug", "--out", "out", "--append", "bench.only=triple"])
    };
    bench("").expect(0, &["triple "]);
    let cost = project.json("report.json")["bench"][0]["value"].as_f64().unwrap();
    assert!(cost > 0.0);
    bench(&format!("[triple]\nlimit = {cost}\n")).expect(0, &["triple "]);
    assert_eq!(project.json("report.json")["bench"][0]["limit"], json!(cost));
    let missed = bench(&format!("[triple]\nlimit = {}\n[gone]\nlimit = 1\n", cost - 0.5));
    missed.expect(1, &["triple takes ", " instructions, its limit is ", "gone was not measured"]);

    // Files of benchmarks, by cargo: each has its own and their limits, and the program does not have theirs.
    project.write("benches/costs.rs", COSTS);
    project.add("Cargo.toml", "\n[[bench]]\nname = \"costs\"\nharness = false\n");
    let limits = "[square]\nlimit = 100\n[cube]\nlimit = 100\n[triple]\nlimit = 100\n";
    bench(limits).expect(0, &["triple ", "1 figure, none above its limit"]);
    let by_cargo = |words: &[&str]| {
        project.cargo(&[&["bench", "--profile", "dev", "--bench", "costs", "--"], words].concat())
    };
    let both = by_cargo(&["--quiet", "--json", "bench.json"]);
    both.expect(0, &["2 figures, none above its limit"]);
    let report: Value =
        serde_json::from_slice(&fs::read(project.folder.join("bench.json")).unwrap()).unwrap();
    let figures = report["bench"].as_array().unwrap().iter();
    let figures: BTreeSet<_> = figures.map(|figure| figure["name"].as_str().unwrap()).collect();
    assert_eq!(figures, ["cube", "square"].into());
    project.replace("bench.toml", "[cube]\nlimit = 100", "[cube]\nlimit = 0.5");
    let cube = by_cargo(&["cub", "--quiet"]);
    cube.expect(1, &["FAIL  cube takes "]);
    assert!(!cube.text.contains("square"), "{}", cube.text);
    by_cargo(&["triple"]).expect(0, &["no benchmark is selected"]);
    by_cargo(&["--save-baseline", "x"]).expect(2, &["unexpected argument '--save-baseline'"]);

    // More than there is room for.
    let source = fs::read_to_string(project.folder.join("src/main.rs")).unwrap();
    let workload =
        |number: u32| format!("octopod::workload! {{ static W{number} = \"w{number}\", run: |_| {{}}, }}\n");
    project.add("src/main.rs", &(0..9).map(workload).collect::<String>());
    with(&[]).expect(2, &["the program registers ", " workloads; there is room for 8"]);
    project.write("src/main.rs", &source);

    // Two of one name: each has its place, and nothing is booted.
    let twice = |kind_and_name: &str, places: &str| {
        with(&[]).expect(2, &[&format!("the program registers two {kind_and_name}{places}")]);
    };
    let own = |text: &str, name: &str, kind: &str| {
        let said = format!("{}: {name} is also the name of one of octopod's own {kind}", place(text));
        with(&[]).expect(2, &[&said]);
    };
    let log = "octopod::option! { static LOG: u64 = 1, \"log\"; }";
    project.add("src/main.rs", &format!("{log}\n"));
    with(&[]).expect(
        2,
        &[&format!(
            "src/main.rs:{}: log is also the name of one of octopod's own parameters",
            source.lines().count() + 1
        )],
    );
    project.write("src/main.rs", &source);
    project.replace("src/main.rs", "\"zoo\" =>", "\"queue\" =>");
    let contexts = place("octopod::panic_context!");
    twice("panic contexts called queue", &format!(", at {contexts} and at {contexts}"));
    let lines = fs::read_to_string(project.folder.join("src/main.rs")).unwrap().lines().count();
    let option = |item: &str| format!("octopod::option! {{ static {item}: u64 = 1, \"count\"; }}\n");
    project.add("src/main.rs", &(option("COUNT") + &option("AGAIN")));
    let options = format!(", at src/main.rs:{} and at src/main.rs:{}", lines + 1, lines + 2);
    twice("parameters called count", &options);
    project.replace("src/main.rs", "\"triple\" =>", "\"mutex_pair\" =>");
    own("octopod::bench!", "mutex_pair", "benchmarks");
    project.replace("src/main.rs", "NAME: &str = \"last_first\"", "NAME: &str = \"fair\"");
    own("octopod::scheduler!", "fair", "scheduling policies");
    project.replace("src/main.rs", "\"queues\", |rounds|", "\"threads\", |rounds|");
    own("octopod::self_test!", "threads", "parts of the self-test");
    project.replace("src/main.rs", "\"relock\"", "\"lock_twice\"");
    own("octopod::fault!", "lock_twice", "faults");
}
