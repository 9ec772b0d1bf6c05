//! A bench written with criterion: runs one benchmark and reads its samples.
//!
//! criterion leaves its samples in files: for each sample, the number of iterations timed together
//! and the time they took. It warms up by itself and reports no output.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use windtunnel_ledger::Metric;
use windtunnel_ledger::case::{Benchmark, Case, Source};
use windtunnel_ledger::record::{Digest, Iteration, IterationKind};
use windtunnel_ledger::timeline::Values;
use windtunnel_ledger::wire::Message;

use super::{filled, loaded, quoted, say, shell};
use crate::external::Criterion;

/// Where criterion leaves its files.
const HOME: &str = "CRITERION_HOME";
/// The folder in which a benchmark leaves its latest results.
const NEW: &str = "new";
/// The fewest samples that criterion accepts, unless `--quick` is given.
const FEWEST: usize = 10;
/// What criterion writes after each benchmark's name in a list.
const IN_LIST: &str = ": benchmark";

/// What criterion writes about a benchmark.
#[derive(Debug, Deserialize)]
struct About {
    full_id: String,
    throughput: Option<Throughput>,
}

/// The amount that one iteration handles.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
enum Throughput {
    Bits(f64),
    Bytes(f64),
    BytesDecimal(f64),
    Elements(f64),
    ElementsAndBytes { elements: f64, bytes: f64 },
}

/// The samples of a benchmark: iterations per sample, and the nanoseconds they took together.
#[derive(Debug, Deserialize)]
struct Sampled {
    iters: Vec<f64>,
    times: Vec<f64>,
}

/// Runs a case and returns the last message to send.
pub(super) fn case(criterion: &Criterion, folder: &Path, case: &Case) -> Result<Message> {
    let Source::Bench(benchmark) = &case.model.source else {
        let reason = format!(
            "benches cannot run `{}`: choose scenarios of workload `criterion`",
            case.workload.name()
        );
        return Ok(Message::Unsupported { reason });
    };
    let home = tempfile::tempdir().context("cannot create a folder for samples")?;
    // Criterion's own analysis of the samples is not read, so it does as little as possible.
    let arguments = format!("--exact {} --noplot --nresamples 1000", quoted(&benchmark.name));
    run(criterion, folder, benchmark, &arguments, home.path())?;
    let values = values(home.path(), &benchmark.name)?;
    say(&loaded("criterion", BTreeMap::new()))?;
    let digest = Digest::of_outputs([]);
    say(&Message::Iteration(Iteration { kind: IterationKind::Timed, digest, values }))?;
    Ok(Message::End { values: BTreeMap::new() })
}

/// The names of the benchmarks in the bench `target`, written `package/bench`.
pub(super) fn benchmarks(
    criterion: &Criterion,
    folder: &Path,
    target: &str,
) -> Result<Vec<String>> {
    let (package, bench) = target.split_once('/').context("a bench is written `package/bench`")?;
    let name = String::new();
    let benchmark = Benchmark { package: package.to_owned(), bench: bench.to_owned(), name };
    let home = tempfile::tempdir().context("cannot create a folder for samples")?;
    let text = run(criterion, folder, &benchmark, "--list", home.path())?;
    let names = text.lines().filter_map(|line| line.strip_suffix(IN_LIST));
    Ok(names.map(str::to_owned).collect())
}

/// Runs a bench with these arguments and returns what it prints to stdout.
fn run(
    criterion: &Criterion,
    folder: &Path,
    benchmark: &Benchmark,
    arguments: &str,
    home: &Path,
) -> Result<String> {
    let words = [
        ("package", quoted(&benchmark.package)),
        ("bench", quoted(&benchmark.bench)),
        ("arguments", arguments.to_owned()),
    ];
    let line = filled(&criterion.command, &words);
    let output = shell(&line, folder)
        .env(HOME, home)
        .output()
        .with_context(|| format!("cannot start `{line}`"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    let last = said.lines().rev().find(|line| !line.trim().is_empty());
    let last = last.map_or_else(String::new, |line| format!(": {}", line.trim()));
    ensure!(output.status.success(), "`{line}` failed ({}){last}", output.status);
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The values that a benchmark left below `home`.
fn values(home: &Path, name: &str) -> Result<Values> {
    let mut others = Vec::new();
    for folder in left(home) {
        let about: About = read(&folder.join("benchmark.json"))?;
        if about.full_id == name {
            let sampled: Sampled = read(&folder.join("sample.json"))?;
            return sampled.values(name, about.throughput);
        }
        others.push(format!("`{}`", about.full_id));
    }
    others.sort();
    match others.is_empty() {
        true => bail!(
            "benchmark `{name}` left no samples: is it in this bench, and is that written with criterion?"
        ),
        false => bail!(
            "benchmark `{name}` left no samples, but {} did: write `{{arguments}}` in the command, which names it",
            others.join(", ")
        ),
    }
}

/// The folders below `home` that hold samples.
fn left(home: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(home).into_iter().flatten().flatten();
    let folders = entries.map(|entry| entry.path()).filter(|path| path.is_dir());
    let found = folders.flat_map(|folder| match folder.ends_with(NEW) {
        true if folder.join("sample.json").is_file() => vec![folder],
        _ => left(&folder),
    });
    found.collect()
}

/// Reads a JSON file that criterion wrote.
fn read<T: DeserializeOwned>(path: &Path) -> Result<T> {
    let wrong = || format!("`{}` is not what criterion writes", path.display());
    let text = std::fs::read_to_string(path).with_context(wrong)?;
    serde_json::from_str(&text).with_context(wrong)
}

impl Sampled {
    /// The time per iteration of each sample, and the rate that follows from the throughput.
    fn values(&self, name: &str, throughput: Option<Throughput>) -> Result<Values> {
        let Sampled { iters, times } = self;
        let found = times.len();
        ensure!(
            found >= FEWEST,
            "benchmark `{name}` left {found} samples, and fewer than {FEWEST} say nothing: do not run it with `--quick`"
        );
        let are_times = |numbers: &[f64]| numbers.iter().all(|n| n.is_finite() && *n > 0.0);
        ensure!(
            iters.len() == found && are_times(iters) && are_times(times),
            "benchmark `{name}` left samples that are not times"
        );
        let times: Vec<f64> = times.iter().zip(iters).map(|(time, iters)| time / iters).collect();
        let rate = |amount: f64| times.iter().map(|time| amount * 1e9 / time).collect();
        let mut values = Values::new();
        match throughput {
            None => (),
            Some(Throughput::Elements(elements)) => {
                values.insert(Metric::ElementRate, rate(elements));
            }
            Some(Throughput::Bytes(bytes) | Throughput::BytesDecimal(bytes)) => {
                values.insert(Metric::ByteRate, rate(bytes));
            }
            Some(Throughput::Bits(bits)) => {
                values.insert(Metric::ByteRate, rate(bits / 8.0));
            }
            Some(Throughput::ElementsAndBytes { elements, bytes }) => {
                values.insert(Metric::ElementRate, rate(elements));
                values.insert(Metric::ByteRate, rate(bytes));
            }
        }
        values.insert(Metric::IterationTime, times);
        Ok(values)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The values read from these samples of a benchmark `a/b` with this throughput.
    fn of(sample: &str, throughput: &str, name: &str) -> Result<Values> {
        let home = tempfile::tempdir().unwrap();
        let folder = home.path().join("a").join("b").join(NEW);
        std::fs::create_dir_all(&folder).unwrap();
        let about = format!(
            r#"{{"group_id":"a","function_id":"b","value_str":null,"throughput":{throughput},"full_id":"a/b","directory_name":"a/b","title":"a/b"}}"#
        );
        std::fs::write(folder.join("benchmark.json"), about).unwrap();
        std::fs::write(folder.join("sample.json"), sample).unwrap();
        values(home.path(), name)
    }

    const SAMPLE: &str = r#"{"sampling_mode":"Linear","iters":[1,2,3,4,5,6,7,8,9,10],"times":[500,1000,1500,2000,2500,3000,3500,4000,4500,6000]}"#;

    #[test]
    fn samples_are_the_times_of_one_iteration_and_what_it_handles() {
        let times = of(SAMPLE, "null", "a/b").unwrap();
        let expected = [vec![500.0; 9], vec![600.0]].concat();
        assert_eq!(times, Values::from([(Metric::IterationTime, expected.clone())]));
        let rate = |throughput, metric: Metric| of(SAMPLE, throughput, "a/b").unwrap()[&metric][0];
        assert_eq!(rate(r#"{"Elements":2}"#, Metric::ElementRate), 4e6);
        assert_eq!(rate(r#"{"Bytes":4}"#, Metric::ByteRate), 8e6);
        assert_eq!(rate(r#"{"BytesDecimal":4}"#, Metric::ByteRate), 8e6);
        assert_eq!(rate(r#"{"Bits":8}"#, Metric::ByteRate), 2e6);
        let both = r#"{"ElementsAndBytes":{"elements":1,"bytes":2}}"#;
        assert_eq!([Metric::ElementRate, Metric::ByteRate].map(|m| rate(both, m)), [2e6, 4e6]);
    }

    #[test]
    fn what_cannot_be_samples_is_told() {
        let complaint =
            |sample: &str, name: &str| of(sample, "null", name).unwrap_err().to_string();
        let few = r#"{"sampling_mode":"Flat","iters":[1,1],"times":[5,5]}"#;
        insta::assert_snapshot!(complaint(few, "a/b"), @"benchmark `a/b` left 2 samples, and fewer than 10 say nothing: do not run it with `--quick`");
        let zero = SAMPLE.replace("[500,", "[0,");
        insta::assert_snapshot!(complaint(&zero, "a/b"), @"benchmark `a/b` left samples that are not times");
        let short = SAMPLE.replace("9,10]", "9]");
        insta::assert_snapshot!(complaint(&short, "a/b"), @"benchmark `a/b` left samples that are not times");
        insta::assert_snapshot!(complaint(SAMPLE, "a/c"), @"benchmark `a/c` left no samples, but `a/b` did: write `{arguments}` in the command, which names it");
        let garbage = complaint("{}", "a/b");
        assert!(garbage.ends_with("new/sample.json` is not what criterion writes"), "{garbage}");
        let nothing = tempfile::tempdir().unwrap();
        let nothing = values(nothing.path(), "a/b").unwrap_err().to_string();
        insta::assert_snapshot!(nothing, @"benchmark `a/b` left no samples: is it in this bench, and is that written with criterion?");
    }
}
