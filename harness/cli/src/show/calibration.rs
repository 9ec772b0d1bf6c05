//! What calibration found out about a machine: noise and MDE of each series, then false alarms and
//! floors.

use std::fmt::Write as _;

use comfy_table::Cell;
use windtunnel_ledger::calibration::Calibration;
use windtunnel_ledger::unit::share;

use super::{count, push, right, table};

/// All sessions in numbers; the noise is that of the newest session.
pub(crate) fn calibration(known: &Calibration) -> String {
    let mut text = format!("machine {}\n\n", known.machine);
    let mut table = table(
        [Cell::new("case"), Cell::new("series")]
            .into_iter()
            .chain(["noise of a pair", "bias", "pairs", "MDE"].map(right))
            .collect(),
    );
    let digits = |share: f64| format!("{:.2}%", share * 100.0);
    for noise in known.sessions.last().into_iter().flat_map(|session| &session.noise) {
        let named = [Cell::new(&noise.case), Cell::new(noise.series.label())];
        let numbers = [
            digits(noise.pair_sd),
            digits(noise.effect),
            noise.pairs.to_string(),
            share(noise.mde),
        ];
        table.add_row(named.into_iter().chain(numbers.map(right)));
    }
    push(&mut text, &table);

    let told = known.false_alarms();
    let _ = writeln!(
        text,
        "\n{} of {} unchanged series called changed in {}: a rate of at most {} with 95% confidence",
        told.alarms,
        told.judged,
        count(known.sessions.len(), "session"),
        digits(told.bound)
    );
    let floors = known.floors();
    for (class, bias) in &floors.bias {
        let days = match floors.session_sd.get(class) {
            Some(sd) => format!("days differ by {}", digits(*sd)),
            None => "knowing how much days differ takes a session of the same code on another day"
                .to_owned(),
        };
        let _ = writeln!(text, "{class}: a bias of {} is no alarm; {days}", digits(*bias));
    }
    text
}
