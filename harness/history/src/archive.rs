//! A whole store in one Parquet file, which any program for tables can read, and back.
//!
//! A row is a line of a file, kept byte for byte, so that nothing is lost: an import restores
//! exactly what was exported. Beside the line are the facts and numbers of its record, so that
//! nobody needs to parse it:
//!
//! | column | type | what |
//! |---|---|---|
//! | `file` | str | the file, from the folder of the store, with `/` between folders |
//! | `line` | u32 | its place in the file, from 1 |
//! | `json` | str | the line, without its line feed |
//! | `record` | bool | whether it is a record, and not the first line of its file or a seal |
//! | `run` … `setting` | str | as in a [`frame`](crate::frame); null in lines that are no measured record |
//! | `round` | u32 | likewise |
//! | one for each series | f64 | likewise |

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::PermissionsExt;
use std::path::{Component, Path, PathBuf};

use polars::prelude::{Column, DataFrame, IntoColumn, NamedFrom};
use polars_io::SerReader;
use polars_io::parquet::read::ParquetReader;
use polars_io::parquet::write::ParquetWriter;
use windtunnel_ledger::series::Series;
use windtunnel_ledger::{store, whole};

use crate::Error;
use crate::frame::{NAMES, Rows, paths};

/// The number of lines held in memory at once, and of rows per row group.
const LINES: usize = 20_000;

/// What an export or an import moved.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Moved {
    /// Run files.
    pub files: usize,
    /// Their lines.
    pub lines: usize,
    /// Files that existed already, identical to those in the archive.
    pub known: usize,
}

/// Writes every run file below `store`, or the one file that `store` is, into the Parquet file
/// `archive`. The file appears only once it is complete; if there is no run, nothing is written.
///
/// # Errors
/// If a file cannot be read as a run, or on an I/O error: `archive` is then unchanged.
pub fn export(store: &Path, archive: &Path) -> Result<Moved, Error> {
    let io = |action| move |source| Error::Io { action, path: archive.to_owned(), source };
    let paths = paths(&[store.to_owned()])?;
    let mut moved = Moved::default();
    if paths.is_empty() {
        return Ok(moved);
    }
    let folder = if store.is_file() { store.parent().unwrap_or(Path::new("")) } else { store };
    // The permissions of an ordinary file, subject to the user's umask: a temporary file is private
    // to its owner.
    let permissions = PermissionsExt::from_mode(0o666);
    let beside = archive.parent().filter(|dir| !dir.as_os_str().is_empty());
    let mut file = tempfile::Builder::new()
        .permissions(permissions)
        .tempfile_in(beside.unwrap_or(Path::new(".")))
        .map_err(io("write"))?;
    let mut batch = Batch::default();
    let schema = batch.take()?.schema().clone();
    let mut writer = ParquetWriter::new(file.as_file_mut()).batched(&schema)?;
    for path in &paths {
        batch.push(folder, path)?;
        moved.files += 1;
        if batch.json.len() >= LINES {
            moved.lines += batch.json.len();
            writer.write_batch(&batch.take()?)?;
        }
    }
    moved.lines += batch.json.len();
    writer.write_batch(&batch.take()?)?;
    writer.finish()?;
    file.as_file().sync_all().map_err(io("write"))?;
    file.persist(archive).map_err(|error| io("write")(error.error))?;
    Ok(moved)
}

/// Lines, as they are gathered.
#[derive(Default)]
struct Batch {
    file: Vec<String>,
    line: Vec<u32>,
    json: Vec<String>,
    record: Vec<bool>,
    /// The row of each line among the measured records.
    place: Vec<Option<usize>>,
    rows: Rows,
}

impl Batch {
    fn push(&mut self, folder: &Path, path: &Path) -> Result<(), Error> {
        let name = path.strip_prefix(folder).unwrap_or(path);
        let name: Vec<_> =
            name.components().map(|part| part.as_os_str().to_string_lossy()).collect();
        let name = name.join("/");
        // Read as a run first: a broken file is reported now, not when it is needed again.
        let records = store::read(path)?.records;
        let text = std::fs::read_to_string(path).map_err(|source| Error::Io {
            action: "read",
            path: path.to_owned(),
            source,
        })?;
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        let mut measured = self.rows.extend(&records).into_iter();
        for (place, line) in whole.split('\n').enumerate() {
            self.file.push(name.clone());
            self.line.push(place as u32 + 1);
            self.json.push(line.to_owned());
            // Neither the first line nor a seal is a record.
            let is_record = (1..=records.len()).contains(&place);
            self.record.push(is_record);
            self.place.push(if is_record { measured.next().flatten() } else { None });
        }
        Ok(())
    }

    /// All lines as a frame; leaves the batch empty.
    fn take(&mut self) -> Result<DataFrame, Error> {
        let Batch { file, line, json, record, place, rows } = std::mem::take(self);
        let mut columns = vec![
            Column::new("file".into(), file),
            Column::new("line".into(), line),
            Column::new("json".into(), json),
            Column::new("record".into(), record),
        ];
        for (column, title) in NAMES.into_iter().enumerate() {
            let text = |row: &Option<usize>| {
                row.map(|row| rows.text(column, row)).filter(|text| !text.is_empty())
            };
            let texts: Vec<Option<&str>> = place.iter().map(text).collect();
            columns.push(polars::prelude::Series::new(title.into(), texts).into_column());
        }
        let round: Vec<Option<u32>> =
            place.iter().map(|row| row.map(|row| rows.round(row))).collect();
        columns.push(Column::new("round".into(), round));
        for series in Series::all() {
            let value = |row: &Option<usize>| row.and_then(|row| rows.value(series, row));
            let values: Vec<Option<f64>> = place.iter().map(value).collect();
            columns.push(Column::new(series.to_string().into(), values));
        }
        Ok(DataFrame::new_infer_height(columns)?)
    }
}

/// Writes the files of `archive` below the folder `into`. Files that exist with the same contents
/// are left alone; nothing is ever overwritten.
///
/// # Errors
/// If `archive` is not an archive, if a file exists with other contents (nothing is written then),
/// or on an I/O error.
pub fn import(archive: &Path, into: &Path) -> Result<Moved, Error> {
    let bad = |reason: String| Error::Archive { path: archive.to_owned(), reason };
    let open = || {
        File::open(archive).map_err(|source| Error::Io {
            action: "read",
            path: archive.to_owned(),
            source,
        })
    };
    let rows = ParquetReader::new(open()?).num_rows().map_err(|error| bad(error.to_string()))?;
    let mut files: BTreeMap<String, Vec<(u32, String)>> = BTreeMap::new();
    for start in (0..rows).step_by(LINES) {
        let wanted = ["file", "line", "json"].map(str::to_owned).to_vec();
        let reader = ParquetReader::new(open()?).with_columns(Some(wanted));
        let frame = reader
            .with_slice(Some((start, LINES)))
            .finish()
            .map_err(|error| bad(error.to_string()))?;
        let column = |title: &str| frame.column(title).map_err(|error| bad(error.to_string()));
        let wrong = |error: polars::error::PolarsError| bad(error.to_string());
        let (file, json) = (column("file")?, column("json")?);
        let (file, json) = (file.str().map_err(wrong)?, json.str().map_err(wrong)?);
        let line = column("line")?.u32().map_err(wrong)?;
        for ((file, line), json) in file.iter().zip(line.iter()).zip(json.iter()) {
            let (Some(file), Some(line), Some(json)) = (file, line, json) else {
                return Err(bad("a row names no line".to_owned()));
            };
            files.entry(file.to_owned()).or_default().push((line, json.to_owned()));
        }
    }
    let mut moved = Moved::default();
    let mut new = Vec::new();
    for (name, mut lines) in files {
        lines.sort();
        moved.files += 1;
        moved.lines += lines.len();
        let path = into
            .join(inside(&name).ok_or_else(|| bad(format!("`{name}` leads out of its folder")))?);
        let text: String = lines.into_iter().map(|(_, line)| line + "\n").collect();
        match std::fs::read(&path) {
            Ok(known) if known == text.as_bytes() => moved.known += 1,
            Ok(_) => return Err(Error::Taken { path }),
            Err(_) => new.push((path, text)),
        }
    }
    for (path, text) in new {
        let created = whole::create(&path, text.as_bytes());
        match created.map_err(|source| Error::Io { action: "write", path: path.clone(), source })? {
            true => (),
            // Another process has created it in the meantime.
            false => return Err(Error::Taken { path }),
        }
    }
    Ok(moved)
}

/// The measured records of an archive, and the number of its runs. The lines themselves are not
/// read.
pub(crate) fn rows(archive: &Path) -> Result<(Rows, usize), Error> {
    let bad = |error: polars::error::PolarsError| Error::Archive {
        path: archive.to_owned(),
        reason: error.to_string(),
    };
    let file = File::open(archive).map_err(|source| Error::Io {
        action: "read",
        path: archive.to_owned(),
        source,
    })?;
    let mut reader = ParquetReader::new(file);
    let known = reader.schema().map_err(bad)?;
    let wanted = |name: &&str| !["json", "line"].contains(name);
    let names = known.iter_names().map(|name| name.as_str()).filter(wanted).map(str::to_owned);
    let frame = reader.with_columns(Some(names.collect())).finish().map_err(bad)?;
    let runs = frame.column("file").and_then(|file| file.n_unique()).map_err(bad)?;
    Ok((Rows::of_texts(&frame).map_err(bad)?, runs))
}

/// A file name of an archive as a path below a folder; none if it leads elsewhere.
fn inside(name: &str) -> Option<PathBuf> {
    let path = PathBuf::from(name);
    let stays = path.components().all(|part| matches!(part, Component::Normal(_)));
    (stays && path.extension().is_some_and(|extension| extension == "jsonl")).then_some(path)
}
