//! The integration log: a line for each commit, one commit in full, and the state of the
//! integration.

use std::fmt::Write as _;

use comfy_table::Cell;
use windtunnel_ledger::upstream::{Commit, Contradiction, Guard, Hash, Log, Priority, State};

use super::{count, push, right, short, table};

/// A line for each of `commits`.
pub(crate) fn commits<'a>(commits: impl Iterator<Item = &'a Commit>) -> String {
    let mut table = table(vec![
        Cell::new("commit"),
        Cell::new("date"),
        Cell::new("state"),
        Cell::new("pri"),
        Cell::new("area"),
        Cell::new("what it changed"),
    ]);
    let mut shown = 0;
    for commit in commits {
        table.add_row([
            Cell::new(commit.hash.short()),
            Cell::new(&commit.date),
            Cell::new(commit.state),
            Cell::new(commit.priority),
            Cell::new(&commit.area),
            Cell::new(what(commit)),
        ]);
        shown += 1;
    }
    if shown == 0 {
        return "no commit in the log matches\n".to_owned();
    }
    let mut text = String::new();
    push(&mut text, &table);
    text
}

/// What a commit changed; until somebody has read it, its own subject.
fn what(commit: &Commit) -> &str {
    match (commit.state, &commit.subject) {
        (State::New, Some(subject)) => subject,
        _ => &commit.change,
    }
}

/// What the rules propose for new commits.
pub(crate) fn proposals(log: &Log, entries: &[Commit], head: &str) -> String {
    if entries.is_empty() {
        return format!("nothing new from {} to {}\n", log.considered, short(head));
    }
    let mut table = table(vec![
        Cell::new("commit"),
        Cell::new("date"),
        Cell::new("pri"),
        Cell::new("area"),
        right("files"),
        Cell::new("needs"),
        Cell::new("subject"),
    ]);
    for commit in entries {
        let needs: Vec<&str> = commit.needs.iter().map(Hash::short).collect();
        table.add_row([
            Cell::new(commit.hash.short()),
            Cell::new(&commit.date),
            Cell::new(commit.priority),
            Cell::new(&commit.area),
            right(commit.files.len()),
            Cell::new(needs.join(" ")),
            Cell::new(what(commit)),
        ]);
    }
    let mut text = format!(
        "{} from {} to {} that the log does not have; it would say of them:\n\n",
        count(entries.len(), "commit"),
        log.considered,
        short(head)
    );
    push(&mut text, &table);
    text
}

/// Everything that the log says about `commit`, with the times at which its guards last ran.
pub(crate) fn commit(log: &Log, commit: &Commit, guards: &[(Guard, Option<String>)]) -> String {
    let Commit { hash, pr, date, subject, area, priority, state, change, reason, needs, .. } =
        commit;
    let mut text = format!("{}\n", hash.as_str());
    if let Some(subject) = subject {
        let _ = writeln!(text, "{subject}");
    }
    let link = match pr {
        Some(pr) => format!("{}/pull/{pr}", log.repository),
        None => format!("{}/commit/{}", log.repository, hash.as_str()),
    };
    let _ = writeln!(text, "{date}, {area}, {priority}, {state}\n{link}\n\nchange  {change}");
    let _ = writeln!(text, "here    {reason}");
    for needs in needs {
        let found = log.find(needs.as_str());
        let state = found.map_or_else(|| "unknown".to_owned(), |found| found.state.to_string());
        let _ = writeln!(text, "needs   {needs}, which is {state}");
    }
    for file in &commit.files {
        let _ = writeln!(text, "file    {file}");
    }
    for (guard, last) in guards {
        let when = match (guard, last) {
            (Guard::Test { .. }, _) => "a test of every change".to_owned(),
            (Guard::Scenario(_), Some(at)) => format!("last ran to its end at {at}"),
            (Guard::Scenario(_), None) => "no kept run of it".to_owned(),
        };
        let _ = writeln!(text, "guard   {guard} ({when})");
    }
    text
}

/// How much of `log` is integrated, and where the log contradicts the sources.
pub(crate) fn status(log: &Log, contradictions: &[Contradiction]) -> String {
    let mut header = vec![Cell::new("priority")];
    header.extend(State::ALL.map(right));
    header.push(right("integrated of wanted"));
    let mut table = table(header);
    for priority in Priority::ALL {
        let of = |state: State| {
            let alike = |commit: &&Commit| commit.priority == priority && commit.state == state;
            log.commits.iter().filter(alike).count()
        };
        let wanted = of(State::Integrated) + of(State::Deferred) + of(State::New);
        let share = match wanted {
            0 => "–".to_owned(),
            wanted => format!("{} %", 100 * of(State::Integrated) / wanted),
        };
        let mut row = vec![Cell::new(priority)];
        row.extend(State::ALL.map(|state| right(of(state))));
        row.push(right(share));
        table.add_row(row);
    }
    let mut text = format!(
        "{}: {}, considered up to {}\n\n",
        log.repository,
        count(log.commits.len(), "commit"),
        log.considered
    );
    push(&mut text, &table);
    text.push('\n');
    match log.commits.iter().filter(|commit| commit.state == State::New).count() {
        0 => (),
        1 => text.push_str("1 commit is new: nobody has read it yet\n"),
        new => {
            let _ = writeln!(text, "{new} commits are new: nobody has read them yet");
        }
    }
    match contradictions {
        [] => text.push_str("every integrated commit has its guards and what it needs\n"),
        found => found.iter().for_each(|found| {
            let _ = writeln!(text, "{found}");
        }),
    }
    text
}
