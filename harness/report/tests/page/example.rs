//! The example that newcomers see: it is what this program makes of its records.

use std::path::Path;

use windtunnel_ledger::store;
use windtunnel_report::index::{Card, Kind};

use crate::made;

const AGAIN: &str = "render it again: cargo run --release -- report reports/example/run.jsonl --history never \
    && ci/picture.sh reports/example/report.html reports/example/report.png";

#[test]
fn the_example_is_as_this_program_renders_it() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../reports/example");
    let contents = store::read(&folder.join("run.jsonl")).expect("a run");
    let made = made("example", || windtunnel_report::render(&contents).expect("a page"));
    let kept = std::fs::read_to_string(folder.join("report.html")).expect("a page");
    assert!(made == kept, "the example is not of this version; {AGAIN}");
    assert_eq!(Card::of(&kept).map(|card| card.kind), Some(Kind::Run));
}
