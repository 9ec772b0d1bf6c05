//! GGUF files as plans need them: by name and size alone.

use std::path::Path;

/// Whether `path` is named like a GGUF file.
pub(crate) fn named_so(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "gguf")
}

/// The size of `file` in bytes, including all other parts if the model is split.
pub(crate) fn stored(file: &Path) -> u64 {
    let size = |path: &Path| path.metadata().map_or(0, |meta| meta.len());
    match file.file_name().and_then(|name| name.to_str()) {
        None => size(file),
        Some(name) => parts(name).iter().map(|part| size(&file.with_file_name(part))).sum(),
    }
}

/// The names of all files of a split model, given the name of one: `model-00001-of-00003.gguf` to
/// `model-00003-of-00003.gguf`; just that name if the model is not split.
pub(crate) fn parts(name: &str) -> Vec<String> {
    match split(name) {
        None => vec![name.to_owned()],
        Some((stem, of)) => (1..=of).map(|no| format!("{stem}-{no:05}-of-{of:05}.gguf")).collect(),
    }
}

/// The common stem of a split model's parts, and the number of parts.
fn split(name: &str) -> Option<(&str, u32)> {
    let (rest, of) = name.strip_suffix(".gguf")?.rsplit_once("-of-")?;
    let (stem, no) = rest.rsplit_once('-')?;
    let number = |digits: &str| (digits.len() == 5).then(|| digits.parse().ok()).flatten();
    number(no).and(number(of)).map(|of| (stem, of))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_split_model_has_the_bytes_of_all_its_files() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, bytes: usize| {
            let path = folder.path().join(name);
            std::fs::write(&path, vec![0; bytes]).unwrap();
            path
        };
        write("a-00001-of-00002.gguf", 5);
        assert_eq!(stored(&write("a-00002-of-00002.gguf", 7)), 12);
        assert_eq!(stored(&write("a-2-of-2.gguf", 3)), 3);
        assert_eq!(stored(&write("plain.gguf", 4)), 4);
        assert_eq!(stored(&folder.path().join("none.gguf")), 0);
    }
}
