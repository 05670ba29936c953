use super::*;

const DEB822: &str = "\
Types: deb deb-src
# a comment
URIs: http://mirror.example/debian
Suites: bookworm bookworm-updates
Components: main contrib
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Enabled: no
Types: deb
URIs: http://off.example/debian
Suites: bookworm-backports
Components: main

types: deb
uris: http://security.example/debian-security
suites: bookworm-security
components: main
signed-by:
 -----BEGIN PGP PUBLIC KEY BLOCK-----
 .
 abc
 -----END PGP PUBLIC KEY BLOCK-----
";

#[test]
fn stanzas_that_are_switched_on_are_read() {
    let sources = parse_deb822(DEB822);
    assert_eq!(sources.len(), 2);
    assert_eq!(sources[0].uris, ["http://mirror.example/debian"]);
    assert_eq!(sources[0].suites, ["bookworm", "bookworm-updates"]);
    assert!(sources[1].signed_by.as_ref().unwrap().contains("\n abc\n"));
}

#[test]
fn lines_are_read_with_and_without_options() {
    let source =
        parse_line("deb [arch=amd64 signed-by=/k.gpg] http://m.example/debian bookworm main # mine").unwrap();
    assert_eq!(source.uris, ["http://m.example/debian"]);
    assert_eq!((source.suites, source.components), (vec!["bookworm".to_owned()], vec!["main".to_owned()]));
    assert_eq!(source.signed_by.as_deref(), Some("/k.gpg"));
    assert_eq!(parse_line("deb\thttp://m.example/debian\tsid main").unwrap().suites, ["sid"]);
    for line in [
        "",
        "# deb http://m.example/debian bookworm main",
        "deb-src http://m.example/debian bookworm main",
        "deb",
    ] {
        assert_eq!(parse_line(line), None, "{line:?}");
    }
}

#[test]
fn backports_come_from_where_the_release_comes_from() {
    let text = backports_source(&parse_deb822(DEB822), "bookworm-backports").unwrap();
    assert!(text.contains("\nURIs: http://mirror.example/debian\nSuites: bookworm-backports\n"), "{text}");
    assert!(text.ends_with("Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg\n"), "{text}");
    assert_eq!(parse_deb822(&text).len(), 1);
}

#[test]
fn without_a_mirror_in_the_configuration_nothing_is_added_and_the_line_is_printed() {
    let sources = |lines: &[&str]| lines.iter().filter_map(|line| parse_line(line)).collect::<Vec<_>>();
    for local in [
        "deb cdrom:[Debian] bookworm main",
        "deb file:/srv/debian bookworm main",
        "deb http://m.example/debian bookworm contrib",
        "deb http://m.example/debian trixie main",
        // A vendor's own archive.
        "deb https://vendor.example/chrome/deb stable main",
    ] {
        assert_eq!(backports_source(&sources(&[local]), "bookworm-backports"), None, "{local}");
    }
    let line = line_to_add("bookworm-backports");
    assert!(line.contains("deb MIRROR bookworm-backports main"), "{line}");
}

#[test]
fn a_release_that_is_named_by_its_age_or_by_its_updates_has_a_mirror_too() {
    for line in [
        "deb http://m.example/debian/ stable main",
        "deb http://m.example/debian bookworm-updates main",
        "deb mirror+file:/etc/apt/mirrors.list bookworm main",
    ] {
        let source = parse_line(line).unwrap();
        let uri = source.uris[0].clone();
        let text = backports_source(&[source], "bookworm-backports").unwrap();
        assert!(text.contains(&format!("URIs: {uri}\n")), "{text}");
    }
}

/// A mirror that is written here would be wrong on a machine behind a proxy, in another country or without a network.
#[test]
fn no_source_file_names_a_mirror() {
    let own = [include_str!("../apt.rs"), include_str!("../packages.rs"), include_str!("../doctor.rs")];
    for text in own {
        for uri in text.split("http").skip(1).map(|rest| rest.split(['"', ' ', '`']).next().unwrap_or(rest)) {
            let is_mirror = ["/debian", "/ubuntu", "deb.", "archive."].iter().any(|part| uri.contains(part));
            assert!(!is_mirror || uri.contains(".example"), "http{uri}");
        }
    }
}

#[test]
fn both_formats_of_a_folder_are_read_and_other_files_are_not() {
    let folder = tempfile::tempdir().unwrap();
    let more = folder.path().join("sources.list.d");
    fs::create_dir(&more).unwrap();
    fs::write(folder.path().join("sources.list"), "deb http://a.example/debian bookworm main\n").unwrap();
    fs::write(more.join("b.sources"), DEB822).unwrap();
    fs::write(more.join("c.list.disabled"), "deb http://c.example/debian bookworm-backports main\n").unwrap();
    let sources = read_sources(folder.path());
    assert_eq!(sources.len(), 3);
    assert!(!sources.iter().any(|source| source.suites.contains(&"bookworm-backports".to_owned())));
}

#[test]
fn offers_are_distinguished_by_their_suite() {
    let text = "\
qemu-system-x86 | 1:10.0.2+ds-2+deb13u1~bpo12+1 | http://m.example/debian bookworm-backports/main amd64 Packages
qemu-system-x86 | 1:7.2+dfsg-7+deb12u16 | http://m.example/debian bookworm/main amd64 Packages
";
    let offers = read_madison(text);
    assert_eq!(offers.len(), 2);
    assert_eq!((offers[0].suite.as_str(), offers[0].version.major), ("bookworm-backports", 10));
    assert!(offers[1].version < offers[0].version);
}
