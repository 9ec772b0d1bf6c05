//! The result of picking commits onto a fork, for a terminal and as Markdown.

use std::fmt::Write as _;

use comfy_table::Cell;
use windtunnel_ledger::integration::{End, Integration, short};

use super::sheet::escaped;
use super::{push, table};

/// A line for each commit, then what was kept.
pub(crate) fn integration(integration: &Integration) -> String {
    let mut table = table(vec![
        Cell::new("commit"),
        Cell::new("applies"),
        Cell::new("checks"),
        Cell::new("verdict"),
        Cell::new("effect"),
        Cell::new("end"),
        Cell::new("subject"),
    ]);
    for pick in &integration.picks {
        let words = pick.words();
        table.add_row([
            Cell::new(short(&pick.hash)),
            Cell::new(words.applied),
            Cell::new(words.checks),
            Cell::new(words.verdict),
            Cell::new(words.effect),
            Cell::new(words.end),
            Cell::new(&pick.subject),
        ]);
    }
    let mut text = String::new();
    push(&mut text, &table);
    if let Some(tail) = integration.picks.iter().find_map(|pick| pick.tail()) {
        let _ = writeln!(text, "\n{tail}");
    }
    let _ = writeln!(text, "\n{}", integration.headline());
    if let Some(branch) = &integration.branch {
        let _ = writeln!(text, "branch {branch}: {}", short(&integration.end));
    }
    let left = integration.picks.iter().filter(|pick| pick.end == End::NotTried);
    let left: Vec<&str> = left.map(|pick| short(&pick.hash)).collect();
    if !left.is_empty() {
        let onto = integration.branch.as_deref().unwrap_or_else(|| short(&integration.start));
        let _ = writeln!(
            text,
            "to go on without it: windtunnel upstream pick {} --onto {onto} --checks FILE",
            left.join(" ")
        );
    }
    text
}

/// The same as Markdown.
pub(crate) fn integration_markdown(integration: &Integration) -> String {
    let Integration { at, repository, start, end, branch, picks } = integration;
    let mut text = format!("### Windtunnel: {}\n\n", integration.headline());
    let _ = writeln!(
        text,
        "Picked onto `{}` of `{repository}` at {at}, one at a time, each measured beside the one before.\n",
        short(start)
    );
    let _ = match branch {
        Some(branch) => {
            writeln!(text, "What was kept is branch `{branch}`, `{}`.\n", short(end))
        }
        None => writeln!(text, "Nothing was kept.\n"),
    };
    text.push_str(
        "| commit | subject | applies | checks | verdict | effect | end |\n|---|---|---|---|---|---|---|\n",
    );
    for pick in picks {
        let words = pick.words();
        let cells = [words.applied, words.checks, words.verdict, words.effect, words.end];
        let cells = cells.map(|cell| escaped(&cell));
        let subject = escaped(&pick.subject);
        let _ = writeln!(text, "| `{}` | {subject} | {} |", short(&pick.hash), cells.join(" | "));
    }
    for pick in picks {
        if let Some(tail) = pick.tail() {
            let indented: String = tail.lines().map(|line| format!("    {line}\n")).collect();
            let _ = write!(text, "\n`{}`:\n\n{indented}", short(&pick.hash));
        }
        if let Some(measured) = &pick.measured {
            let _ = writeln!(
                text,
                "\n`{}`: [rounds and samples]({})",
                short(&pick.hash),
                measured.page
            );
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use windtunnel_ledger::integration::Pick;

    use super::*;

    #[test]
    fn what_the_author_of_a_commit_wrote_is_no_markup() {
        let pick = Pick {
            hash: "a".repeat(40),
            subject: "Fix <b> | `c`".to_owned(),
            checks: Vec::new(),
            measured: None,
            end: End::NotTried,
        };
        let markdown = integration_markdown(&Integration {
            at: "now".to_owned(),
            repository: "fork".to_owned(),
            start: "b".repeat(40),
            end: "b".repeat(40),
            branch: None,
            picks: vec![pick],
        });
        let row = "| `aaaaaaaaa` | Fix \\<b> \\| \\`c\\` | – | – | – | – | not tried |\n";
        assert!(markdown.contains(row), "{markdown}");
    }
}
