//! The gap between a fork and its upstream: a line for each commit, where they conflict, and how to
//! go on.

use std::fmt::Write as _;

use comfy_table::Cell;

use super::{count, push, short, table};
use crate::upstream::{Ahead, Evidence, Forecast, Gap, Standing};

/// The gap, oldest commit first.
pub(crate) fn gap(gap: &Gap) -> String {
    let mut text = format!(
        "fork {}, upstream {}, parted at {}\n",
        short(&gap.fork),
        short(&gap.upstream),
        short(&gap.parting)
    );
    if gap.ahead.is_empty() {
        text.push_str("\nthe fork has everything that the upstream has\n");
        return text;
    }
    let mut table = table(vec![
        Cell::new("commit"),
        Cell::new("date"),
        Cell::new("state"),
        Cell::new("needs"),
        Cell::new("subject"),
    ]);
    for ahead in &gap.ahead {
        let needs: Vec<&str> = ahead.needs.iter().map(|hash| short(hash)).collect();
        table.add_row([
            Cell::new(short(&ahead.change.hash)),
            Cell::new(&ahead.change.date),
            Cell::new(state(ahead)),
            Cell::new(needs.join(" ")),
            Cell::new(&ahead.change.subject),
        ]);
    }
    text.push('\n');
    push(&mut text, &table);

    let conflicts = gap.ahead.iter().filter_map(|ahead| match &ahead.state {
        Standing::Open(Forecast::Conflict(files)) => Some((&ahead.change.hash, files)),
        Standing::Open(_) | Standing::Picked(..) => None,
    });
    for (place, (hash, files)) in conflicts.enumerate() {
        let lead = if place == 0 { "\n" } else { "" };
        let _ = writeln!(text, "{lead}{} conflicts in {}", short(hash), files.join(", "));
    }

    let is = |wanted: fn(&Standing) -> bool| {
        gap.ahead.iter().filter(|ahead| wanted(&ahead.state)).count()
    };
    let _ = writeln!(
        text,
        "\n{} ahead: {} picked, {} clean, {} in conflict, {} empty",
        count(gap.ahead.len(), "commit"),
        is(|state| matches!(state, Standing::Picked(..))),
        is(|state| matches!(state, Standing::Open(Forecast::Clean(_)))),
        is(|state| matches!(state, Standing::Open(Forecast::Conflict(_)))),
        is(|state| matches!(state, Standing::Open(Forecast::Empty))),
    );
    let clean = gap.ahead.iter().filter(|a| matches!(a.state, Standing::Open(Forecast::Clean(_))));
    let clean = clean.filter(|ahead| ahead.change.parent.is_some());
    let clean: Vec<&str> = clean.map(|ahead| short(&ahead.change.hash)).collect();
    if !clean.is_empty() {
        let _ = writeln!(
            text,
            "those that apply, in order: windtunnel upstream pick {} --checks FILE",
            clean.join(" ")
        );
    }
    text
}

fn state(ahead: &Ahead) -> String {
    match &ahead.state {
        Standing::Picked(commit, Evidence::Trailer) => format!("picked as {}", short(commit)),
        Standing::Picked(commit, Evidence::Patch) => {
            format!("picked as {}, by its patch", short(commit))
        }
        Standing::Picked(commit, Evidence::Subject) => {
            format!("picked as {}, by its subject", short(commit))
        }
        Standing::Open(Forecast::Clean(_)) if ahead.change.parent.is_none() => {
            "clean, but a first commit: it is not picked".to_owned()
        }
        Standing::Open(Forecast::Clean(_)) => "clean".to_owned(),
        Standing::Open(Forecast::Empty) => "empty: it is there already".to_owned(),
        Standing::Open(Forecast::Conflict(_)) => "conflict".to_owned(),
    }
}
