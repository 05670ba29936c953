//! The kernel's console: typed input through the launcher and a pseudo-terminal, valid and malformed; and input from a pipe.

mod terminal;

use std::io::Write;
use std::process::{Output, Stdio};

use terminal::{LIMIT, PROMPT, Terminal, launcher};

const CTRL_C: &str = "\x03";
const CTRL_D: &str = "\x04";
const UP: &str = "\x1b[A";

fn assert_lines(answer: &str, expected: &[&str]) {
    let lines: Vec<&str> = answer.lines().collect();
    assert_eq!(lines, expected);
}

/// The answer's only line.
fn one_line(answer: &str) -> &str {
    let line = answer.strip_suffix("\r\n").unwrap_or_else(|| panic!("{answer:?} is no line"));
    assert!(!line.contains('\n'), "{answer:?} is more than a line");
    line
}

/// The part of a trace dump for CPU 3, the last.
fn newest_of_cpu_3(dump: &str) -> String {
    dump.split_once("cpu 3: ").unwrap_or_else(|| panic!("{dump:?} has no cpu 3")).1.to_owned()
}

#[test]
fn typed_commands_are_edited_and_run() {
    let mut shell = Terminal::start(&["--smp", "4"]);
    shell.expect("`help` lists the commands; Ctrl-D ends the run\r\n");
    shell.prompt();
    assert!(shell.is_raw(), "the terminal edits lines itself");

    commands_are_answered(&mut shell);
    lines_are_edited(&mut shell);
    bad_input_gets_one_line(&mut shell);
    noise_is_survived(&mut shell);
    cpus_go_and_come(&mut shell);
    real_work_is_done(&mut shell);

    let written = shell.text.clone();
    assert!(!written.contains("@octopod"), "a record was shown");
    shell.type_in("x\x08");
    shell.type_in(CTRL_D);
    assert_eq!(shell.end(), 0, "{}", shell.text);
    assert!(!shell.is_raw(), "the terminal was left as the kernel needed it");
    assert!(shell.text.contains("PASS"), "{}", shell.text);
}

fn commands_are_answered(shell: &mut Terminal) {
    let help = shell.ask("help");
    for name in [
        "cpus",
        "threads",
        "thread",
        "top",
        "mem",
        "irq",
        "timers",
        "stress",
        "bench",
        "call",
        "backtrace",
        "panic",
        "reboot",
        "poweroff",
    ] {
        assert!(help.lines().any(|line| line.starts_with(name)), "no {name} in {help}");
    }
    assert!(shell.ask("help offline").contains("usage: offline CPU | offline CPU break\r\n"));
    let cpus = shell.ask("cpus");
    assert_eq!(cpus.lines().filter(|line| line.contains(" online ")).count(), 4, "{cpus}");
    assert!(shell.ask("mem").contains("managed by the allocator"));
    let map = shell.ask("mem map");
    assert!(map.contains("kernel image") && map.contains("usable"), "{map}");
    let frames = shell.ask("mem frames");
    assert!(frames.contains("dma32") && frames.contains("cpu    3 caches"), "{frames}");
    let irq = shell.ask("irq");
    assert!(irq.contains("serial port") && irq.contains(" call ") && irq.contains("cpu 3"), "{irq}");
    let timers = shell.ask("timers");
    assert!(timers.contains("cpu    3: 0 armed"), "{timers}");
    let call = shell.ask("call 3");
    assert!(one_line(&call).starts_with("cpu 3 ran the call after "), "{call}");
    let call = shell.ask("call 0");
    assert!(one_line(&call).starts_with("cpu 0 ran the call after "), "{call}");
    assert_eq!(shell.ask(""), "");
    assert_eq!(shell.ask("   "), "");
}

fn lines_are_edited(shell: &mut Terminal) {
    // The line before, once more.
    let first = shell.ask("mem tables 0");
    assert!(first.ends_with("0x0 is not mapped\r\n"), "{first}");
    shell.type_in(UP);
    shell.type_in("\r");
    shell.expect("mem tables 0\r\n");
    assert_eq!(shell.prompt(), first);
    // Completed: a command and its argument.
    shell.type_in("me\tta\t0\r");
    shell.expect("bles 0\r\n");
    assert_eq!(shell.prompt(), first);
    // Several candidates are listed, and the line stands there again.
    shell.type_in("mem \t");
    shell.expect("map  frames  heap  mappings  tables  \r\n");
    shell.expect(&format!("{PROMPT}mem "));
    // Dropped, the run goes on.
    shell.type_in(CTRL_C);
    shell.expect("^C\r\n");
    shell.prompt();
    // Mended in the middle, at the beginning and with Backspace.
    shell.type_in("xem tables 99\x7f\x7f0\x01\x1b[3~m\r");
    shell.expect("\r\n");
    assert_eq!(shell.prompt(), first);
    // Ctrl-D ends nothing where something stands.
    shell.type_in("cal");
    shell.type_in(CTRL_D);
    assert!(shell.ask("l 1").contains("cpu 1 ran the call"));
}

fn bad_input_gets_one_line(shell: &mut Terminal) {
    for (line, answer) in [
        ("frobnicate", "frobnicate: no such command; `help` lists them"),
        ("cpus now", "cpus: \"now\" is one word too many; usage: cpus"),
        (
            "mem tables 0xzz",
            "mem: \"0xzz\" is not an address, as 0x100000; usage: mem | mem map | mem frames | mem heap | mem mappings | mem tables ADDRESS",
        ),
        (
            "mem tables 0x800000000000",
            "mem: 0x800000000000 is not canonical: its bits 63 to 47 are not all alike",
        ),
        (
            "stress nothing",
            "stress: \"nothing\" is not understood; usage: stress | stress WORKLOAD | stress MS | stress WORKLOAD MS",
        ),
        ("bench nothing", "bench: \"nothing\" is not a benchmark; usage: bench | bench BENCHMARK"),
        ("call 99", "call: there is no cpu 99: 4 are listed, from 0"),
        ("call", "call: an argument is missing; usage: call CPU"),
        ("offline 0", "offline: the BSP cannot go offline"),
        ("offline 4", "offline: there is no cpu 4"),
        ("online 1", "online: cpu 1 is online"),
        ("backtrace 77", "backtrace: there is no cpu 77: 4 are listed, from 0"),
        ("panic now", "panic: \"now\" is one word too many; usage: panic"),
    ] {
        let given = shell.ask(line);
        let last = given.lines().last().unwrap_or_default();
        assert_eq!(last, answer, "{line}");
    }
}

fn noise_is_survived(shell: &mut Terminal) {
    // Bytes that are no text, an escape sequence cut off, a key that is not known, then a command.
    shell.type_in(b"\x00\xff\xc3\xa9\x1b[".as_slice());
    shell.type_in("\r");
    shell.expect("\r\nignored 5 bytes of the input that are no keys\r\n");
    shell.prompt();
    shell.type_in("\x1b[15~call 1\x1b\r");
    shell.expect("cpu 1 ran the call");
    shell.prompt();
    // A line that is too long is not run, whatever it begins with.
    shell.type_in(format!("poweroff {}\r", "x".repeat(140)));
    shell.expect("ignored a line of more than 120 characters\r\n");
    shell.prompt();
    // A flood of input while the shell does not read: lost keys are counted and reported, and no part of it is run.
    // One write, and more work than a busy host needs to take the bytes in.
    shell.type_in(format!("stress pairs 5000\r{}", "poweroff ".repeat(2000)));
    shell.expect("stress pairs 5000\r\n");
    shell.expect("stress: pass");
    shell.expect("input came faster than it was read: ");
    let lost = shell.expect(" bytes dropped");
    let lost: u64 = lost.strip_suffix(" bytes dropped").unwrap().parse().unwrap();
    assert!(lost > 0);
    // The end of the flood may still be in flight and swallow the key, so the key is typed again and again until one is
    // answered. A late answer to an earlier one will do.
    let dropped = |shell: &mut Terminal| {
        shell.type_in(CTRL_C);
        shell.comes("^C\r\n", LIMIT / 20)
    };
    assert!((0..20).any(|_| dropped(shell)), "{}", shell.text);
    assert!(shell.ask("call 2").contains("cpu 2 ran the call"));
}

fn cpus_go_and_come(shell: &mut Terminal) {
    let offline = shell.ask("offline 2");
    assert!(one_line(&offline).starts_with("cpu 2 is offline, after "), "{offline}");
    assert_lines(&shell.ask("offline 2"), &["offline: cpu 2 is not online"]);
    assert_lines(&shell.ask("call 2"), &["call: cpu 2 is not online and takes no calls"]);
    let refused = shell.ask("backtrace 2");
    assert!(refused.ends_with("backtrace: cpu 2 is not online\r\n"), "{refused}");
    let cpus = shell.ask("cpus");
    assert_eq!(cpus.lines().filter(|line| line.contains(" offline ")).count(), 1, "{cpus}");
    assert!(
        shell.ask("stress pairs 50").ends_with("stress: pass: nothing lost, nothing allocated twice\r\n")
    );
    let online = shell.ask("online 2");
    assert!(one_line(&online).starts_with("cpu 2 is online, after "), "{online}");
    assert!(shell.ask("call 2").contains("cpu 2 ran the call"));
}

fn real_work_is_done(shell: &mut Terminal) {
    // Each frees what it has allocated, the first one too.
    let free = |shell: &mut Terminal| {
        let summary = shell.ask("mem");
        summary.lines().find(|line| line.contains("are in use")).unwrap().to_owned()
    };
    let count = |line: &str| line.split(", ").last().unwrap().to_owned();
    let before = free(shell);
    shell.ask("stress 400");
    assert_eq!(count(&free(shell)), count(&before));
    for _ in 0..2 {
        let bench = shell.ask("bench frame_pair_order0");
        assert!(bench.starts_with("frame_pair_order0 ") && bench.contains(" cycles"), "{bench}");
        // It ends with every CPU's cache drained, so that what is not free is in use.
        assert!(
            shell
                .ask("stress random 50")
                .ends_with("stress: pass: nothing lost, nothing allocated twice\r\n")
        );
    }
    assert_eq!(count(&free(shell)), count(&before));
    let backtrace = shell.ask("backtrace");
    for cpu in 1..4 {
        assert!(backtrace.contains(&format!("cpu {cpu}:\r\n  at 0x")), "{backtrace}");
    }
    assert!(
        backtrace.contains("octopod::smp::work::idle") && backtrace.contains("src/smp/work.rs:"),
        "{backtrace}"
    );
    // Events from before the switch stay, and no event is added.
    assert!(one_line(&shell.ask("trace off")).contains("no CPU records anything"));
    let dump = shell.ask("trace dump");
    assert!(dump.contains("cpu 3: ") && dump.contains(" frame drain"), "{dump}");
    shell.ask("stress pairs 20");
    assert_eq!(shell.ask("trace dump"), dump);
    assert!(one_line(&shell.ask("trace on")).contains("each CPU records everything"));
    shell.ask("stress pairs 20");
    assert_ne!(shell.ask("trace dump"), dump);
    let before = newest_of_cpu_3(&shell.ask("trace dump"));
    shell.ask("call 3");
    let after = newest_of_cpu_3(&shell.ask("trace dump"));
    assert!(after != before && after.contains("interrupt vector 0xf0"), "{after}");
    assert!(after.contains("octopod::smp::work::idle"), "{after}");
    let text = backtrace.lines().find_map(|line| line.strip_prefix("  at ")).unwrap();
    let tables = shell.ask(&format!("mem tables {}", text.split(' ').next().unwrap()));
    assert!(tables.contains("r-x, global, WB"), "{tables}");
    // Not before: the heap keeps memory of the list.
    let threads = shell.ask("threads");
    assert!(threads.lines().any(|line| line.contains(" main ") && line.contains(" running ")), "{threads}");
    threads_are_shown(shell);
}

/// Each thread by its number, with a backtrace, whether it runs or waits; and what ran since the last time.
fn threads_are_shown(shell: &mut Terminal) {
    let main = shell.ask("thread 0");
    assert!(main.starts_with("thread 0 \"main\": running\r\nruns on cpu 0, may run on cpu 0\r\n"), "{main}");
    assert!(main.contains("class: fair, weight 1024, slice 3000 us; ran "), "{main}");
    assert!(main.contains("octopod::shell::session::"), "{main}");
    assert_eq!(
        one_line(&shell.ask("thread 4000000000")),
        "thread: there is no thread 4000000000, or it has ended; `threads` lists them"
    );
    // Leaves an executor on each CPU, which waits for tasks.
    shell.ask("bench task_wake_poll");
    let list = shell.ask("threads");
    let executor = list.lines().find(|line| line.contains(" parked ")).unwrap_or_else(|| panic!("{list}"));
    let id = executor.split_whitespace().next().unwrap();
    let its = shell.ask(&format!("thread {id}"));
    assert!(its.contains(": parked\r\n") && its.contains("class: "), "{its}");
    assert!(its.contains("octopod::sched::task::executor::"), "{its}");
    shell.ask("top");
    shell.ask("stress pairs 50");
    let top = shell.ask("top");
    let lines: Vec<_> = top.lines().map(str::trim_end).collect();
    assert_eq!(
        lines[0].split_whitespace().collect::<Vec<_>>(),
        ["cpu", "busy", "switches", "stolen", "queue"],
        "{top}"
    );
    let busy = |line: &str| line.split_whitespace().nth(1).and_then(|share| share.parse::<f64>().ok());
    for (cpu, line) in lines[1..5].iter().enumerate() {
        assert!(line.trim_start().starts_with(&cpu.to_string()), "{top}");
        assert!(busy(line).is_some_and(|share| share > 0.0 && share <= 100.0), "{top}");
    }
    assert_eq!(
        lines[5].split_whitespace().collect::<Vec<_>>(),
        ["thread", "name", "state", "cpu", "busy"],
        "{top}"
    );
    assert!(lines[6..].iter().any(|line| line.contains(" main ")), "{top}");
}

#[test]
fn the_launchers_own_key_ends_a_run_at_once() {
    let mut shell = Terminal::start(&["--smp", "1"]);
    shell.prompt();
    shell.type_in("\x1d");
    assert_eq!(shell.end(), 130, "{}", shell.text);
    assert!(!shell.is_raw());
}

/// The launcher's output for a pipe of these bytes, and its status.
fn piped(arguments: &[&str], input: &[u8]) -> (i32, String) {
    let (mut command, _folder) = launcher(arguments);
    let mut launcher =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    // It may end before it has read all.
    let _ = launcher.stdin.take().unwrap().write_all(input);
    let Output { status, stdout, .. } = launcher.wait_with_output().unwrap();
    (status.code().unwrap(), String::from_utf8(stdout).unwrap())
}

#[test]
fn a_pipe_is_read_line_by_line_and_its_end_ends_the_run() {
    // More than the kernel keeps unread, behind a command that takes its time; and the last line without its end.
    let lines = format!("stress pairs 200\n{}call 1", "call 0\n".repeat(60));
    let (status, said) = piped(&["--smp", "2"], lines.as_bytes());
    assert_eq!((status, said.matches("cpu 0 ran the call").count()), (0, 60), "{said}");
    assert!(said.contains("cpu 1 ran the call") && said.contains("PASS"), "{said}");
    assert!(!said.contains("input came faster"), "{said}");
}

#[test]
fn a_panic_ends_in_status_3() {
    let (status, said) = piped(&["--smp", "2"], b"panic\ncpus\n");
    assert_eq!(status, 3, "{said}");
    assert!(said.contains("panic requested in the shell"), "{said}");
}

/// By the register that the FADT names, and where there is none by the keyboard's controller.
#[test]
fn a_reboot_ends_the_machine() {
    for machine in ["q35", "pc"] {
        let (status, said) = piped(&["--smp", "2", "--machine", machine], b"reboot\ncpus\n");
        assert_eq!(status, 0, "{said}");
        assert!(said.contains("PASS"), "{said}");
    }
}

#[test]
fn a_kernel_without_the_console_says_what_it_lacks() {
    let kernel = {
        terminal::build(&["boot"]);
        let workspace = octopod_ci::base::Workspace::find().unwrap();
        workspace.own().join("kernels").join("kernel").join("octopod-kernel")
    };
    let (status, said) = piped(&["--smp", "1", "--kernel", kernel.to_str().unwrap()], b"");
    assert_eq!(status, 2, "{said}");
    assert!(said.contains("work=shell: this kernel was built without its shell"), "{said}");
}
