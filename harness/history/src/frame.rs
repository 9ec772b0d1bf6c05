//! A store as one frame: a row for each record and metric.
//!
//! | column | type | what |
//! |---|---|---|
//! | `run` | str | the run's name |
//! | `at` | str | when the round began, RFC 3339 in UTC, which sorts as text |
//! | `machine` | str | the kind of machine, [`Machine::key`] |
//! | `commit` | str or null | the subject's commit, with `+` if files differed from it |
//! | `subject` | str | the subject as the user named it |
//! | `case` | str | the case's id |
//! | `metric` | str | the metric's name |
//! | `round` | u32 | which round |
//! | `value` | f64 | the median of the round's samples, in `unit` |
//! | `unit` | str | `ns`, `B`, `tok/s`, `req/s`, `nat`, or `1` for a share, a ratio or a count |
//!
//! Rounds that failed or were skipped have no value and no row.
//!
//! [`Machine::key`]: windtunnel_ledger::environment::Machine::key

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use polars::prelude::{Column, DataFrame};
use windtunnel_ledger::metric::{Metric, Unit};
use windtunnel_ledger::record::{Outcome, Record};
use windtunnel_ledger::stats;
use windtunnel_ledger::store::{self, StoreError};

use crate::Error;

/// What a store holds.
#[derive(Debug)]
pub struct Loaded {
    /// One row for each record and metric.
    pub frame: DataFrame,
    /// How many files of runs are in the frame.
    pub files: usize,
    /// Files that cannot be read, each with its reason. None of their records is in the frame.
    pub unread: Vec<StoreError>,
}

/// Reads every `*.jsonl` file below `stores`, in the order of their paths. A directory that does
/// not exist holds nothing.
///
/// # Errors
/// If a directory cannot be listed. A file that cannot be read is no error: see
/// [`Loaded::unread`].
pub fn load(stores: &[PathBuf]) -> Result<Loaded, Error> {
    let mut paths = BTreeSet::new();
    for store in stores.iter().filter(|store| store.exists()) {
        walk(store, &mut paths)?;
    }
    let mut rows = Rows::default();
    let mut unread = Vec::new();
    for path in &paths {
        match store::read(path) {
            Ok(contents) => contents.records.iter().for_each(|record| rows.push(record)),
            Err(error) => unread.push(error),
        }
    }
    Ok(Loaded { frame: rows.frame()?, files: paths.len() - unread.len(), unread })
}

/// Collects the files below `dir`; links to directories are not followed.
fn walk(dir: &Path, paths: &mut BTreeSet<PathBuf>) -> Result<(), Error> {
    let failed = |source| Error::Walk { path: dir.to_owned(), source };
    for entry in std::fs::read_dir(dir).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let path = entry.path();
        if entry.file_type().map_err(failed)?.is_dir() {
            walk(&path, paths)?;
        } else if path.extension().is_some_and(|extension| extension == "jsonl") {
            paths.insert(path);
        }
    }
    Ok(())
}

/// The columns, while they grow.
#[derive(Default)]
struct Rows {
    run: Vec<String>,
    at: Vec<String>,
    machine: Vec<String>,
    commit: Vec<Option<String>>,
    subject: Vec<String>,
    case: Vec<String>,
    metric: Vec<&'static str>,
    round: Vec<u32>,
    value: Vec<f64>,
    unit: Vec<&'static str>,
}

impl Rows {
    fn push(&mut self, record: &Record) {
        let Outcome::Measured(samples) = &record.outcome else { return };
        let machine = record.environment.machine.key();
        let dirty = if record.subject.dirty { "+" } else { "" };
        let commit = record.subject.commit.as_ref().map(|commit| format!("{commit}{dirty}"));
        for metric in Metric::ALL {
            let Some(value) = stats::median(&samples.of(metric)) else { continue };
            self.run.push(record.run.0.clone());
            self.at.push(record.at.clone());
            self.machine.push(machine.clone());
            self.commit.push(commit.clone());
            self.subject.push(record.subject.name.clone());
            self.case.push(record.case.id.to_string());
            self.metric.push(metric.spec().name);
            self.round.push(record.round);
            self.value.push(value);
            self.unit.push(unit(metric));
        }
    }

    fn frame(self) -> Result<DataFrame, Error> {
        let Rows { run, at, machine, commit, subject, case, metric, round, value, unit } = self;
        Ok(DataFrame::new_infer_height(vec![
            Column::new("run".into(), run),
            Column::new("at".into(), at),
            Column::new("machine".into(), machine),
            Column::new("commit".into(), commit),
            Column::new("subject".into(), subject),
            Column::new("case".into(), case),
            Column::new("metric".into(), metric),
            Column::new("round".into(), round),
            Column::new("value".into(), value),
            Column::new("unit".into(), unit),
        ])?)
    }
}

fn unit(metric: Metric) -> &'static str {
    match metric.spec().unit {
        Unit::Nanoseconds => "ns",
        Unit::Bytes => "B",
        Unit::TokensPerSecond => "tok/s",
        Unit::RequestsPerSecond => "req/s",
        Unit::Nats => "nat",
        Unit::Operations => "FLOP",
        Unit::Share | Unit::Ratio | Unit::Count | Unit::Number => "1",
    }
}
