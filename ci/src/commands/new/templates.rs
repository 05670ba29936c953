//! The files of the templates.

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

const ALLOCATOR: &[TemplateFile] = &[
    KERNEL[1],
    KERNEL[2],
    KERNEL[4],
    KERNEL[5],
    ("Cargo.toml", include_str!("../../../templates/allocator/Cargo.toml.liquid")),
    ("src/main.rs", include_str!("../../../templates/allocator/src/main.rs.liquid")),
    ("src/allocator.rs", include_str!("../../../templates/allocator/src/allocator.rs")),
    ("README.md", include_str!("../../../templates/allocator/README.md.liquid")),
];

impl Template {
    pub(super) fn files(self) -> &'static [TemplateFile] {
        match self {
            Template::Kernel => KERNEL,
            Template::Allocator => ALLOCATOR,
        }
    }
}
