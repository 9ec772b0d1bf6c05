//! Models of a hub: what is there, and what is still to come.

use std::fmt::Write as _;

use crate::hub::{Local, Outlook};

/// What the models of a plan would cost; nothing where none of them is of a hub.
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

/// Where a model lies, and at which commit it is.
pub(crate) fn fetched(name: &str, local: &Local) -> String {
    let Local { snapshot, path, weights } = local;
    format!(
        "{name}\n  commit   {}\n  weights  {weights}\n  path     {}\n",
        snapshot.revision,
        path.display()
    )
}
