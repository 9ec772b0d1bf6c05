//! [`Ink`]: whether output is coloured, and which colour means what.

use std::io::IsTerminal;

use anstyle::{AnsiColor, Style};
use windtunnel_ledger::verdict::Verdict;

use crate::doctor::Severity;

/// Whether output is coloured. Colours only repeat what signs and words say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ink {
    /// Signs and words only.
    Plain,
    /// Colours as well.
    Colour,
}

impl Ink {
    /// Colours on a terminal, unless the user has turned them off.
    pub(crate) fn of_stdout() -> Ink {
        let unwanted = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
        match std::io::stdout().is_terminal() && !unwanted && !dumb {
            true => Ink::Colour,
            false => Ink::Plain,
        }
    }

    /// `text` in the colour of this severity.
    pub(super) fn severity(self, severity: Severity, text: &str) -> String {
        self.paint(
            match severity {
                Severity::Stops | Severity::Bad => AnsiColor::Red,
                Severity::Minor => AnsiColor::Yellow,
                Severity::Unknown => AnsiColor::Cyan,
                Severity::Fine => AnsiColor::Green,
            },
            text,
        )
    }

    /// `text` in the colour of a verdict.
    pub(super) fn verdict(self, verdict: Verdict, text: &str) -> String {
        self.paint(
            match verdict {
                Verdict::Broken | Verdict::Regressed => AnsiColor::Red,
                Verdict::Invalid | Verdict::Inconclusive => AnsiColor::Yellow,
                Verdict::Improved | Verdict::Pass => AnsiColor::Green,
            },
            text,
        )
    }

    fn paint(self, colour: AnsiColor, text: &str) -> String {
        match self {
            Ink::Plain => text.to_owned(),
            Ink::Colour => {
                let style = Style::new().fg_color(Some(colour.into())).bold();
                format!("{style}{text}{style:#}")
            }
        }
    }
}
