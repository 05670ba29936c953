//! Conditions on a report, in the small language of the matrix: `PATH OPERATOR VALUE`, or `PATH absent`.
//!
//! - PATH is a field of `docs/report.md`, as it is written there: `boot.kaslr`, `warnings[].kind`. A list may have filters in its
//!   brackets, separated by commas: `stress[workload=bulk,cpus=2].operations`. A filter is a path within the element, an operator
//!   and a value without commas and brackets.
//! - `=` compares a number, a text or a truth value. A list of these is compared as its elements with a space between.
//! - `>=` and `<=` compare numbers. `~` is true if the text holds the value as a part.
//! - `absent` is true if the path selects nothing. A null is nothing. The path may be a part of a field's.
//!
//! A condition other than `absent` holds if at least one of the values that the path selects fulfils it. A path that is no
//! field of the report is refused when the condition is read: the tables of `docs/report.md` are the schema, and a test keeps
//! them equal to the fields that the launcher writes.

use std::fmt;

use serde::Deserialize;
use serde_json::Value;

/// The documentation of the report, whose tables list the fields.
const SCHEMA: &str = include_str!("../../../report_schema.txt");

/// The most values that a failure names.
const MAX_NAMED: usize = 5;

/// A condition on a report.
#[derive(Clone, Debug, Deserialize)]
#[serde(try_from = "String")]
pub struct Condition {
    /// The condition as it was written.
    text: String,
    path: Vec<Segment>,
    test: Test,
}

/// A name of a path.
#[derive(Clone, Debug)]
struct Segment {
    name: String,
    /// The conditions of an element; `None` if the name is not that of a list.
    filters: Option<Vec<Filter>>,
}

/// A condition on an element of a list.
#[derive(Clone, Debug)]
struct Filter {
    path: String,
    test: Test,
}

/// The condition of a value.
#[derive(Clone, Debug)]
enum Test {
    Equals(String),
    AtLeast(f64),
    AtMost(f64),
    Contains(String),
    Absent,
}

/// The reason why a condition cannot be used.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConditionError {
    /// It has another form.
    #[error("the condition `{0}` is not `PATH OPERATOR VALUE` with =, >=, <= or ~, and not `PATH absent`")]
    Syntax(String),
    /// A number is compared with something else.
    #[error("the condition `{condition}` compares with `{value}`, which is not a number")]
    Number {
        /// The condition.
        condition: String,
        /// The value.
        value: String,
    },
    /// No report has this field.
    #[error(
        "the condition `{condition}` names `{path}`, which is not a field of report.json (docs/report.md)"
    )]
    UnknownField {
        /// The condition.
        condition: String,
        /// The path, without filters.
        path: String,
    },
}

impl TryFrom<String> for Condition {
    type Error = ConditionError;

    fn try_from(text: String) -> Result<Condition, ConditionError> {
        let syntax = || ConditionError::Syntax(text.clone());
        let mut depth = 0;
        let end = text.find(|c: char| {
            depth += i32::from(c == '[') - i32::from(c == ']');
            c == ' ' && depth == 0
        });
        let (path, rest) = text.split_at(end.ok_or_else(syntax)?);
        let test = match rest.trim() {
            "absent" => Test::Absent,
            rest => {
                let (operator, value) = rest.split_once(' ').ok_or_else(syntax)?;
                Test::parse(operator, value.trim(), &text)?
            }
        };
        let path = segments(path, &text)?;
        check_fields(&path, matches!(test, Test::Absent), &text)?;
        Ok(Condition { path, test, text })
    }
}

impl Test {
    fn parse(operator: &str, value: &str, condition: &str) -> Result<Test, ConditionError> {
        let number = || {
            let (condition, value) = (condition.to_owned(), value.to_owned());
            value.parse().map_err(|_| ConditionError::Number { condition, value })
        };
        match operator {
            "=" => Ok(Test::Equals(value.to_owned())),
            ">=" => Ok(Test::AtLeast(number()?)),
            "<=" => Ok(Test::AtMost(number()?)),
            "~" => Ok(Test::Contains(value.to_owned())),
            _ => Err(ConditionError::Syntax(condition.to_owned())),
        }
    }

    /// Returns whether a value that is not null fulfils it.
    fn holds(&self, value: &Value) -> bool {
        match self {
            Test::Equals(expected) => *expected == plain(value),
            Test::AtLeast(least) => value.as_f64().is_some_and(|number| number >= *least),
            Test::AtMost(most) => value.as_f64().is_some_and(|number| number <= *most),
            Test::Contains(part) => value.as_str().is_some_and(|text| text.contains(part)),
            Test::Absent => false,
        }
    }
}

/// A value as a condition writes it.
fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(all) => all.iter().map(plain).collect::<Vec<_>>().join(" "),
        other => other.to_string(),
    }
}

/// The names of a path, each with its filters.
fn segments(mut path: &str, condition: &str) -> Result<Vec<Segment>, ConditionError> {
    let syntax = || ConditionError::Syntax(condition.to_owned());
    let mut segments = Vec::new();
    while !path.is_empty() {
        let end = path.find(['.', '[']).unwrap_or(path.len());
        let (name, mut rest) = path.split_at(end);
        let mut filters = None;
        if let Some(inner) = rest.strip_prefix('[') {
            let (inside, behind) = inner.split_once(']').ok_or_else(syntax)?;
            let parts = inside.split(',').filter(|part| !part.is_empty());
            filters = Some(parts.map(|part| filter(part, condition)).collect::<Result<_, _>>()?);
            rest = behind;
        }
        segments.push(Segment { name: name.to_owned(), filters });
        path = match rest.strip_prefix('.') {
            Some(next) if !next.is_empty() => next,
            None if rest.is_empty() => rest,
            _ => return Err(syntax()),
        };
    }
    let has_names = segments.iter().all(|segment| !segment.name.is_empty());
    if segments.is_empty() || !has_names { Err(syntax()) } else { Ok(segments) }
}

fn filter(text: &str, condition: &str) -> Result<Filter, ConditionError> {
    let at = text.find(['=', '~', '>', '<']).ok_or_else(|| ConditionError::Syntax(condition.to_owned()))?;
    let (path, rest) = text.split_at(at);
    let length =
        ["=", "~", ">=", "<="].iter().find(|operator| rest.starts_with(**operator)).map_or(1, |it| it.len());
    let (operator, value) = rest.split_at(length);
    Ok(Filter { path: path.trim().to_owned(), test: Test::parse(operator, value.trim(), condition)? })
}

/// Refuses paths that are no field of the report. With `is_part`, the beginning of a field's path suffices.
fn check_fields(path: &[Segment], is_part: bool, condition: &str) -> Result<(), ConditionError> {
    let mut so_far = String::new();
    for (index, segment) in path.iter().enumerate() {
        if index > 0 {
            so_far.push('.');
        }
        so_far += &segment.name;
        let Some(filters) = &segment.filters else { continue };
        so_far += "[]";
        for filter in filters {
            check_field(&format!("{so_far}.{}", filter.path), false, condition)?;
        }
    }
    check_field(&so_far, is_part, condition)
}

fn check_field(path: &str, is_part: bool, condition: &str) -> Result<(), ConditionError> {
    let mut fields = SCHEMA.lines().filter_map(|line| Some(line.strip_prefix("| `")?.split_once("` | ")?.0));
    let is_known = fields.any(|field| {
        let rest = field.strip_prefix(path);
        rest.is_some_and(|rest| rest.is_empty() || is_part && rest.starts_with(['.', '[']))
    });
    let (condition, path) = (condition.to_owned(), path.to_owned());
    if is_known { Ok(()) } else { Err(ConditionError::UnknownField { condition, path }) }
}

impl Condition {
    /// Checks a report. Returns the message of the failure, or `None` if the condition holds.
    pub fn check(&self, report: &Value) -> Option<String> {
        let selected = select(report, &self.path);
        let holds = match self.test {
            Test::Absent => selected.is_empty(),
            _ => selected.iter().any(|value| self.test.holds(value)),
        };
        (!holds).then(|| format!("report.json: not `{self}`: {}", Found(&selected)))
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// The values that a path selects, without nulls.
fn select<'a>(value: &'a Value, path: &[Segment]) -> Vec<&'a Value> {
    let Some((segment, rest)) = path.split_first() else {
        return if value.is_null() { Vec::new() } else { vec![value] };
    };
    let Some(inner) = value.get(&segment.name) else { return Vec::new() };
    match (&segment.filters, inner) {
        (None, inner) => select(inner, rest),
        (Some(filters), Value::Array(elements)) => {
            let is_meant = |element: &&Value| filters.iter().all(|filter| filter.holds(element));
            elements.iter().filter(is_meant).flat_map(|element| select(element, rest)).collect()
        }
        (Some(_), _) => Vec::new(),
    }
}

impl Filter {
    fn holds(&self, element: &Value) -> bool {
        let value = self.path.split('.').try_fold(element, |value, name| value.get(name));
        value.is_some_and(|value| !value.is_null() && self.test.holds(value))
    }
}

/// Displays the values that were found instead.
struct Found<'a>(&'a [&'a Value]);

impl fmt::Display for Found<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let named = self.0.iter().take(MAX_NAMED).map(|value| format!("`{}`", plain(value)));
        match self.0.len() {
            0 => f.write_str("the path selects nothing"),
            count if count > MAX_NAMED => {
                write!(f, "found {} and {} more", named.collect::<Vec<_>>().join(", "), count - MAX_NAMED)
            }
            _ => write!(f, "found {}", named.collect::<Vec<_>>().join(", ")),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn condition(text: &str) -> Result<Condition, String> {
        Condition::try_from(text.to_owned()).map_err(|error| error.to_string())
    }

    fn failure(text: &str) -> Option<String> {
        let report = json!({
            "boot": { "kaslr": "rdseed", "cpus_online": 4 },
            "panic": null,
            "stress": [
                { "workload": "bulk", "allocator": "locked", "cpus": 1, "operations": 7, "per_cpu_operations": [7] },
                { "workload": "bulk", "allocator": "octopod", "cpus": 2, "operations": 9, "per_cpu_operations": [4, 5] }
            ],
            "warnings": [{ "kind": "lock", "message": "a, [b]", "wait": { "lock": "SERIAL", "holder": null } }]
        });
        condition(text).unwrap().check(&report)
    }

    #[test]
    fn a_condition_that_holds_has_no_failure() {
        for text in [
            "boot.kaslr = rdseed",
            "boot.cpus_online = 4",
            "boot.cpus_online >= 4",
            "boot.cpus_online <= 4",
            "boot.kaslr ~ seed",
            "stress[].operations = 9",
            "stress[workload=bulk,cpus=2].operations >= 9",
            "stress[cpus>=2].per_cpu_operations = 4 5",
            "stress[allocator=magazine] absent",
            "stress[].workload = bulk",
            "panic absent",
            "clock.counter absent",
            "warnings[wait.lock~SER].message = a, [b]",
            "warnings[].wait.holder absent",
        ] {
            assert_eq!(failure(text), None, "{text}");
        }
    }

    #[test]
    fn a_condition_that_does_not_hold_names_what_was_found() {
        for (text, found) in [
            ("boot.kaslr = rdrand", "found `rdseed`"),
            ("boot.kaslr = seed", "found `rdseed`"),
            ("boot.kaslr ~ rand", "found `rdseed`"),
            ("boot.cpus_online = 40", "found `4`"),
            ("boot.cpus_online >= 5", "found `4`"),
            ("boot.cpus_online <= 3", "found `4`"),
            ("boot.kaslr >= 1", "found `rdseed`"),
            ("stress[].operations >= 10", "found `7`, `9`"),
            ("stress[workload=bulk,cpus=1].operations = 9", "found `7`"),
            ("stress[workload=pairs].operations >= 1", "the path selects nothing"),
            ("stress[allocator=locked].operations absent", "found `7`"),
            ("panic.cpu = 0", "the path selects nothing"),
            ("warnings[wait.holder=0].kind = lock", "the path selects nothing"),
        ] {
            assert_eq!(failure(text), Some(format!("report.json: not `{text}`: {found}")));
        }
    }

    #[test]
    fn a_path_that_no_report_has_is_refused() {
        for (text, path) in [
            ("boot.colour = red", "boot.colour"),
            ("boot = 1", "boot"),
            ("bo absent", "bo"),
            ("stress.operations = 1", "stress.operations"),
            ("stress[colour=red].operations = 1", "stress[].colour"),
            ("stress[colour=red] absent", "stress[].colour"),
        ] {
            let message = format!("`{path}`, which is not a field of report.json (docs/report.md)");
            assert!(condition(text).unwrap_err().ends_with(&message), "{text}");
        }
    }

    #[test]
    fn a_condition_of_another_form_is_refused() {
        for text in [
            "",
            "boot.kaslr",
            "boot.kaslr=off",
            "boot.kaslr is off",
            "boot..kaslr = off",
            "stress[ = 1",
            "stress[]x = 1",
        ] {
            assert!(condition(text).unwrap_err().contains("is not `PATH OPERATOR VALUE`"), "{text}");
        }
        assert!(condition("boot.cpus_online >= four").unwrap_err().contains("`four`, which is not a number"));
    }
}
