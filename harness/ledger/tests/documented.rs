//! What the documents say about metrics and the probe protocol, checked against the types.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use windtunnel_ledger::metric::{Metric, Spec};
use windtunnel_ledger::record::IterationKind;
use windtunnel_ledger::wire::{Message, Order, PROTOCOL};

/// A document of the workspace.
fn document(path: &str) -> String {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");
    std::fs::read_to_string(format!("{root}/{path}")).unwrap()
}

/// A value that serialises as a string.
fn word(value: impl Serialize) -> String {
    serde_json::to_value(value).unwrap().as_str().unwrap().to_owned()
}

#[test]
fn the_table_of_metrics_says_of_each_what_the_code_does() {
    let scenarios = document("scenarios/README.md");
    let head = "| in files | in tables | class | unit | better | definition |\n";
    let (_, table) = scenarios.split_once(head).unwrap();
    let rows: Vec<&str> = table.lines().skip(1).take_while(|line| line.starts_with('|')).collect();
    for (row, metric) in rows.iter().zip(Metric::ALL) {
        let Spec { name, label, unit, better, class, .. } = metric.spec();
        let (unit, better) = (word(unit), word(better));
        let expected = format!("| `{name}` | {label} | `{class}` | {unit} | {better} | ");
        assert!(row.starts_with(&expected), "expected {expected}\nfound    {row}");
    }
    assert_eq!(rows.len(), Metric::ALL.len());
}

/// Parses `line`, and checks that the type knows everything in it.
fn read<T: DeserializeOwned + Serialize>(line: &str) -> T {
    let read: T = serde_json::from_str(line).unwrap();
    let written: Value = serde_json::from_str(line).unwrap();
    assert_eq!(serde_json::to_value(&read).unwrap(), written);
    read
}

#[test]
fn the_example_of_a_round_is_what_both_sides_would_say() {
    let upstream = document("ci/upstream.md");
    let (_, example) = upstream.split_once("```jsonl\n").unwrap();
    let (example, _) = example.split_once("\n```").unwrap();
    let mut lines = example.lines();
    let order: Order = read(lines.next().unwrap());
    assert_eq!(order.protocol, PROTOCOL);
    let messages: Vec<Message> = lines.map(read).collect();
    assert!(matches!(messages.first(), Some(Message::Hello { protocol: PROTOCOL, .. })));
    assert!(matches!(messages.last(), Some(Message::End { .. })));
    let mut kinds = Vec::new();
    for message in &messages {
        if let Message::Iteration(iteration) = message {
            kinds.push(iteration.kind);
            for metric in order.case.workload.metrics() {
                assert!(iteration.values.contains_key(metric), "an iteration without {metric}");
            }
        }
    }
    let (warmup, timed) = (order.case.warmup as usize, order.case.iterations.get() as usize);
    let mut expected = vec![IterationKind::WarmUp; warmup];
    expected.extend(vec![IterationKind::Timed; timed]);
    assert_eq!(kinds, expected);
}
