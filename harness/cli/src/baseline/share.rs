//! `windtunnel baseline push` and `pull`: copy the sessions that the other side lacks.
//!
//! A session is named by its contents, so both are the same copy in opposite directions, can be
//! repeated and interrupted at any time, and need no lock.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Result, ensure};
use windtunnel_ledger::baseline::{self, Key};

use super::settings::Settings;
use super::shelf::{self, Placed, Shelf};
use super::{stock, told};
use crate::args::ShareArgs;
use crate::show;
use crate::workspace::Workspace;

/// Copies what the shared place lacks.
pub(crate) fn push(workspace: &Workspace, args: &ShareArgs) -> Result<u8> {
    let settings = Settings::read(workspace)?;
    let place = settings.place(args.place.as_deref())?;
    copy(&shelf::own(workspace), &*shelf::at(&place, &settings)?, &format!("to `{place}`"))
}

/// Copies what is missing here.
pub(crate) fn pull(workspace: &Workspace, args: &ShareArgs) -> Result<u8> {
    let settings = Settings::read(workspace)?;
    let place = settings.place(args.place.as_deref())?;
    // A share that is not mounted looks empty, and copying nothing is not what was asked for.
    ensure!(
        place.contains("://") || Path::new(&place).is_dir(),
        "there is no folder `{place}` to pull from"
    );
    copy(&*shelf::at(&place, &settings)?, &shelf::own(workspace), &format!("from `{place}`"))
}

fn copy(from: &dyn Shelf, to: &dyn Shelf, way: &str) -> Result<u8> {
    let there: BTreeSet<Key> = stock::keys(to)?.into_iter().collect();
    let (mut copied, mut before, mut damaged) = (0, 0, Vec::new());
    for key in stock::keys(from)? {
        if there.contains(&key) {
            before += 1;
            continue;
        }
        let name = key.to_string();
        let bytes = from.read(&name)?;
        // Damaged files are not spread.
        if let Err(damage) = baseline::open(from.place(&name).as_ref(), &key, &bytes) {
            damaged.push(damage);
            continue;
        }
        match to.create(&name, &bytes)? {
            Placed::Now => copied += 1,
            Placed::Before => before += 1,
        }
    }
    let code = told(&damaged);
    let damaged = match damaged.len() {
        0 => String::new(),
        n => format!(", {n} damaged and left alone"),
    };
    show::result(&format!(
        "{} copied {way}, {before} were there{damaged}\n",
        show::count(copied, "session")
    ))?;
    Ok(code)
}
