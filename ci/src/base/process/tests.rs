//! Children that write much, without end, or faster than they are read.

use super::capture::{CAPTURED_HEAD_BYTES, CAPTURED_TAIL_BYTES};
use super::*;
use crate::base::Error;

fn shell(script: &str) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", script]);
    command
}

const LONG: Duration = Duration::from_secs(600);

#[test]
fn a_process_that_has_left_the_group_of_a_dead_child_is_not_read_for_ever() {
    // A write after the launcher has closed the pipe ends it.
    let mut command = shell("setsid sh -c 'while sleep 0.1; do echo x; done' & echo begun");
    let mut child = Supervised::spawn(&mut command, Streams::default()).unwrap();
    let deadline = Instant::now() + LONG;
    loop {
        if let Some(draining) = &mut child.draining {
            // Each limit has passed once it counts.
            match &mut draining.give_up {
                Some(give_up) => *give_up = Instant::now(),
                None => draining.until = Instant::now(),
            }
        }
        match child.next(deadline) {
            ProcessEvent::Line(..) => {}
            ProcessEvent::Ended(status) => break assert!(status.success()),
            event => panic!("{event:?}"),
        }
    }
}

#[test]
fn a_launcher_that_stands_still_loses_no_line_of_a_dead_child() {
    // The pipe holds them all, so the child ends before they are read.
    let mut command = shell("i=0; while [ $i -lt 5000 ]; do echo $i; i=$((i+1)); done");
    let mut child = Supervised::spawn(&mut command, Streams::default()).unwrap();
    let deadline = Instant::now() + LONG;
    let mut lines = Vec::new();
    loop {
        if let Some(draining) = &mut child.draining
            && draining.give_up.is_none()
        {
            // It stands still for longer than the streams may stay open.
            draining.until = Instant::now();
        }
        match child.next(deadline) {
            ProcessEvent::Line(_, line) => lines.push(line),
            ProcessEvent::Ended(status) => {
                assert!(status.success());
                break;
            }
            event => panic!("{event:?}"),
        }
    }
    assert!(lines.iter().map(|line| line.parse::<usize>().unwrap()).eq(0..5000), "{}", lines.len());
}

#[test]
fn of_very_much_the_beginning_and_the_end_are_kept() {
    let script = "echo first; head -c 3000000 /dev/zero | tr '\\0' a | fold -w 999; echo; echo last";
    let answer = capture(&mut shell(script), LONG).unwrap();
    let kept = answer.stdout.len();
    assert!(answer.stdout.starts_with("first\naaa") && answer.stdout.ends_with("a\nlast\n"), "{kept}");
    assert!(kept < CAPTURED_HEAD_BYTES + CAPTURED_TAIL_BYTES + 2_000, "{kept}");
    assert!(answer.tail(1).ends_with("last"));
}

#[test]
fn what_only_says_something_does_not_do_so_without_end() {
    for script in ["yes again and again", "yes >&2"] {
        let ended = capture(&mut shell(script), LONG);
        assert!(matches!(ended, Err(Error::ProgramFloods { .. })), "{script}: {ended:?}");
    }
    // No line of it ends.
    let ended = capture(&mut shell("exec cat /dev/zero"), Duration::from_secs(1));
    assert!(matches!(ended, Err(Error::ProgramTimeout { .. })), "{ended:?}");
}
