//! The workflows of GitHub Actions: octopod's own, and those that `octopod new` writes. Each is read as GitHub does: its keys, its steps,
//! the inputs of octopod's action. Where actionlint is installed, as in octopod's own workflow, it checks them as well.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

use octopod_ci::base::Workspace;
use saphyr::{LoadableYamlNode, Scalar, Yaml};
use serde_json::{Map, Value};

use crate::action::Job;
use crate::project::folder::{self, Project, launcher};

/// The keys of a workflow, of its jobs and of their steps.
const WORKFLOW_KEYS: [&str; 8] =
    ["name", "run-name", "on", "permissions", "env", "defaults", "concurrency", "jobs"];
const JOB_KEYS: [&str; 12] = [
    "name",
    "runs-on",
    "needs",
    "if",
    "steps",
    "strategy",
    "timeout-minutes",
    "env",
    "permissions",
    "outputs",
    "concurrency",
    "defaults",
];
const STEP_KEYS: [&str; 10] =
    ["name", "id", "if", "uses", "with", "run", "shell", "env", "working-directory", "timeout-minutes"];

/// A YAML file as JSON.
fn read(text: &str) -> Result<Value, String> {
    fn json(yaml: &Yaml<'_>) -> Result<Value, String> {
        Ok(match yaml {
            Yaml::Value(Scalar::String(text)) => text.as_ref().into(),
            Yaml::Value(Scalar::Boolean(value)) => (*value).into(),
            Yaml::Value(Scalar::Integer(number)) => (*number).into(),
            Yaml::Value(Scalar::Null) => Value::Null,
            Yaml::Sequence(items) => items.iter().map(json).collect::<Result<Vec<_>, _>>()?.into(),
            Yaml::Mapping(pairs) => {
                let pair = |(key, value): (&Yaml<'_>, &Yaml<'_>)| match json(key)? {
                    Value::String(key) => Ok((key, json(value)?)),
                    other => Err(format!("the key {other} is no text")),
                };
                pairs.iter().map(pair).collect::<Result<Map<_, _>, _>>()?.into()
            }
            other => return Err(format!("{other:?} has no place in a workflow")),
        })
    }
    match Yaml::load_from_str(text).map_err(|error| error.to_string())?.as_slice() {
        [document] => json(document),
        documents => Err(format!("{} documents", documents.len())),
    }
}

/// The table of a value; none of another value.
fn table(value: &Value) -> Map<String, Value> {
    value.as_object().cloned().unwrap_or_default()
}

/// The inputs of octopod's action.
fn inputs() -> BTreeSet<String> {
    let text = fs::read_to_string(Workspace::find().unwrap().root.join("action.yml")).unwrap();
    table(&read(&text).unwrap()["inputs"]).into_iter().map(|(name, _)| name).collect()
}

/// What is wrong with a workflow.
fn problems(text: &str) -> Vec<String> {
    let workflow = match read(text) {
        Ok(workflow) => workflow,
        Err(problem) => return vec![problem],
    };
    let mut problems = Vec::new();
    let mut unknown = |place: &str, keys: &Map<String, Value>, known: &[&str]| {
        problems.extend(
            keys.keys().filter(|key| !known.contains(&key.as_str())).map(|key| format!("{place}: {key}?")),
        );
    };
    unknown("workflow", &table(&workflow), &WORKFLOW_KEYS);
    let jobs = table(&workflow["jobs"]);
    for (name, job) in &jobs {
        unknown(name, &table(job), &JOB_KEYS);
        for step in job["steps"].as_array().into_iter().flatten() {
            unknown(name, &table(step), &STEP_KEYS);
        }
    }
    if workflow["on"].is_null() || jobs.is_empty() {
        problems.push("on, jobs: one is missing".to_owned());
    }
    for (name, job) in &jobs {
        if !job["runs-on"].is_string() || job["steps"].as_array().is_none_or(Vec::is_empty) {
            problems.push(format!("{name}: runs-on, steps: one is missing"));
        }
        let needs = match &job["needs"] {
            Value::String(one) => vec![one.clone()],
            several => several
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(Value::as_str)
                .map(str::to_owned)
                .collect(),
        };
        problems.extend(
            needs.iter().filter(|need| !jobs.contains_key(*need)).map(|need| format!("{name}: needs {need}")),
        );
        for step in job["steps"].as_array().into_iter().flatten() {
            problems.extend(problem_of_step(step).map(|problem| format!("{name}: {problem}")));
        }
    }
    problems
}

/// What is wrong with a step.
fn problem_of_step(step: &Value) -> Option<String> {
    let uses = match (&step["run"], &step["uses"]) {
        (Value::String(_), Value::Null) if step["with"].is_null() => return None,
        (Value::Null, Value::String(uses)) if step["shell"].is_null() => uses,
        _ => return Some(format!("{step} has neither `run` nor `uses` alone")),
    };
    let is_local = uses.starts_with("./");
    let (repository, version) = uses.split_once('@').unwrap_or((uses, ""));
    if !is_local && (version.is_empty() || repository.split('/').count() < 2) {
        return Some(format!("{uses} is no OWNER/REPOSITORY@VERSION"));
    }
    let is_octopods = is_local || repository.ends_with("/octopod");
    let known = inputs();
    let other = table(&step["with"]).into_iter().map(|(input, _)| input).find(|input| !known.contains(input));
    other.filter(|_| is_octopods).map(|input| format!("{uses} has no input {input}"))
}

/// octopod's own workflow, and those of new projects, each with a name.
fn workflows() -> Vec<(String, String)> {
    let checkout = Workspace::find().unwrap().root;
    let own = fs::read_to_string(checkout.join(".github/workflows/boot.yml")).unwrap();
    let mut all = vec![("boot.yml".to_owned(), own)];
    let parent = tempfile::tempdir().unwrap();
    let path = checkout.to_str().unwrap();
    for template in ["kernel", "allocator"] {
        for (number, source) in [
            ["--git", "https://github.com/someone/octopod"],
            ["--git", "https://example.org/a: b/octopod"],
            ["--git", "file:///octopod"],
            ["--path", path],
            ["--registry", "mine"],
        ]
        .iter()
        .enumerate()
        {
            let name = format!("{template}-{number}");
            let mut new = folder::outside(&launcher());
            new.args(["new", &name, "--template", template]).args(source).current_dir(parent.path());
            folder::said(&mut new).expect(0, &[" files in "]);
            let text = fs::read_to_string(parent.path().join(&name).join(WORKFLOW)).unwrap();
            all.push((name, text));
        }
    }
    all
}

const WORKFLOW: &str = ".github/workflows/test.yml";

#[test]
fn github_takes_the_workflows() {
    for (name, text) in workflows() {
        assert_eq!(problems(&text), Vec::<String>::new(), "{name}:\n{text}");
    }
}

/// The steps that the documentation shows are those of a new project.
#[test]
fn the_documented_steps_are_those_of_a_new_project() {
    let checkout = Workspace::find().unwrap().root;
    let document = fs::read_to_string(checkout.join("docs/ci.md")).unwrap();
    let block = document.split("```yaml\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    let line = |line: &str| {
        line.split(" #").next().unwrap().trim_end().replace("OWNER/octopod@v1", "someone/octopod@main")
    };
    let documented: Vec<String> = block.lines().map(line).collect();
    let (_, text) = workflows().swap_remove(1);
    let steps: Vec<&str> = text.lines().skip_while(|line| !line.contains("steps:")).collect();
    assert_eq!(documented, steps);
}

#[test]
fn what_github_refuses_is_found() {
    let (_, good) = workflows().swap_remove(1);
    let cases = [
        ("      - uses: someone", "      - used: someone", "used?"),
        ("- uses: actions/checkout@v5", "- run: cargo test\n        with:\n          command: test", "alone"),
        ("someone/octopod@main", "someone/octopod", "no OWNER/REPOSITORY@VERSION"),
        ("octopod@main", "octopod@main\n        with:\n          cpus: 2", "has no input cpus"),
        ("runs-on: ubuntu-latest", "needs: build\n    runs-on: ubuntu-latest", "needs build"),
        ("runs-on: ubuntu-latest", "run-on: ubuntu-latest", "run-on?"),
        ("on: [push, pull_request]", "# none", "one is missing"),
        ("    steps:", "   steps:", ""),
    ];
    for (old, new, expected) in cases {
        assert!(good.contains(old), "{good}");
        let found = problems(&good.replacen(old, new, 1));
        assert!(found.iter().any(|problem| problem.contains(expected)), "{new}: {found:?}");
    }
    let with = "command: test\n          smp: 2";
    assert_eq!(problems(&good.replace("command: test", with)), Vec::<String>::new());
}

/// Each step of the action has a shell or uses another action, and refers to inputs and steps that there are.
#[test]
fn the_actions_own_file_is_whole() {
    let text = fs::read_to_string(Workspace::find().unwrap().root.join("action.yml")).unwrap();
    let action = read(&text).unwrap();
    let steps = action["runs"]["steps"].as_array().unwrap();
    for step in steps {
        let whole = if step["run"].is_string() { &step["shell"] } else { &step["uses"] };
        assert!(whole.is_string(), "{step}");
    }
    let ids: BTreeSet<_> = steps.iter().filter_map(|step| step["id"].as_str()).collect();
    let names = |before: &str| -> BTreeSet<String> {
        let rests = text.split(before).skip(1);
        let is_word = |c: char| c.is_ascii_alphanumeric() || "-_".contains(c);
        rests.map(|rest| rest.chars().take_while(|c| is_word(*c)).collect()).collect()
    };
    assert_eq!(names("inputs."), inputs());
    assert_eq!(names("steps."), ids.into_iter().map(str::to_owned).collect());
}

#[test]
fn actionlint_takes_the_workflows_where_it_is_installed() {
    let Some(lint) = which() else {
        // There octopod's own workflow has installed it.
        assert!(std::env::var_os("GITHUB_ACTIONS").is_none(), "actionlint is not installed");
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in workflows() {
        let path = folder.path().join(format!("{name}.yml"));
        fs::write(&path, text).unwrap();
        let output = Command::new(&lint).arg("-no-color").arg(&path).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    }
}

/// The program actionlint in the path.
fn which() -> Option<std::path::PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).map(|folder| folder.join("actionlint")).find(|file| file.is_file())
}

/// octopod's own workflow compiles with the Rust that the manifest names as the oldest one.
#[test]
fn the_oldest_rust_is_that_of_the_manifest() {
    let checkout = Workspace::find().unwrap().root;
    let manifest: toml::Table = fs::read_to_string(checkout.join("Cargo.toml")).unwrap().parse().unwrap();
    let workflow = read(&workflows().swap_remove(0).1).unwrap();
    let used = &workflow["jobs"]["oldest-rust"]["env"]["RUSTUP_TOOLCHAIN"];
    assert_eq!(used.as_str(), manifest["workspace"]["package"]["rust-version"].as_str(), "{workflow}");
}

/// The steps of a new project's workflow pass: the action's default command, and the tests.
#[test]
fn the_workflow_of_a_new_project_passes() {
    let project = Project::new("steps-of-mine", &[]);
    // The same project on a repository of GitHub has the same workflow but for the source of the action.
    let (_, text) = workflows().swap_remove(1);
    project.replace("Cargo.toml", "smp = 8\n", "smp = 2\nprofile = \"dev\"\n");
    let workflow = read(&text).unwrap();
    let steps = workflow["jobs"]["test"]["steps"].as_array().unwrap();
    let job = Job::new(["", ""]);
    let mut ran = Vec::new();
    for step in steps {
        match (step["uses"].as_str(), step["run"].as_str()) {
            (Some("actions/checkout@v5"), None) => ran.push("checkout"),
            (Some("someone/octopod@main"), None) => {
                let action = fs::read_to_string(Workspace::find().unwrap().root.join("action.yml")).unwrap();
                let default = &read(&action).unwrap()["inputs"]["command"]["default"];
                let command = step["with"]["command"].as_str().or(default.as_str()).unwrap();
                let ended = if command == "test" { "1 passed" } else { "PASS  2 CPUs" };
                job.run_in(&project, command).expect(0, ended);
                ran.push(if command == "test" { "tests" } else { "action" });
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(ran, ["checkout", "action", "tests"]);
}
