//! [`Root`]: the files in which a kernel describes itself and the machine.

use std::path::PathBuf;

/// The folder that contains `proc` and `sys`: `/`, or the one of a test.
#[derive(Clone, Debug)]
pub(crate) struct Root(PathBuf);

impl Root {
    /// The files of the running kernel.
    pub(crate) fn here() -> Root {
        Root(PathBuf::from("/"))
    }

    /// Copies of such files.
    #[cfg(test)]
    pub(crate) fn at(folder: &std::path::Path) -> Root {
        Root(folder.to_owned())
    }

    /// The full path of `path`.
    pub(crate) fn path(&self, path: &str) -> PathBuf {
        self.0.join(path)
    }

    /// The contents of a file, trimmed; none if it cannot be read.
    pub(crate) fn text(&self, path: &str) -> Option<String> {
        let bytes = std::fs::read(self.path(path)).ok()?;
        Some(String::from_utf8_lossy(&bytes).trim().to_owned())
    }

    /// The number in a file.
    pub(crate) fn number(&self, path: &str) -> Option<u64> {
        self.text(path)?.parse().ok()
    }

    /// Whether a file exists.
    pub(crate) fn has(&self, path: &str) -> bool {
        self.path(path).exists()
    }

    /// The names in a folder, sorted; empty if it cannot be read.
    pub(crate) fn names(&self, folder: &str) -> Vec<String> {
        let entries = std::fs::read_dir(self.path(folder)).into_iter().flatten().flatten();
        let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
        let mut names: Vec<String> = names.collect();
        names.sort();
        names
    }

    /// The entries of a folder named `prefix` and a number, in the order of the numbers.
    pub(crate) fn numbered(&self, folder: &str, prefix: &str) -> Vec<String> {
        let number = |name: &str| name.strip_prefix(prefix)?.parse::<u32>().ok();
        let names = self.names(folder).into_iter();
        let mut found: Vec<(u32, String)> =
            names.filter_map(|name| Some((number(&name)?, name))).collect();
        found.sort();
        found.into_iter().map(|(_, name)| format!("{folder}/{name}")).collect()
    }
}

/// The value of the first line `name : value`.
pub(crate) fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let mut lines = text.lines().filter_map(|line| line.split_once(':'));
    lines.find(|(key, _)| key.trim() == name).map(|(_, value)| value.trim())
}
