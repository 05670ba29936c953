//! The files of the templates. Each folder is complete, so that cargo-generate takes it as well.

use crate::commands::new::Template;

/// A file of a template: its path in the project and its text, in which `{{…}}` are replaced.
pub(super) type TemplateFile = (&'static str, &'static str);

/// The files of a template. Those that cargo or GitHub would take for their own have another name there.
macro_rules! template {
    ($folder:literal: $($path:literal $(as $name:literal)?),* $(,)?) => {
        &[$((template!(@name $path $($name)?), include_str!(concat!("../../../templates/", $folder, "/", $path)))),*]
    };
    (@name $path:literal) => { $path };
    (@name $path:literal $name:literal) => { $name };
}

const KERNEL: &[TemplateFile] = template!("kernel":
    "Cargo.toml.liquid" as "Cargo.toml",
    ".cargo/config.toml",
    "rust-toolchain.toml",
    "src/main.rs.liquid" as "src/main.rs",
    ".github/workflows/test.yml.liquid" as ".github/workflows/test.yml",
    ".gitignore",
    "README.md.liquid" as "README.md",
);

const ALLOCATOR: &[TemplateFile] = template!("allocator":
    ".cargo/config.toml",
    "rust-toolchain.toml",
    ".github/workflows/test.yml.liquid" as ".github/workflows/test.yml",
    ".gitignore",
    "Cargo.toml.liquid" as "Cargo.toml",
    "src/main.rs.liquid" as "src/main.rs",
    "src/allocator.rs",
    "README.md.liquid" as "README.md",
);

impl Template {
    pub(super) fn files(self) -> &'static [TemplateFile] {
        match self {
            Template::Kernel => KERNEL,
            Template::Allocator => ALLOCATOR,
        }
    }
}
