//! The archive of modules, for the boot protocols whose loader is QEMU: see [`octopod::boot::module_archive`].

use octopod::boot::module_archive::{ALIGN, ENTRIES_OFFSET, ENTRY_BYTES, MAGIC, NAME_BYTES};

use crate::base::Error;
use crate::base::files::input;
use crate::base::values::{MAX_MODULE_BYTES, ModuleFile};

/// Returns the archive of these files.
///
/// # Errors
/// A file cannot be read.
pub fn pack(modules: &[ModuleFile]) -> Result<Vec<u8>, Error> {
    let mut bytes = MAGIC.to_vec();
    bytes.extend((modules.len() as u32).to_le_bytes());
    bytes.resize(ENTRIES_OFFSET + modules.len() * ENTRY_BYTES, 0);
    for (index, module) in modules.iter().enumerate() {
        bytes.resize(bytes.len().next_multiple_of(ALIGN), 0);
        let start = bytes.len();
        bytes.extend(input::read(&module.path, MAX_MODULE_BYTES)?);
        let length = bytes.len() - start;
        let entry = &mut bytes[ENTRIES_OFFSET + index * ENTRY_BYTES..][..ENTRY_BYTES];
        entry[..module.name.len()].copy_from_slice(module.name.as_bytes());
        entry[NAME_BYTES..][..8].copy_from_slice(&(start as u64).to_le_bytes());
        entry[NAME_BYTES + 8..].copy_from_slice(&(length as u64).to_le_bytes());
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use octopod::boot::module_archive::Archive;

    use super::*;

    #[test]
    fn the_kernel_reads_what_is_packed() {
        let folder = tempfile::tempdir().unwrap();
        let contents = [("a", vec![1; 5000]), ("empty", Vec::new()), ("b", b"hi".to_vec())];
        let modules = contents.each_ref().map(|(name, bytes)| {
            let path = folder.path().join(name);
            std::fs::write(&path, bytes).unwrap();
            ModuleFile { path, name: (*name).to_owned() }
        });
        let bytes = pack(&modules).unwrap();
        let files: Vec<_> = Archive::parse(&bytes).unwrap().files().collect();
        assert_eq!(files, contents.each_ref().map(|(name, bytes)| (*name, &bytes[..])));
        let offset = |file: &[u8]| file.as_ptr() as usize - bytes.as_ptr() as usize;
        assert!(files.iter().all(|(_, file)| offset(file).is_multiple_of(ALIGN)));
    }
}
