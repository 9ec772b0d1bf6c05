//! A store as one frame: a row for each measured record.
//!
//! | column | type | what |
//! |---|---|---|
//! | `run` | name | the run's name |
//! | `at` | name | when the round began, RFC 3339 in UTC, which sorts as text |
//! | `machine` | name | the kind of machine, [`Machine::key`] |
//! | `commit` | name | the subject's commit, with `+` if files differed from it |
//! | `upstream` | name | the upstream commit of its integration log |
//! | `subject` | name | the subject as the user named it |
//! | `case` | name | the case's id |
//! | `variant` | name | what makes another series of it: the hash of the case, and features or engine |
//! | `setting` | name | what may change results and be changed: compiler, kernels, clocks; see [`setting`] |
//! | `round` | u32 | which round |
//! | one for each series | f64 | the number that the round gives, in the unit of the metric; NaN if none |
//!
//! A name is a `u32`: its place among the [`Names`] of the store, in the order of their texts. Rounds
//! that failed or were skipped have no number and no row.
//!
//! [`Machine::key`]: windtunnel_ledger::environment::Machine::key
//! [`setting`]: crate::setting

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};

use polars::prelude::{Column, DataFrame};
use rayon::prelude::*;
use windtunnel_ledger::case::Case;
use windtunnel_ledger::environment::Environment;
use windtunnel_ledger::gate::Arm;
use windtunnel_ledger::record::{Outcome, Record, Samples, Subject};
use windtunnel_ledger::series::Series;
use windtunnel_ledger::store::{self, StoreError};

use crate::Error;
use crate::archive;
use crate::names::{Name, Names};
use crate::setting::setting;

/// A loaded store.
#[derive(Debug)]
pub struct Loaded {
    /// One row for each measured record.
    pub frame: DataFrame,
    /// The texts of the names.
    pub names: Names,
    /// The number of run files in the frame.
    pub files: usize,
    /// The number of records, including those without measurements.
    pub records: usize,
    /// Files that could not be read, with reasons. None of their records is in the frame.
    pub unread: Vec<StoreError>,
}

/// The name columns, in order.
pub const NAMES: [&str; 9] =
    ["run", "at", "machine", "commit", "upstream", "subject", "case", "variant", "setting"];

/// Reads every `*.jsonl` file below `stores`, in order of their paths. A directory that does not
/// exist counts as empty. A store may also be a single such file, or a Parquet file that an export
/// wrote, of which only the columns of a frame are read.
///
/// # Errors
/// If a directory cannot be listed, or a Parquet file is not an archive. Other files that cannot be
/// read are not errors: see [`Loaded::unread`].
pub fn load(stores: &[PathBuf]) -> Result<Loaded, Error> {
    let is_archive = |store: &&PathBuf| store.is_file() && !is_run(store);
    let folders: Vec<PathBuf> = stores.iter().filter(|store| !is_archive(store)).cloned().collect();
    let paths = paths(&folders)?;
    let parts: Vec<Result<Rows, StoreError>> = paths.par_iter().map(|path| rows(path)).collect();
    let (mut all, mut unread) = (Rows::default(), Vec::new());
    for part in parts {
        match part {
            Ok(rows) => all.append(rows),
            Err(error) => unread.push(error),
        }
    }
    let mut files = paths.len() - unread.len();
    for archive in stores.iter().filter(is_archive) {
        let (rows, runs) = archive::rows(archive)?;
        all.append(rows);
        files += runs;
    }
    let records = all.records;
    let (frame, names) = all.frame()?;
    Ok(Loaded { frame, names, files, records, unread })
}

/// The run files below `stores`.
///
/// # Errors
/// If a directory cannot be listed.
pub fn paths(stores: &[PathBuf]) -> Result<Vec<PathBuf>, Error> {
    let mut paths = BTreeSet::new();
    for store in stores.iter().filter(|store| store.exists()) {
        match store.is_file() {
            true => _ = paths.insert(store.clone()),
            false => walk(store, &mut paths)?,
        }
    }
    Ok(paths.into_iter().collect())
}

/// Whether a file is a run, by its name.
fn is_run(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "jsonl")
}

/// Collects the run files below `dir`, without following links to directories.
fn walk(dir: &Path, paths: &mut BTreeSet<PathBuf>) -> Result<(), Error> {
    let failed = |source| Error::Walk { path: dir.to_owned(), source };
    for entry in std::fs::read_dir(dir).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let path = entry.path();
        if entry.file_type().map_err(failed)?.is_dir() {
            walk(&path, paths)?;
        } else if is_run(&path) {
            paths.insert(path);
        }
    }
    Ok(())
}

/// The rows of one file.
fn rows(path: &Path) -> Result<Rows, StoreError> {
    let mut rows = Rows::default();
    rows.extend(&store::read(path)?.records);
    Ok(rows)
}

/// The columns, as they grow.
#[derive(Default)]
pub(crate) struct Rows {
    names: Names,
    texts: [Vec<Name>; NAMES.len()],
    round: Vec<u32>,
    values: HashMap<Series, Vec<f64>>,
    records: usize,
}

/// Remembers what is the same for most records of a file and expensive to compute.
#[derive(Default)]
struct Memo {
    variants: HashMap<String, (Case, String, Name)>,
    environment: Option<(Environment, Name, Name)>,
}

impl Rows {
    /// Adds records, and returns the row of each that has one.
    pub(crate) fn extend(&mut self, records: &[Record]) -> Vec<Option<usize>> {
        let mut memo = Memo::default();
        let row = |record| {
            let row = self.round.len();
            self.push(record, &mut memo);
            (self.round.len() > row).then_some(row)
        };
        records.iter().map(row).collect()
    }

    /// The rows of a frame whose names are texts, as in an archive. Rows without a round are not
    /// measured records. Archives of earlier versions do not say which of those are records at all,
    /// so none of them is counted.
    pub(crate) fn of_texts(frame: &DataFrame) -> Result<Rows, polars::error::PolarsError> {
        let mut rows = Rows::default();
        let rounds = frame.column("round")?.u32()?;
        let kept: Vec<usize> = (0..rounds.len()).filter(|row| rounds.get(*row).is_some()).collect();
        rows.round = kept.iter().filter_map(|row| rounds.get(*row)).collect();
        for (column, title) in NAMES.into_iter().enumerate() {
            let texts = frame.column(title)?.str()?;
            let name = |row: &usize| rows.names.of(texts.get(*row).unwrap_or_default());
            rows.texts[column] = kept.iter().map(name).collect();
        }
        for series in Series::all() {
            let Ok(values) = frame.column(&series.to_string()) else { continue };
            let values = values.f64()?;
            if values.null_count() < values.len() {
                let value = |row: &usize| values.get(*row).unwrap_or(f64::NAN);
                rows.values.insert(series, kept.iter().map(value).collect());
            }
        }
        rows.records = match frame.column("record") {
            Ok(column) => column.bool()?.iter().flatten().filter(|is_record| *is_record).count(),
            Err(_) => rows.round.len(),
        };
        Ok(rows)
    }

    /// The text in a row of the given column of [`NAMES`].
    pub(crate) fn text(&self, column: usize, row: usize) -> &str {
        self.names.text(self.texts[column][row])
    }

    pub(crate) fn round(&self, row: usize) -> u32 {
        self.round[row]
    }

    /// The value of `series` in a row.
    pub(crate) fn value(&self, series: Series, row: usize) -> Option<f64> {
        self.values.get(&series)?.get(row).copied().filter(|value| !value.is_nan())
    }

    fn push(&mut self, record: &Record, memo: &mut Memo) {
        self.records += 1;
        let Outcome::Measured(samples) = &record.outcome else { return };
        let variant = self.variant(record, memo);
        let (machine, setting) = self.place(record, memo);
        let dirty = if record.subject.dirty { "+" } else { "" };
        // Built on another candle, it is not a point in the history of its commits.
        let own = record.subject.commit.as_ref().filter(|_| record.subject.candle.is_none());
        let commit = own.map(|commit| format!("{commit}{dirty}"));
        let upstream = record.subject.upstream.as_ref().map_or("", |hash| hash.as_str());
        let names = [
            self.names.of(&record.run.0),
            self.names.of(&record.at),
            machine,
            self.names.of(commit.as_deref().unwrap_or_default()),
            self.names.of(upstream),
            self.names.of(&record.subject.name),
            self.names.of(record.case.id.as_str()),
            variant,
            setting,
        ];
        for (column, name) in self.texts.iter_mut().zip(names) {
            column.push(name);
        }
        self.measure(samples);
        self.round.push(record.round);
    }

    fn measure(&mut self, samples: &Samples) {
        let row = self.round.len();
        for series in measured(samples) {
            let Some(value) = series.of_round(samples) else { continue };
            let column = self.values.entry(series).or_default();
            column.resize(row, f64::NAN);
            column.push(value);
        }
    }

    fn variant(&mut self, record: &Record, memo: &mut Memo) -> Name {
        let (case, build) = (&record.case, build(&record.subject));
        match memo.variants.get(case.id.as_str()) {
            Some((known, built, variant)) if known == case && *built == build => *variant,
            _ => {
                let variant = self.names.of(&format!("{} {build}", case.hash()));
                memo.variants.insert(case.id.to_string(), (case.clone(), build, variant));
                variant
            }
        }
    }

    /// The names of the machine and of the setting.
    fn place(&mut self, record: &Record, memo: &mut Memo) -> (Name, Name) {
        match &memo.environment {
            Some((known, machine, setting)) if *known == record.environment => (*machine, *setting),
            _ => {
                let environment = record.environment.clone();
                let machine = self.names.of(&environment.machine.key());
                let setting = self.names.of(&setting(&environment));
                memo.environment = Some((environment, machine, setting));
                (machine, setting)
            }
        }
    }

    /// Adds the rows of another file.
    fn append(&mut self, other: Rows) {
        let rows = self.round.len();
        let renamed = self.names.adopt(other.names);
        for (column, names) in self.texts.iter_mut().zip(other.texts) {
            column.extend(names.into_iter().map(|name| renamed[name as usize]));
        }
        for (series, values) in other.values {
            let column = self.values.entry(series).or_default();
            column.resize(rows, f64::NAN);
            column.extend(values);
        }
        self.round.extend(other.round);
        self.records += other.records;
    }

    fn frame(mut self) -> Result<(DataFrame, Names), Error> {
        let rows = self.round.len();
        let renamed = self.names.sort();
        let mut columns = Vec::new();
        for (title, mut names) in NAMES.into_iter().zip(self.texts) {
            names.iter_mut().for_each(|name| *name = renamed[*name as usize]);
            columns.push(Column::new(title.into(), names));
        }
        columns.push(Column::new("round".into(), self.round));
        for series in Series::all() {
            if let Some(mut values) = self.values.remove(&series) {
                values.resize(rows, f64::NAN);
                columns.push(Column::new(series.to_string().into(), values));
            }
        }
        Ok((DataFrame::new_infer_height(columns)?, self.names))
    }
}

/// What tells a build from those of other series: its features or, of another engine, the file that
/// describes it, whatever its revision.
fn build(subject: &Subject) -> String {
    const END: &str = ".toml";
    let name = Arm::unmarked(&subject.name);
    if !name.starts_with("external:") {
        return subject.features.join(",");
    }
    let revision = name.find(".toml@").map(|at| at + END.len());
    name[..revision.unwrap_or(name.len())].to_owned()
}

/// The series that may have a value in a round: those of the metrics that it has samples of.
fn measured(samples: &Samples) -> impl Iterator<Item = Series> {
    let iterations = samples.iterations.iter().flat_map(|iteration| iteration.values.keys());
    let metrics: BTreeSet<_> = samples.once.keys().chain(iterations).copied().collect();
    metrics.into_iter().flat_map(Series::of)
}
