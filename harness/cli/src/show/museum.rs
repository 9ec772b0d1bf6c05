//! How the guards did on planted faults, for a terminal and as Markdown.

use std::fmt::Write as _;

use comfy_table::Cell;

use super::{count, push, table};
use crate::museum::{Found, Tour};

/// A line for each fault, one for each run on the clean engine, then the sum.
pub(crate) fn museum(tour: &Tour) -> String {
    let mut table = table(vec![
        Cell::new("fault"),
        Cell::new("guard"),
        Cell::new("verdict"),
        Cell::new("what it saw"),
    ]);
    for shown in &tour.faults {
        let found = &shown.found;
        table.add_row([
            Cell::new(&shown.fault),
            Cell::new(&shown.guard),
            Cell::new(verdict(found)),
            Cell::new(seen(found)),
        ]);
    }
    for clean in &tour.clean {
        let found = &clean.found;
        table.add_row([
            Cell::new("(none)"),
            Cell::new(&clean.guard),
            Cell::new(verdict(found)),
            Cell::new(seen(found)),
        ]);
    }
    let mut text = String::new();
    push(&mut text, &table);
    let _ = writeln!(text, "\n{}", sum(tour));
    text
}

/// The same as Markdown, with what each fault does and where it comes from.
pub(crate) fn museum_markdown(tour: &Tour) -> String {
    let mut text = String::from(
        "| fault | what it does | upstream | guard | verdict | what it saw |\n|---|---|---|---|---|---|\n",
    );
    let escaped = |text: &str| text.replace('|', "\\|");
    for shown in &tour.faults {
        let _ = writeln!(
            text,
            "| `{}` | {} | `{}` | `{}` | {} | {} |",
            shown.fault,
            escaped(&shown.about),
            shown.upstream,
            shown.guard,
            verdict(&shown.found),
            escaped(&seen(&shown.found)),
        );
    }
    for clean in &tour.clean {
        let (verdict, seen) = (verdict(&clean.found), escaped(&seen(&clean.found)));
        let _ = writeln!(text, "| (none) | | | `{}` | {verdict} | {seen} |", clean.guard);
    }
    let _ = writeln!(text, "\n{}", sum(tour));
    text
}

/// The verdict in a word.
fn verdict(found: &Found) -> String {
    match found.is_caught() {
        true => found.verdict.to_string(),
        false => "not caught".to_owned(),
    }
}

/// What was seen, if anything.
fn seen(found: &Found) -> String {
    found.seen.join("; ")
}

fn sum(tour: &Tour) -> String {
    let caught = tour.faults.iter().filter(|shown| shown.found.is_caught()).count();
    let clean = tour.clean.iter().filter(|clean| clean.found.is_clean()).count();
    let mut text = format!(
        "{caught} of {} caught; {clean} of {} found nothing in the clean engine",
        count(tour.faults.len(), "fault"),
        count(tour.clean.len(), "guard"),
    );
    for shown in tour.faults.iter().filter(|shown| !shown.found.is_caught()) {
        let _ = write!(text, "\nnot caught: {}, {}", shown.fault, shown.about);
    }
    text
}
