//! Completion of the last word of a line.

use heapless::Vec;

use super::parse::{MAX_ARGUMENTS, Vocabulary, begins_with};
use super::table::{Argument, ROWS, Value, workloads};

/// The completion of a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Completion {
    /// No name begins with the word.
    Nothing,
    /// One name does: the rest of it, which may be empty.
    One(&'static str),
    /// Several names do: their common rest, which may be empty.
    Several(&'static str),
}

/// Completes the last word of a line.
pub(crate) fn complete(line: &str, vocabulary: &Vocabulary) -> Completion {
    let begun = last_word(line).len();
    let mut completion = Completion::Nothing;
    each_candidate(line, vocabulary, &mut |name| {
        let rest = &name[begun..];
        completion = match completion {
            Completion::Nothing => Completion::One(rest),
            Completion::One(other) | Completion::Several(other) => {
                Completion::Several(common_prefix(other, rest))
            }
        };
    });
    completion
}

/// Calls `f` with every name that the last word of a line can be completed to, once for each.
pub(crate) fn each_candidate(line: &str, vocabulary: &Vocabulary, f: &mut dyn FnMut(&'static str)) {
    let begun = last_word(line);
    let mut before = line[..line.len() - begun.len()].split_ascii_whitespace();
    let mut offer = |name: &'static str| {
        if name.starts_with(begun) {
            f(name);
        }
    };
    let Some(name) = before.next() else {
        return ROWS.iter().for_each(|row| offer(row.name));
    };
    let Some(row) = ROWS.iter().find(|row| row.name == name) else { return };
    let mut values: Vec<Value, MAX_ARGUMENTS> = Vec::new();
    for word in before {
        let open = row.forms.iter().filter(|form| begins_with(form, &values));
        let Some(value) = open
            .filter_map(|form| form.get(values.len()))
            .find_map(|argument| argument.read(word, vocabulary))
        else {
            return;
        };
        if values.push(value).is_err() {
            return;
        }
    }
    let index = values.len();
    let open =
        || row.forms.iter().filter(|form| begins_with(form, &values)).filter_map(|form| form.get(index));
    for (index, argument) in open().enumerate() {
        if open().take(index).any(|earlier| earlier == argument) {
            continue;
        }
        match argument {
            Argument::Word(word) => offer(word),
            Argument::Command => ROWS.iter().for_each(|row| offer(row.name)),
            Argument::Workload => workloads().for_each(|workload| offer(workload.name)),
            Argument::Benchmark => vocabulary.benchmarks.iter().for_each(|name| offer(name)),
            Argument::Cpu | Argument::Thread | Argument::Address | Argument::Milliseconds => {}
        }
    }
}

/// The word at the end of a line; empty after a space.
fn last_word(line: &str) -> &str {
    line.rsplit(|c: char| c.is_ascii_whitespace()).next().unwrap_or_default()
}

fn common_prefix(one: &'static str, other: &str) -> &'static str {
    let bytes = one.bytes().zip(other.bytes()).take_while(|(one, other)| one == other).count();
    // Names are ASCII.
    one.get(..bytes).unwrap_or_default()
}
