//! Samples of any benchmark: one file per series, in plain JSON. `ci/judge.md` documents the
//! format.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::IgnoredAny;
use windtunnel_ledger::judge::{Evidence, Lack, Nature, Question};
use windtunnel_ledger::margin::{Margin, MarginError};
use windtunnel_ledger::metric::Better;
use windtunnel_ledger::series::Quantile;

use crate::scenario::reworded;

/// A series read from a file.
pub(super) struct Sampled {
    /// Its id.
    pub(super) id: String,
    /// The run that it belongs to; empty if the file names none.
    pub(super) run: String,
    /// How many series the run judges, as stated by this file.
    pub(super) family: usize,
    /// The unit of its values.
    pub(super) unit: String,
    /// The question to judge.
    pub(super) question: Question,
}

/// The file as written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SamplesFile {
    id: Option<String>,
    #[serde(default)]
    run: String,
    #[serde(default)]
    family: usize,
    kind: Kind,
    #[serde(default)]
    unit: String,
    mode: Mode,
    #[serde(default = "half")]
    quantile: f64,
    #[serde(alias = "margin")]
    theta: f64,
    abs_floor: Option<f64>,
    #[serde(default)]
    bias_floor: f64,
    #[serde(default)]
    warmup: usize,
    baseline: Option<Rounds>,
    baseline_sessions: Option<Vec<Rounds>>,
    session_sd_prior: Option<f64>,
    candidate: Rounds,
    /// What the author of synthetic samples knows about them. No judge looks at it.
    #[serde(rename = "truth")]
    _truth: Option<IgnoredAny>,
}

/// The samples of each round. Rounds were measured in the order of their names.
type Rounds = BTreeMap<String, Vec<f64>>;

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    Time,
    Throughput,
    Bytes,
    Count,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Mode {
    Paired,
    Stored,
}

fn half() -> f64 {
    0.5
}

/// The default absolute margin in bytes, below which no relative change counts: 1 MiB.
const FLOOR: f64 = 1_048_576.0;

/// Why samples cannot be judged.
#[derive(Debug, thiserror::Error)]
pub(super) enum SamplesError {
    #[error("cannot read `{}`", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("there is no file `case_*.json` in folder `{}`: name the files", path.display())]
    Empty { path: PathBuf },
    #[error("`{}`, line {line}: {reason}", path.display())]
    Syntax { path: PathBuf, line: usize, reason: String },
    #[error("`{}`, key `{key}`: {reason}", path.display())]
    Key { path: PathBuf, key: String, reason: String },
    #[error("`{}` and `{}` are both series `{id}`: give one of them another `id`", first.display(), second.display())]
    Twice { first: PathBuf, second: PathBuf, id: String },
}

/// Reads the files, including those in folders.
pub(super) fn read(paths: &[PathBuf]) -> Result<Vec<Sampled>, SamplesError> {
    let mut files = Vec::new();
    for path in paths {
        match path.is_dir() {
            true => files.extend(files_in(path)?),
            false => files.push(path.clone()),
        }
    }
    let mut seen: BTreeMap<String, &PathBuf> = BTreeMap::new();
    let mut series = Vec::new();
    for path in &files {
        let sampled = read_file(path)?;
        if let Some(first) = seen.insert(sampled.id.clone(), path) {
            let (first, second) = (first.clone(), path.clone());
            return Err(SamplesError::Twice { first, second, id: sampled.id });
        }
        series.push(sampled);
    }
    Ok(series)
}

fn files_in(folder: &Path) -> Result<Vec<PathBuf>, SamplesError> {
    let refused = |source| SamplesError::Read { path: folder.to_owned(), source };
    let mut files = Vec::new();
    for entry in folder.read_dir().map_err(refused)? {
        let entry = entry.map_err(refused)?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with("case_") && name.ends_with(".json") {
            files.push(entry.path());
        }
    }
    files.sort();
    if files.is_empty() {
        return Err(SamplesError::Empty { path: folder.to_owned() });
    }
    Ok(files)
}

fn read_file(path: &Path) -> Result<Sampled, SamplesError> {
    let text = std::fs::read_to_string(path)
        .map_err(|source| SamplesError::Read { path: path.to_owned(), source })?;
    let mut json = serde_json::Deserializer::from_str(&text);
    let file: SamplesFile = serde_path_to_error::deserialize(&mut json)
        .map_err(|error| complaint(path, error.path().to_string(), error.inner()))?;
    json.end().map_err(|error| SamplesError::Syntax {
        path: path.to_owned(),
        line: error.line(),
        reason: "the file continues after its object: write one series per file".to_owned(),
    })?;
    sampled(path, file)
}

/// serde's error, with the key that it is about if there is one.
fn complaint(path: &Path, key: String, error: &serde_json::Error) -> SamplesError {
    let path = path.to_owned();
    let text = error.to_string();
    // serde appends the position, which is reported separately.
    let reason = text.split(" at line ").next().unwrap_or_default();
    if let Some(missing) = reason.strip_prefix("missing field ") {
        let key = missing.trim_matches('`').to_owned();
        return SamplesError::Key { path, key, reason: "missing".to_owned() };
    }
    match error.is_data() && key != "." {
        true => SamplesError::Key { path, key, reason: reworded(reason) },
        false => SamplesError::Syntax { path, line: error.line(), reason: reworded(reason) },
    }
}

/// The series of a file, if its keys are consistent.
fn sampled(path: &Path, file: SamplesFile) -> Result<Sampled, SamplesError> {
    let question = question(&file).map_err(|Senseless { key, reason }| SamplesError::Key {
        path: path.to_owned(),
        key: key.to_owned(),
        reason,
    })?;
    let stem = || path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    Ok(Sampled {
        id: file.id.unwrap_or_else(stem),
        run: file.run,
        family: file.family,
        unit: file.unit,
        question,
    })
}

/// A key whose value is invalid, and why.
struct Senseless {
    key: &'static str,
    reason: String,
}

fn senseless<T>(key: &'static str, reason: impl Into<String>) -> Result<T, Senseless> {
    Err(Senseless { key, reason: reason.into() })
}

fn question(file: &SamplesFile) -> Result<Question, Senseless> {
    let not_negative = |key, value: f64| match value < 0.0 {
        true => senseless(key, format!("`{value}` is negative: write 0 or more")),
        false => Ok(value),
    };
    let quantile = match file.quantile {
        0.5 => Quantile::Median,
        0.95 => Quantile::P95,
        0.99 => Quantile::P99,
        other => return senseless("quantile", format!("`{other}`: write 0.5, 0.95 or 0.99")),
    };
    let (better, nature, floor) = match file.kind {
        Kind::Time => (Better::Lower, Nature::Timed, 0.0),
        Kind::Throughput => (Better::Higher, Nature::Timed, 0.0),
        Kind::Bytes => (Better::Lower, Nature::Counted, FLOOR),
        Kind::Count => (Better::Lower, Nature::Counted, 0.0),
    };
    let margin = Margin::new(file.theta, file.abs_floor.unwrap_or(floor)).or_else(|error| {
        let key = match error {
            MarginError::Relative(_) => "theta",
            MarginError::Absolute(_) => "abs_floor",
        };
        senseless(key, error.to_string())
    })?;
    let session_sd = file.session_sd_prior.map(|sd| not_negative("session_sd_prior", sd));
    let evidence = match file.mode {
        Mode::Paired => paired(file, quantile)?,
        Mode::Stored => stored(file, quantile, session_sd.transpose()?)?,
    };
    let bias = not_negative("bias_floor", file.bias_floor)?;
    Ok(Question { better, nature, margin, bias, evidence })
}

/// The rounds of both sides that share a name.
fn paired(file: &SamplesFile, quantile: Quantile) -> Result<Evidence, Senseless> {
    if file.baseline_sessions.is_some() {
        let reason = "sessions of other days belong to `\"mode\": \"stored\"`";
        return senseless("baseline_sessions", reason);
    }
    let Some(baseline) = &file.baseline else {
        return senseless("baseline", "missing: write the rounds that alternated with `candidate`");
    };
    let partner = |(name, head)| Some((baseline.get(name)?, head));
    let (base, head): (Vec<_>, Vec<_>) = file.candidate.iter().filter_map(partner).unzip();
    if base.is_empty() {
        let reason =
            "no round has the name of one of `candidate`: the rounds of a pair share theirs";
        return senseless("baseline", reason);
    }
    let budget = base.len();
    let sides = reduce(base, quantile, file.warmup)
        .and_then(|base| Ok((base, reduce(head, quantile, file.warmup)?)));
    Ok(match sides {
        Ok((base, head)) => Evidence::Interleaved { base, head, budget },
        Err(lack) => Evidence::Missing(lack),
    })
}

/// The sessions of the base, or its only one, beside the rounds of the candidate.
fn stored(
    file: &SamplesFile,
    quantile: Quantile,
    session_sd: Option<f64>,
) -> Result<Evidence, Senseless> {
    let sessions: Vec<&Rounds> = match (&file.baseline_sessions, &file.baseline) {
        (Some(sessions), _) => sessions.iter().collect(),
        (None, Some(only)) => vec![only],
        (None, None) => {
            return senseless("baseline", "missing, and so is `baseline_sessions`: write one");
        }
    };
    let reduced = |rounds: &Rounds| reduce(rounds.values(), quantile, file.warmup);
    let sessions: Result<Vec<_>, Lack> = sessions.into_iter().map(reduced).collect();
    let sides = sessions.and_then(|sessions| Ok((sessions, reduced(&file.candidate)?)));
    Ok(match sides {
        Ok((sessions, head)) => Evidence::Stored { sessions, session_sd, head },
        Err(lack) => Evidence::Missing(lack),
    })
}

/// One value per round: the quantile of its samples after warm-up.
fn reduce<'a>(
    rounds: impl IntoIterator<Item = &'a Vec<f64>>,
    quantile: Quantile,
    warmup: usize,
) -> Result<Vec<f64>, Lack> {
    let of_round = |samples: &Vec<f64>| {
        let counted = samples.get(warmup..).unwrap_or_default();
        quantile.of(counted).ok_or(Lack::Samples { needs: quantile.needs() })
    };
    rounds.into_iter().map(of_round).collect()
}
