//! `windtunnel fetch`: downloads models from a hub without measuring anything.

use anyhow::Result;
use windtunnel_ledger::case::Source;

use crate::args::FetchArgs;
use crate::hub::{Hub, Patience};
use crate::progress::Progress;
use crate::workspace::Workspace;
use crate::{exit, scenario, show};

/// Downloads what the arguments name into the cache, one model after the other.
pub(crate) fn fetch(workspace: &Workspace, args: &FetchArgs, progress: Progress) -> Result<u8> {
    let models = scenario::models(workspace, &args.models)?;
    let mut hub = None;
    for model in models {
        let Source::Hub(wanted) = &model.source else {
            show::note(&format!("{} is not from a hub: there is nothing to download", model.name));
            continue;
        };
        let hub = match &hub {
            Some(hub) => hub,
            None => hub.insert(Hub::here(Patience::Long)?),
        };
        let local = hub.fetch(wanted, progress)?;
        show::result(&show::fetched(&model.name, &local))?;
    }
    Ok(exit::PASS)
}
