use super::*;

fn row(run: &str, more: &str) -> Result<Vec<Row>, String> {
    let text = format!("[[row]]\nname = \"a\"\nrun = \"{run}\"\n{more}expect = {{ status = 0 }}\n");
    parse(&text, None).map_err(|problem| problem.to_string())
}

#[test]
fn the_rows_of_this_repository_can_be_read() {
    let rows = read(&Workspace::find().unwrap().root.join(FILE), None).unwrap();
    assert!(rows.iter().any(|row| row.tier == Tier::Fast));
}

#[test]
fn a_row_that_cannot_be_run_is_refused_by_name() {
    assert!(row("boot --smp 2", "").is_ok());
    assert!(row("boot --smp two", "").unwrap_err().contains("row `a`"));
    assert!(row("boot --append 'x", "").unwrap_err().contains("a quote in"));
    assert!(row("boot", "qemu = \"new\"\n").unwrap_err().contains("`new` is not a version"));
    assert!(row("boot", "colour = 1\n").unwrap_err().contains("colour"));
    assert!(row("doctor", "").unwrap_err().contains("`doctor` boots nothing"));
    assert!(row("matrix", "").unwrap_err().contains("`matrix` boots nothing"));
}

#[test]
fn no_two_rows_share_a_folder() {
    let two = |first: &str, second: &str| {
        let row = |name| format!("[[row]]\nname = \"{name}\"\nrun = \"boot\"\nexpect = {{ status = 0 }}\n");
        parse(&(row(first) + &row(second)), None).map_err(|problem| problem.to_string())
    };
    assert!(two("a", "b").is_ok());
    assert!(two("a", "a").unwrap_err().contains("`a` and `a` would share a folder"));
    assert!(two("a b", "a_b").is_err());
}

#[test]
fn a_variant_is_one_more_row_with_its_arguments_before_qemus() {
    let rows = row("boot --smp 2 -- -d int", "with = [\"--mem 64M\", \"--append 'a b'\"]\n").unwrap();
    let found: Vec<_> = rows.iter().map(|row| (row.name.as_str(), row.run.as_str())).collect();
    assert_eq!(
        found,
        [
            ("a", "boot --smp 2 -- -d int"),
            ("a [--mem 64M]", "boot --smp 2 --mem 64M -- -d int"),
            ("a [--append 'a b']", "boot --smp 2 --append 'a b' -- -d int"),
        ]
    );
    let launch = rows[2].launch(AccelChoice::Tcg).unwrap();
    assert_eq!(launch.command_line.appended, ["a b"]);
    assert_eq!(launch.machine.qemu_arguments, ["-d", "int"]);
    assert_eq!(rows[1].folder(), Path::new("a__--mem_64M"));
}

#[test]
fn a_variant_cannot_contradict_its_row() {
    let problem = row("boot --smp 2", "with = [\"--smp 3\"]\n").unwrap_err();
    assert!(problem.contains("row `a [--smp 3]`") && problem.contains("--smp"), "{problem}");
    assert!(row("boot", "with = [\"--append 'x\"]\n").unwrap_err().contains("row `a`: a quote"));
}

#[test]
fn a_row_has_the_accelerator_of_the_matrix_or_its_own() {
    let accel = |run: &str| row(run, "").unwrap()[0].launch(AccelChoice::Tcg).unwrap().machine.accel;
    assert_eq!(accel("boot"), AccelChoice::Tcg);
    assert_eq!(accel("boot --accel kvm"), AccelChoice::Kvm);
    assert_eq!(accel("boot --accel auto"), AccelChoice::Auto);
}

#[test]
fn the_command_line_of_a_row_is_its_run_again() {
    let line = |run: &str, qemu: Option<&str>| {
        let row = row(run, "").unwrap().remove(0);
        let mut machine = row.launch(AccelChoice::Tcg).unwrap().machine;
        machine.qemu = qemu.map(Into::into);
        row.command_line(&machine)
    };
    assert_eq!(line("boot --smp 2 -- -d int", None), "cargo run -- boot --smp 2 --accel tcg -- -d int");
    assert_eq!(line("boot --emulator bochs", Some("/q")), "cargo run -- boot --emulator bochs");
    assert_eq!(line("boot --accel kvm", Some("/q")), "cargo run -- boot --accel kvm --qemu /q");
}

#[test]
fn a_row_of_a_project_has_its_settings_and_its_own_words_win() {
    let project = |settings: &str| Project {
        name: "mine".to_owned(),
        folder: "/p".into(),
        program: None,
        programs: Vec::new(),
        has_benches: false,
        profile: "release".to_owned(),
        options: settings.parse::<toml::Table>().unwrap().into_iter().collect(),
    };
    let launch = |run: &str, settings: &str| {
        let text = format!("[[row]]\nname = \"a\"\nrun = \"{run}\"\nexpect = {{ status = 0 }}\n");
        let rows = parse(&text, Some(&project(settings))).map_err(|problem| problem.to_string())?;
        Ok::<Launch, String>(rows[0].launch(AccelChoice::Tcg).unwrap())
    };
    let settings = "smp = 3\nmem = \"64M\"\naccel = \"kvm\"\ntimeout = 9\nmodule = [\"f=g\"]\n\
                    append = { run = \"stress.allocators=bitmap\" }";
    let run = launch("run --append a=1", settings).unwrap();
    assert_eq!((run.machine.smp.cpus(), run.machine.mem.bytes()), (3, 64 << 20));
    assert_eq!(run.command_line.appended, ["stress.allocators=bitmap", "a=1"]);
    assert_eq!(run.modules[0].path, Path::new("/p/f"));
    assert_eq!(run.machine.accel, AccelChoice::Tcg, "that of the matrix");
    assert_eq!(run.run.limit, BUSY_HOST * std::time::Duration::from_secs(9));
    assert_eq!(launch("run --smp 2", settings).unwrap().machine.smp.cpus(), 2);
    let wrong = launch("run", "smp = \"two\"").unwrap_err();
    assert!(
        wrong.contains("row `a`: /p/Cargo.toml: [package.metadata.octopod] smp: invalid value"),
        "{wrong}"
    );
}

#[test]
fn a_row_has_time_on_a_busy_host_unless_it_names_its_own_limit() {
    let limit = |run: &str| {
        let rows = row(run, "").unwrap();
        rows[0].launch(AccelChoice::Tcg).unwrap().run.limit
    };
    let one_run = runs::parse(&["boot".to_owned()]).unwrap().0.run.limit;
    assert_eq!(limit("boot"), BUSY_HOST * one_run);
    assert_eq!(limit("boot --timeout 7"), std::time::Duration::from_secs(7));
    assert_eq!(limit("boot --timeout=7"), std::time::Duration::from_secs(7));
}

#[test]
fn the_documented_rows_are_read_and_all_fields_are_documented() {
    let page = include_str!("../../../../../docs/testing.md");
    let start = page.find("[[row]]").unwrap();
    let rows = parse(page[start..].split("```").next().unwrap(), None).unwrap();
    let names: Vec<&str> = rows.iter().map(|row| row.name.as_str()).collect();
    let first = ["two CPUs", "two CPUs [--boot uefi]", "two CPUs [--mem 64M]"];
    assert_eq!(names, [&first[..], &["a fault is found"]].concat());
    // The error of an unknown field names those that there are.
    for wrong in ["nme = 1", "expect = { staus = 1 }"] {
        let error = parse(&format!("[[row]]\n{wrong}\n"), None).unwrap_err().to_string();
        let known = error.split_once("expected one of ").unwrap().1;
        for field in known.split('`').skip(1).step_by(2) {
            assert!(page.contains(&format!("`{field}`")), "docs/testing.md does not name {field}");
        }
    }
}

#[test]
fn the_example_for_a_project_without_rows_is_a_row() {
    let rows = parse(EXAMPLE, None).unwrap();
    let [row] = &rows[..] else { panic!("{rows:?}") };
    assert_eq!(row.launch(AccelChoice::Tcg).unwrap().machine.smp.cpus(), 2);
}
