//! The file of a run: JSON lines, appended and never rewritten.
//!
//! The first line says what the run set out to do, every other line is one [`Record`]. Each line
//! carries the number of the schema it was written in. A record is on disk when [`Store::append`]
//! returns. A line left unfinished by a kill is detected when the file is read, and cut off when
//! the file is opened to resume the run.
//!
//! A file that must never change again ends with a [`Seal`]: the fingerprints of all lines before
//! it, so that a changed line is identified and a missing end is noticed.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

use crate::record::{Record, Run};
use crate::whole;

/// The version of the format. Readers refuse newer versions; nothing rewrites older ones.
pub const SCHEMA: u32 = 1;

/// One line of a file.
#[derive(Serialize, Deserialize)]
struct Line {
    schema: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    run: Option<Run>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    record: Option<Record>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    seal: Option<Seal>,
}

impl Line {
    fn of_run(run: &Run) -> Line {
        Line { schema: SCHEMA, run: Some(run.clone()), record: None, seal: None }
    }

    fn of_record(record: &Record) -> Line {
        Line { schema: SCHEMA, run: None, record: Some(record.clone()), seal: None }
    }

    fn text(&self) -> String {
        serde_json::to_string(self).expect("lines are plain data") + "\n"
    }
}

/// The last line of a file that must never change again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Seal {
    /// The fingerprint of each line before it, without its line feed.
    lines: Vec<String>,
}

/// The part of a line that every schema shares.
#[derive(Deserialize)]
struct Numbered {
    schema: u32,
}

/// The contents of a file.
#[derive(Clone, Debug, PartialEq)]
pub struct Contents {
    /// What the run set out to do.
    pub run: Run,
    /// What it left, in the order of measurement.
    pub records: Vec<Record>,
    /// Whether the last line was cut short and therefore dropped.
    pub torn: bool,
}

/// Why a file cannot be written or read.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// An I/O error.
    #[error("cannot {action} `{}`", path.display())]
    Io {
        /// What was attempted.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file exists, and a run must not overwrite another.
    #[error(
        "`{path}` exists already; continue it with `--resume {path}`, or choose another `--out`"
    )]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// A line is not valid.
    #[error("`{}`, line {line}: {reason}", path.display())]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong with it.
        reason: String,
    },
    /// A line was written by a newer version.
    #[error(
        "`{}`, line {line}: written in schema {schema}, this version reads up to {SCHEMA}; use a newer `windtunnel`",
        path.display()
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// The schema of the line.
        schema: u32,
    },
    /// Another process is writing to the file.
    #[error("another run is writing to `{}`: wait for its end", path.display())]
    Busy {
        /// The file.
        path: PathBuf,
    },
    /// The file is sealed, so nothing can be added.
    #[error("`{}` is sealed: nothing can be added to what it holds", path.display())]
    Sealed {
        /// The file.
        path: PathBuf,
    },
    /// The file is empty.
    #[error("no run was ever begun in `{}`: it is empty", path.display())]
    Empty {
        /// The file.
        path: PathBuf,
    },
}

/// A file that is open for appending.
#[derive(Debug)]
pub struct Store {
    path: PathBuf,
    file: File,
}

impl Store {
    /// Creates the file of a run.
    ///
    /// # Errors
    /// If the file exists, or on an I/O error.
    pub fn create(path: &Path, run: &Run) -> Result<Store, StoreError> {
        // With its first line or not at all: without it, a file can neither be resumed nor begun
        // anew.
        write(path, run, &[])?;
        let file = OpenOptions::new().append(true).open(path);
        let file = file.map_err(|source| StoreError::Io {
            action: "open",
            path: path.to_owned(),
            source,
        })?;
        lock(path, &file)?;
        Ok(Store { path: path.to_owned(), file })
    }

    /// Opens the file of a run to resume it, and cuts off an unfinished last line.
    ///
    /// # Errors
    /// Like [`read`]; or if the file is sealed or another process is writing to it, or on an I/O
    /// error.
    pub fn resume(path: &Path) -> Result<(Store, Contents), StoreError> {
        let io = |action| move |source| StoreError::Io { action, path: path.to_owned(), source };
        let file = OpenOptions::new().read(true).append(true).open(path).map_err(io("open"))?;
        lock(path, &file)?;
        let bytes = std::fs::read(path).map_err(io("read"))?;
        let (contents, end) = parse(path, &bytes)?;
        if end == End::Sealed {
            return Err(StoreError::Sealed { path: path.to_owned() });
        }
        if contents.torn {
            file.set_len(whole_lines(&bytes) as u64).map_err(io("repair"))?;
        }
        Ok((Store { path: path.to_owned(), file }, contents))
    }

    /// Appends a record. It is on disk when this returns.
    ///
    /// # Errors
    /// On an I/O error.
    pub fn append(&mut self, record: &Record) -> Result<(), StoreError> {
        self.write(&Line::of_record(record))
    }

    fn write(&mut self, line: &Line) -> Result<(), StoreError> {
        // A single call, so that a kill can tear a line in only one place: at its end.
        let written =
            self.file.write_all(line.text().as_bytes()).and_then(|()| self.file.sync_data());
        written.map_err(|source| StoreError::Io {
            action: "append to",
            path: self.path.clone(),
            source,
        })
    }
}

/// Keeps others from writing to `file` until it is closed.
fn lock(path: &Path, file: &File) -> Result<(), StoreError> {
    file.try_lock().map_err(|error| match error {
        TryLockError::WouldBlock => StoreError::Busy { path: path.to_owned() },
        TryLockError::Error(source) => {
            StoreError::Io { action: "lock", path: path.to_owned(), source }
        }
    })
}

/// Reads the file of a run.
///
/// # Errors
/// If it cannot be read, is empty, or holds a line that is corrupt or too new. A last line without
/// a line feed is not an error: see [`Contents::torn`].
pub fn read(path: &Path) -> Result<Contents, StoreError> {
    let bytes = std::fs::read(path).map_err(|source| StoreError::Io {
        action: "read",
        path: path.to_owned(),
        source,
    })?;
    parse(path, &bytes).map(|(contents, _)| contents)
}

/// Writes the file of a finished run: it exists with all of its records, or not at all.
///
/// # Errors
/// If the file exists, or on an I/O error.
pub fn write(path: &Path, run: &Run, records: &[Record]) -> Result<(), StoreError> {
    match whole::create(path, lines(run, records).concat().as_bytes()) {
        Ok(true) => Ok(()),
        Ok(false) => Err(StoreError::Exists { path: path.to_owned() }),
        Err(source) => Err(StoreError::Io { action: "create", path: path.to_owned(), source }),
    }
}

/// The text of a sealed file with these records.
#[must_use]
pub fn sealed(run: &Run, records: &[Record]) -> String {
    let lines = lines(run, records);
    let prints = lines.iter().map(|line| print_of(line.as_bytes())).collect();
    let seal = Line { schema: SCHEMA, run: None, record: None, seal: Some(Seal { lines: prints }) };
    lines.concat() + &seal.text()
}

fn lines(run: &Run, records: &[Record]) -> Vec<String> {
    let lines = std::iter::once(Line::of_run(run)).chain(records.iter().map(Line::of_record));
    lines.map(|line| line.text()).collect()
}

/// Reads the `bytes` of a sealed file called `path`.
///
/// # Errors
/// Like [`read`]; or if a line differs from what was sealed, or the file does not end with its
/// seal.
pub fn read_sealed(path: &Path, bytes: &[u8]) -> Result<Contents, StoreError> {
    match parse(path, bytes) {
        Ok((contents, End::Sealed)) if !contents.torn => return Ok(contents),
        Ok(_) | Err(StoreError::Empty { .. }) => (),
        Err(error) => return Err(error),
    }
    let line = bytes.split_inclusive(|byte| *byte == b'\n').count().max(1);
    let reason = "the file ends here, without its seal: it was cut short".to_owned();
    Err(StoreError::Corrupt { path: path.to_owned(), line, reason })
}

/// How a file ends.
#[derive(PartialEq, Eq)]
enum End {
    /// With a seal that matches.
    Sealed,
    /// Without a seal.
    Open,
}

fn parse(path: &Path, bytes: &[u8]) -> Result<(Contents, End), StoreError> {
    let (text, rest) = bytes.split_at(whole_lines(bytes));
    let corrupt = |line, reason: &str| StoreError::Corrupt {
        path: path.to_owned(),
        line,
        reason: reason.to_owned(),
    };
    let lines: Vec<&[u8]> = text.split_inclusive(|byte| *byte == b'\n').collect();
    let Some(first) = lines.first() else {
        return Err(match bytes {
            [] => StoreError::Empty { path: path.to_owned() },
            _ => corrupt(
                1,
                "the line does not end: this is not a run, or one that was cut short here",
            ),
        });
    };
    let run = parse_line(path, 1, first)?.run.ok_or_else(|| {
        corrupt(1, "the first line of a run says what the run set out to do; this one does not")
    })?;
    let (mut records, mut end) = (Vec::new(), End::Open);
    for (place, text) in lines.iter().enumerate().skip(1) {
        let number = place + 1;
        if end == End::Sealed {
            return Err(corrupt(number, "it comes after the seal of the file"));
        }
        match parse_line(path, number, text)? {
            Line { record: Some(record), .. } => records.push(record),
            Line { seal: Some(seal), .. } => {
                if let Some((line, reason)) = broken(&seal, &lines[..place]) {
                    return Err(corrupt(line, &reason));
                }
                end = End::Sealed;
            }
            _ => return Err(corrupt(number, "there is no record in it")),
        }
    }
    Ok((Contents { run, records, torn: !rest.is_empty() }, end))
}

/// The number of the first of `lines` that differs from what was sealed, and what is wrong.
fn broken(seal: &Seal, lines: &[&[u8]]) -> Option<(usize, String)> {
    let prints: Vec<String> = lines.iter().map(|line| print_of(line)).collect();
    if let Some(place) = prints.iter().zip(&seal.lines).position(|(now, then)| now != then) {
        return Some((place + 1, "this line differs from what was sealed".to_owned()));
    }
    let (now, then) = (prints.len(), seal.lines.len());
    (now != then).then(|| (now + 1, format!("{then} lines were sealed, there are {now}")))
}

/// The fingerprint of a line, without its line feed.
fn print_of(line: &[u8]) -> String {
    format!("{:016x}", xxh3_64(line.strip_suffix(b"\n").unwrap_or(line)))
}

/// The number of bytes up to the end of the last complete line.
fn whole_lines(bytes: &[u8]) -> usize {
    bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1)
}

fn parse_line(path: &Path, line: usize, text: &[u8]) -> Result<Line, StoreError> {
    let corrupt = |error: serde_json::Error| {
        // To serde each line is line 1.
        let (said, column) = (error.to_string(), error.column());
        let said = said.split(" at line ").next().unwrap_or_default();
        let reason = format!("not a line of a run: {said} at column {column}");
        StoreError::Corrupt { path: path.to_owned(), line, reason }
    };
    let read = match serde_json::from_slice::<Line>(text) {
        Ok(line) if line.schema <= SCHEMA => return Ok(line),
        other => other,
    };
    // Only the schema number: a newer line need not have our structure. Nearly all lines have it,
    // and long stores are read often, so this is parsed only now.
    let Numbered { schema } = serde_json::from_slice(text).map_err(corrupt)?;
    if schema > SCHEMA {
        return Err(StoreError::Newer { path: path.to_owned(), line, schema });
    }
    read.map_err(corrupt)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::RunId;
    use crate::record::tests::record;

    fn run() -> Run {
        Run {
            id: RunId("run".into()),
            at: "2026-01-01T00:00:00Z".into(),
            command: "windtunnel run smoke".into(),
            subjects: Vec::new(),
            cases: Vec::new(),
            skipped: Vec::new(),
            gate: None,
            rules: None,
        }
    }

    /// A file with two records whose text was changed by `damage`.
    fn after(damage: impl FnOnce(String) -> String) -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("run.jsonl");
        let mut store = Store::create(&path, &run()).unwrap();
        store.append(&record(".", "a", 1, &[1.0])).unwrap();
        store.append(&record(".", "a", 2, &[2.0])).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, damage(text)).unwrap();
        (dir, path)
    }

    fn complaint(path: &Path) -> String {
        let text = read(path).unwrap_err().to_string();
        text.replace(&path.parent().unwrap().display().to_string(), "DIR")
    }

    #[test]
    fn what_was_appended_is_read_back() {
        let (_dir, path) = after(|text| text);
        let contents = read(&path).unwrap();
        assert_eq!(contents.run, run());
        assert_eq!(contents.records, [record(".", "a", 1, &[1.0]), record(".", "a", 2, &[2.0])]);
        assert!(!contents.torn);
    }

    #[test]
    fn a_torn_last_line_loses_nothing_else_and_the_run_goes_on() {
        let (_dir, path) = after(|text| text[..text.len() - 20].to_owned());
        let contents = read(&path).unwrap();
        assert_eq!(contents.records, [record(".", "a", 1, &[1.0])]);
        assert!(contents.torn);

        let (mut store, _) = Store::resume(&path).unwrap();
        store.append(&record(".", "a", 2, &[3.0])).unwrap();
        let contents = read(&path).unwrap();
        assert_eq!(contents.records, [record(".", "a", 1, &[1.0]), record(".", "a", 2, &[3.0])]);
        assert!(!contents.torn);
    }

    #[test]
    fn a_corrupt_line_is_named() {
        let (_dir, path) =
            after(|text| text.replacen("{\"schema\":1,\"record\"", "{\"schema\":1;", 1));
        let text = complaint(&path);
        assert!(text.starts_with("`DIR/run.jsonl`, line 2: not a line of a run: "), "{text}");
    }

    #[test]
    fn a_newer_line_is_refused_even_if_it_has_another_shape() {
        let (_dir, path) = after(|text| text + "{\"schema\":2,\"novelty\":[]}\n");
        assert_eq!(
            complaint(&path),
            "`DIR/run.jsonl`, line 4: written in schema 2, this version reads up to 1; use a newer `windtunnel`"
        );
    }

    #[test]
    fn an_empty_file_and_a_missing_one_are_told_apart() {
        let (_dir, path) = after(|_| String::new());
        assert_eq!(complaint(&path), "no run was ever begun in `DIR/run.jsonl`: it is empty");
        std::fs::write(&path, "my notes").unwrap();
        assert_eq!(
            complaint(&path),
            "`DIR/run.jsonl`, line 1: the line does not end: this is not a run, or one that was cut short here"
        );
        std::fs::remove_file(&path).unwrap();
        assert_eq!(complaint(&path), "cannot read `DIR/run.jsonl`");
    }

    #[test]
    fn a_run_never_overwrites_another() {
        let (_dir, path) = after(|text| text);
        assert!(matches!(Store::create(&path, &run()), Err(StoreError::Exists { .. })));
        assert!(matches!(write(&path, &run(), &[]), Err(StoreError::Exists { .. })));
    }

    #[test]
    fn a_run_that_is_written_at_once_is_like_one_that_was_appended_to() {
        let (_dir, path) = after(|text| text);
        let again = path.with_file_name("again.jsonl");
        let records = [record(".", "a", 1, &[1.0]), record(".", "a", 2, &[2.0])];
        write(&again, &run(), &records).unwrap();
        assert_eq!(std::fs::read(&again).unwrap(), std::fs::read(&path).unwrap());
    }

    #[test]
    fn two_processes_cannot_write_to_one_run() {
        let (_dir, path) = after(|text| text);
        let (first, _) = Store::resume(&path).unwrap();
        assert!(matches!(Store::resume(&path), Err(StoreError::Busy { .. })));
        drop(first);
        assert!(Store::resume(&path).is_ok());
    }

    /// The error about a sealed file of two records whose text was changed by `damage`.
    fn complaint_of_sealed(damage: impl FnOnce(String) -> String) -> String {
        let records = [record(".", "a", 1, &[1.0]), record(".", "a", 2, &[2.0])];
        let text = damage(sealed(&run(), &records));
        match read_sealed(Path::new("s.jsonl"), text.as_bytes()) {
            Ok(contents) => format!("{} records", contents.records.len()),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn a_sealed_file_tells_which_line_was_changed_and_where_it_was_cut() {
        let line = |text: &str, n: usize| text.lines().nth(n).unwrap().to_owned() + "\n";
        assert_eq!(complaint_of_sealed(|text| text), "2 records");
        for (damage, complaint) in [
            (
                (|text: String| text.replacen("\"round\":2", "\"round\":3", 1))
                    as fn(String) -> String,
                "`s.jsonl`, line 3: this line differs from what was sealed",
            ),
            (
                |text| text.lines().take(3).map(|line| line.to_owned() + "\n").collect(),
                "`s.jsonl`, line 3: the file ends here, without its seal: it was cut short",
            ),
            (
                |text| text[..text.len() - 5].to_owned(),
                "`s.jsonl`, line 4: the file ends here, without its seal: it was cut short",
            ),
            (|text| text.clone() + &text, "`s.jsonl`, line 5: it comes after the seal of the file"),
        ] {
            assert_eq!(complaint_of_sealed(damage), complaint);
        }
        let less = complaint_of_sealed(|text| text.replace(&line(&text, 2), ""));
        assert_eq!(less, "`s.jsonl`, line 3: 3 lines were sealed, there are 2");
    }

    #[test]
    fn nothing_is_added_to_a_sealed_file_and_everybody_can_read_it() {
        let (_dir, path) = after(|_| sealed(&run(), &[record(".", "a", 1, &[1.0])]));
        assert_eq!(read(&path).unwrap().records.len(), 1);
        let error = Store::resume(&path).unwrap_err().to_string();
        assert!(error.ends_with("run.jsonl` is sealed: nothing can be added to what it holds"));
    }

    #[test]
    fn a_file_without_its_first_line_is_no_run() {
        let (_dir, path) = after(|text| text.split_once('\n').unwrap().1.to_owned());
        assert!(complaint(&path).contains("line 1: the first line of a run says"));
    }
}
