//! The target of cargo that a file of tests was built from, by which its results differ from those of other files.

use std::fs;
use std::path::{Path, PathBuf};

use crate::base::shard::Shard;

/// The digits that cargo appends to the name of a file in `deps`.
const HASH_DIGITS: usize = 16;

/// A target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Target {
    /// Its name.
    name: String,
    /// Its crate's first source file. A package's program, library and tests may share a name, but no file.
    source: Option<String>,
}

impl Target {
    /// The target of a file. What cargo appends to its name differs between machines.
    pub(super) fn of(elf: &Path) -> Target {
        let stem = elf.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let is_hash =
            |text: &str| text.len() == HASH_DIGITS && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let name = stem.rsplit_once('-').filter(|(_, hash)| is_hash(hash)).map(|(name, _)| name.to_owned());
        let dependencies = fs::read_to_string(elf.with_extension("d")).unwrap_or_default();
        Target { name: name.unwrap_or(stem), source: first_source(&dependencies) }
    }

    /// The command in the results, by which shards are joined.
    pub(super) fn command(&self) -> String {
        match &self.source {
            Some(source) => format!("test {} ({source})", self.name),
            None => format!("test {}", self.name),
        }
    }

    /// The folder of its results in that of all: shards have one each.
    pub(super) fn folder(&self, shard: Option<Shard>) -> PathBuf {
        let name = match &self.source {
            Some(source) => source.trim_start_matches('/').trim_end_matches(".rs").replace('/', "."),
            None => self.name.clone(),
        };
        PathBuf::from(match shard {
            Some(shard) => format!("{name}-{}-of-{}", shard.number(), shard.of()),
            None => name,
        })
    }
}

/// The first source of the first rule in a file of dependencies, as rustc leaves it beside what it makes: paths in a workspace begin
/// at its root.
fn first_source(dependencies: &str) -> Option<String> {
    let (_, sources) = dependencies.lines().next()?.split_once(": ")?;
    // A space in a path has a backslash before it.
    let mut source = String::new();
    for word in sources.split(' ') {
        match word.strip_suffix('\\') {
            Some(begin) => source.extend([begin, " "]),
            None => {
                source.push_str(word);
                break;
            }
        }
    }
    Some(source).filter(|source| !source.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_one_name_differ_by_their_source_and_not_by_cargos_hash() {
        let folder = tempfile::tempdir().unwrap();
        let target = |file: &str, source: &str| {
            let elf = folder.path().join(file);
            fs::write(elf.with_extension("d"), format!("/t/{file}: {source} src/more.rs\n\n{source}:\n"))
                .unwrap();
            Target::of(&elf)
        };
        let main = target("hello-0123456789abcdef", "src/main.rs");
        let tests = target("hello-fedcba9876543210", "a\\ b/tests/hello.rs");
        assert_eq!(main.command(), "test hello (src/main.rs)");
        assert_eq!(tests.command(), "test hello (a b/tests/hello.rs)");
        assert_eq!(main.folder(None), Path::new("src.main"));
        let shard = "2/3".parse().ok();
        assert_eq!(tests.folder(shard), Path::new("a b.tests.hello-2-of-3"));
        // On another machine.
        assert_eq!(target("hello-00112233445566ff", "src/main.rs"), main);
        // A file that was moved.
        let moved = Target::of(Path::new("/nowhere/hello-0123456789abcdef"));
        assert_eq!((&*moved.command(), moved.folder(None)), ("test hello", PathBuf::from("hello")));
        assert_eq!(Target::of(Path::new("/nowhere/my-kernel.elf")).command(), "test my-kernel");
    }
}
