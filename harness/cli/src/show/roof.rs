//! How near each case came to what its machine can do at best.

use comfy_table::Cell;
use windtunnel_ledger::case::Case;
use windtunnel_ledger::metric::Metric;
use windtunnel_ledger::record::{Record, Run};
use windtunnel_ledger::roof::{Roof, standings};
use windtunnel_ledger::summary::Summary;
use windtunnel_ledger::unit::Bytes;

use super::percentiles::short;
use super::{push, right, table};

/// The shares of one scenario: a row for each case and subject. Nothing where none is known.
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
    let mut text = format!("\n{scenario}: share of the roof, which is {}\n", in_words(&roof));
    push(&mut text, &table);
    text
}

/// `18.2 GiB/s read, 95.0 GFLOP/s in f32 and 60.1 in bf16 by 2 threads`.
fn in_words(roof: &Roof) -> String {
    let Roof { threads, read, copy: _, f32, bf16, multiprocessors } = *roof;
    let who = match (multiprocessors, threads) {
        (Some(multiprocessors), _) => format!("a GPU of {multiprocessors} multiprocessors"),
        (None, 1) => "1 thread".to_owned(),
        (None, threads) => format!("{threads} threads"),
    };
    let rate = |rate: u64| Metric::TokenFlops.show(rate as f64);
    format!("{}/s read, {}/s in f32 and {}/s in bf16 by {who}", Bytes(read), rate(f32), rate(bf16))
}
