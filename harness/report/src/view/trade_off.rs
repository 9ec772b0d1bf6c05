//! The costs and benefits of quantised weights: a table per model, a row per format.
//!
//! Speed is measured in one scenario, quality in another, memory in all: here they are side by
//! side, each as a ratio to the unquantised model, if that was measured too.

use windtunnel_ledger::case::{Case, CaseId, Quant};
use windtunnel_ledger::metric::{Metric, Unit};
use windtunnel_ledger::series::Series;
use windtunnel_ledger::unit::Nanos;

use super::{CaseView, Scenario, SubjectResult};

const WEIGHTS: Series = Series::median(Metric::WeightBytes);

/// The formats of one model, as held by one subject.
pub(crate) struct TradeOff {
    /// The model.
    pub(crate) model: String,
    /// The index of the subject.
    pub(crate) subject: usize,
    /// What was measured: the series and the case; the weights come first, if they are known.
    pub(crate) columns: Vec<Column>,
    /// The formats, with their values column by column.
    pub(crate) rows: Vec<(Quant, Vec<Option<Value>>)>,
}

/// One column.
#[derive(Clone, PartialEq)]
pub(crate) struct Column {
    /// What was measured.
    pub(crate) series: Series,
    /// What distinguishes the case within its scenario, apart from format and model; may be empty.
    pub(crate) case: String,
    /// The case without its format, id and deadline; none for the weights, which are the same in
    /// all cases.
    key: Option<Case>,
}

/// One value of a format.
#[derive(Clone, Copy, PartialEq)]
pub(crate) struct Value {
    /// The median of the rounds.
    pub(crate) median: f64,
    /// The ratio to the unquantised model; none for that model itself.
    pub(crate) ratio: Option<f64>,
}

/// A table for each model that was held in several formats.
pub(super) fn of(scenarios: &[Scenario<'_>]) -> Vec<TradeOff> {
    let mut tables: Vec<TradeOff> = Vec::new();
    for scenario in scenarios {
        for case in &scenario.cases {
            for result in &case.results {
                add(&mut tables, scenario, case, result);
            }
        }
    }
    tables.retain(|table| table.rows.len() > 1);
    for table in &mut tables {
        table.finish();
    }
    tables.retain(|table| !table.columns.is_empty());
    tables
}

fn add(
    tables: &mut Vec<TradeOff>,
    scenario: &Scenario<'_>,
    case: &CaseView<'_>,
    result: &SubjectResult<'_>,
) {
    let Case { model, quant, workload, .. } = case.case;
    let known = tables
        .iter()
        .position(|table| table.model == model.name && table.subject == result.subject);
    let weights = Column { series: WEIGHTS, case: String::new(), key: None };
    let table = known.unwrap_or_else(|| {
        let (model, subject) = (model.name.clone(), result.subject);
        let columns = vec![weights.clone()];
        tables.push(TradeOff { model, subject, columns, rows: Vec::new() });
        tables.len() - 1
    });
    let headline = headline(workload.metrics()).map(|metric| Column {
        series: Series::median(metric),
        case: distinction(scenario, case),
        key: Some(Case {
            id: CaseId::new("", "", &Default::default()),
            quant: Quant::None,
            // The deadline of a case follows from its earlier runs, so it does not identify the
            // case.
            deadline: Nanos(0),
            ..case.case.clone()
        }),
    });
    for column in std::iter::once(weights).chain(headline) {
        if let Some(location) = result.location(column.series) {
            tables[table].set(*quant, column, location.median);
        }
    }
}

/// The main metrics of a workload: those of quality if it has any, otherwise its speed.
fn headline(metrics: &[Metric]) -> impl Iterator<Item = Metric> {
    let is = |unit: Unit| move |metric: &Metric| metric.spec().unit == unit;
    let quality: Vec<Metric> = metrics.iter().copied().filter(is(Unit::Nats)).collect();
    let speed = metrics.iter().copied().find(is(Unit::TokensPerSecond));
    let speed = if quality.is_empty() { speed } else { None };
    quality.into_iter().chain(speed)
}

/// What distinguishes `case` within its scenario, apart from format and model.
fn distinction(scenario: &Scenario<'_>, case: &CaseView<'_>) -> String {
    let named = scenario.varying.iter().zip(&case.values);
    let others = named.filter(|(name, _)| !["quant", "model"].contains(name));
    others.map(|(name, value)| format!("{name} {value}")).collect::<Vec<_>>().join(", ")
}

impl TradeOff {
    /// Whether the weights are known: their size is an axis of the plot.
    pub(crate) fn weighs(&self) -> bool {
        self.columns.first().is_some_and(|column| column.series == WEIGHTS)
    }

    fn set(&mut self, quant: Quant, column: Column, median: f64) {
        let at = self.columns.iter().position(|known| *known == column).unwrap_or_else(|| {
            self.columns.push(column);
            self.columns.len() - 1
        });
        let row = self.rows.iter().position(|(known, _)| *known == quant).unwrap_or_else(|| {
            self.rows.push((quant, Vec::new()));
            self.rows.len() - 1
        });
        let cells = &mut self.rows[row].1;
        cells.resize(cells.len().max(at + 1), None);
        // The first scenario that measured it counts.
        cells[at].get_or_insert(Value { median, ratio: None });
    }

    /// Completes the rows, sorts them by size of the weights if known, largest first, and compares
    /// them with the unquantised one.
    fn finish(&mut self) {
        for (_, cells) in &mut self.rows {
            cells.resize(self.columns.len(), None);
        }
        // A column measured in only one format shows no trade-off; but the weights are worth
        // knowing.
        let filled = |column: usize| self.rows.iter().filter(|row| row.1[column].is_some()).count();
        let fewest = |column: usize| if column == 0 { 1 } else { 2 };
        let kept: Vec<bool> =
            (0..self.columns.len()).map(|column| filled(column) >= fewest(column)).collect();
        let mut at = kept.iter();
        self.columns.retain(|_| at.next() == Some(&true));
        for (_, cells) in &mut self.rows {
            let mut at = kept.iter();
            cells.retain(|_| at.next() == Some(&true));
        }
        if self.weighs() {
            let bytes =
                |row: &(Quant, Vec<Option<Value>>)| row.1[0].map_or(0.0, |value| value.median);
            self.rows.sort_by(|a, b| bytes(b).total_cmp(&bytes(a)));
        }
        let base = self.rows.iter().find(|(quant, _)| *quant == Quant::None);
        let Some((_, base)) = base.cloned() else { return };
        for (quant, cells) in &mut self.rows {
            for (cell, base) in cells.iter_mut().zip(&base) {
                if let (Some(cell), Some(base), true) = (cell, base, *quant != Quant::None) {
                    cell.ratio = (base.median > 0.0).then(|| cell.median / base.median);
                }
            }
        }
    }
}
