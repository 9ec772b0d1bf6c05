//! How near each case came to the best that its machine can do.

use comfy_table::Cell;
use windtunnel_ledger::case::Case;
use windtunnel_ledger::metric::Metric;
use windtunnel_ledger::record::{Record, Run};
use windtunnel_ledger::roof::standings;
use windtunnel_ledger::summary::Summary;

use super::percentiles::short;
use super::{push, right, table};

/// The shares of one scenario: a row for each case and subject. Empty if none is known.
pub(super) fn of_scenario(
    run: &Run,
    scenario: &str,
    rows: &[(&Case, &Summary)],
    records: &[Record],
) -> String {
    let several = run.subjects.len() > 1;
    let mut header = vec![Cell::new("case")];
    if several {
        header.push(Cell::new("subject"));
    }
    let labels = [Metric::TokenBytes, Metric::TokenFlops].map(|metric| metric.spec().label);
    header.extend(labels.map(right));
    header.extend([right("share of the roof"), Cell::new("bound by")]);
    let mut table = table(header);
    let mut roof = None;
    for (case, summary) in rows {
        for standing in standings(std::slice::from_ref(*summary), records) {
            let mut row = vec![Cell::new(short(case, rows))];
            if several {
                row.push(Cell::new(&summary.subject.name));
            }
            row.push(right(Metric::TokenBytes.show(standing.bytes)));
            row.push(right(Metric::TokenFlops.show(standing.flops)));
            row.push(right(format!("{:.0} %", standing.share * 100.0)));
            row.push(Cell::new(standing.limit));
            table.add_row(row);
            roof.get_or_insert(standing.roof);
        }
    }
    let Some(roof) = roof else { return String::new() };
    let mut text = format!("\n{scenario}: share of the roof, which is {roof}\n");
    push(&mut text, &table);
    text
}
