//! Models from a hub: what is downloaded, and what is still missing.

use std::fmt::Write as _;

use crate::hub::{Local, Outlook};

/// What the hub models of a plan need; empty if it has none.
pub(super) fn outlooks(outlooks: &[Outlook]) -> String {
    let mut text = String::new();
    if !outlooks.is_empty() {
        text.push_str("\nmodels of the hub:\n");
    }
    for outlook in outlooks {
        let _ = match outlook {
            Outlook::Here(Local { snapshot, weights, .. }) => {
                writeln!(text, "  {snapshot}: downloaded, {weights} of weights")
            }
            Outlook::ToCome { snapshot, missing: Some(bytes), .. } => {
                writeln!(text, "  {snapshot}: not downloaded yet, {bytes} to come")
            }
            Outlook::ToCome { snapshot, missing: None, .. } => {
                writeln!(text, "  {snapshot}: not downloaded yet")
            }
            Outlook::Unknown { snapshot, error } => writeln!(text, "  {snapshot}: {error}"),
        };
    }
    text
}

/// Where a model lies, and at which commit.
pub(crate) fn fetched(name: &str, local: &Local) -> String {
    let Local { snapshot, path, weights } = local;
    format!(
        "{name}\n  commit   {}\n  weights  {weights}\n  path     {}\n",
        snapshot.revision,
        path.display()
    )
}
