//! What a person reads in the terminal: text in aligned columns.

use windtunnel_history::series::{Known, Point, Series};
use windtunnel_ledger::compare::{Change, Row};
use windtunnel_ledger::metric::Better;

/// Digits of a commit that tell it from all others.
const COMMIT: usize = 9;

/// One series: what it is, and a line for each point.
pub(crate) fn series(series: &Series) -> String {
    let Series { case, metric, machine, points } = series;
    let spec = metric.spec();
    let better = match spec.better {
        Better::Higher => "more is better",
        Better::Lower => "less is better",
    };
    let head = ["at", "commit", "subject", "median", "spread", "rounds", "change"];
    let mut rows = vec![head.map(str::to_owned)];
    let changes = std::iter::once(String::new()).chain(series.changes().map(|row| change(&row)));
    for (point, change) in points.iter().zip(changes) {
        let Point { at, run: _, commit, subject, location } = point;
        rows.push([
            at.clone(),
            commit.as_deref().map_or_else(|| "unknown".to_owned(), short),
            subject.clone(),
            metric.show(location.median),
            location.spread.map(|spread| format!("± {}", percent(spread))).unwrap_or_default(),
            location.rounds.len().to_string(),
            change,
        ]);
    }
    let what = format!("{case}\n{}, {better}, on {machine}\n", spec.name);
    let sides =
        [Side::Left, Side::Left, Side::Left, Side::Right, Side::Right, Side::Right, Side::Left];
    format!("{what}{}\n", aligned(&rows, sides))
}

/// What there is: a line for each case, and what to ask next.
pub(crate) fn known(list: &[Known], files: usize) -> String {
    let mut rows = vec![["case", "runs", "metrics"].map(str::to_owned)];
    let row = |known: &Known| [known.case.clone(), known.runs.to_string(), names(known)];
    rows.extend(list.iter().map(row));
    let table = aligned(&rows, [Side::Left, Side::Right, Side::Left]);
    let files = if files == 1 { "1 run".to_owned() } else { format!("{files} runs") };
    let next = list.first().and_then(|known| {
        let metric = known.metrics.first()?;
        Some(format!("\nnext: windtunnel history --metric {metric} --case '{}'\n", known.case))
    });
    format!("{files}\n\n{table}{}", next.unwrap_or_default())
}

/// The metrics of a case, by their names.
pub(crate) fn names(known: &Known) -> String {
    let names: Vec<String> = known.metrics.iter().map(ToString::to_string).collect();
    names.join(", ")
}

fn change(row: &Row) -> String {
    match row.change() {
        Change::AboutEqual => Change::AboutEqual.to_string(),
        change => format!("{} {change}", percent(row.worsening().abs())),
    }
}

fn percent(fraction: f64) -> String {
    match fraction.is_finite() {
        true => format!("{:.1} %", fraction * 100.0),
        false => "infinitely".to_owned(),
    }
}

/// A commit, short; the mark of a dirty one stays.
fn short(commit: &str) -> String {
    let (commit, dirty) = match commit.strip_suffix('+') {
        Some(commit) => (commit, "+"),
        None => (commit, ""),
    };
    commit.chars().take(COMMIT).chain(dirty.chars()).collect()
}

/// At which side of its column a text stands.
#[derive(Clone, Copy)]
enum Side {
    Left,
    Right,
}

/// Rows with two spaces between columns and none at the end of a line.
fn aligned<const N: usize>(rows: &[[String; N]], sides: [Side; N]) -> String {
    let cell = |cell: &String| cell.replace('\n', " ");
    let rows: Vec<[String; N]> = rows.iter().map(|row| row.each_ref().map(cell)).collect();
    let mut widths = [0; N];
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.chars().count().max(*width);
        }
    }
    let mut text = String::new();
    for row in &rows {
        let mut line = String::new();
        for ((cell, width), side) in row.iter().zip(widths).zip(sides) {
            line += &match side {
                Side::Left => format!("{cell:<width$}  "),
                Side::Right => format!("{cell:>width$}  "),
            };
        }
        text += line.trim_end();
        text.push('\n');
    }
    text
}
