//! The contents of a shelf: sessions, and files that should be sessions but are damaged.

use std::path::Path;

use anyhow::{Result, bail};
use windtunnel_ledger::baseline::{self, Code, Key, Session};
use windtunnel_ledger::store::StoreError;

use super::shelf::Shelf;

/// The contents of a shelf.
#[derive(Debug, Default)]
pub(crate) struct Stock {
    /// Sessions, in the order of their names.
    pub(crate) sessions: Vec<Session>,
    /// Damaged files, which do not keep others from being read.
    pub(crate) damaged: Vec<StoreError>,
}

impl Stock {
    /// Reads the files of a shelf whose keys are `wanted`.
    pub(crate) fn read(shelf: &dyn Shelf, wanted: impl Fn(&Key) -> bool) -> Result<Stock> {
        let mut stock = Stock::default();
        for key in keys(shelf)?.into_iter().filter(wanted) {
            let name = key.to_string();
            match baseline::open(Path::new(&shelf.place(&name)), &key, &shelf.read(&name)?) {
                Ok(session) => stock.sessions.push(session),
                Err(damage) => stock.damaged.push(damage),
            }
        }
        Ok(stock)
    }

    /// The sessions, or an error if a file is damaged, for decisions that need all of them.
    pub(crate) fn whole(self) -> Result<Vec<Session>> {
        match self.damaged.as_slice() {
            [] => Ok(self.sessions),
            [first, rest @ ..] => {
                let more = match rest.len() {
                    0 => String::new(),
                    n => format!(" (and {n} more)"),
                };
                bail!("{first}{more}; `windtunnel baseline verify` shows all damage")
            }
        }
    }
}

/// The keys of all sessions of a shelf, in the order of their names.
pub(crate) fn keys(shelf: &dyn Shelf) -> Result<Vec<Key>> {
    let mut keys: Vec<Key> = shelf.list()?.iter().filter_map(|name| Key::parse(name)).collect();
    keys.sort();
    Ok(keys)
}

/// The sessions of one code at one upstream commit on one kind of machine.
#[derive(Debug)]
pub(crate) struct Group {
    /// The key of its first session.
    pub(crate) key: Key,
    /// The code.
    pub(crate) code: Code,
    /// Its sessions, the oldest first.
    pub(crate) sessions: Vec<Session>,
}

impl Group {
    /// The name of its newest session.
    pub(crate) fn newest(&self) -> &str {
        self.sessions.iter().map(|session| session.key.session.as_str()).max().unwrap_or_default()
    }

    /// Over how many runs and days its sessions extend.
    pub(crate) fn runs_and_days(&self) -> (usize, usize) {
        let distinct = |of: fn(&Session) -> &str| {
            let all: std::collections::BTreeSet<&str> = self.sessions.iter().map(of).collect();
            all.len()
        };
        (distinct(|session| session.run.id.0.as_str()), distinct(|session| session.key.day()))
    }
}

/// Groups sessions by upstream commit, machine and code, sorted by commit, machine and newest
/// session.
pub(crate) fn groups(sessions: Vec<Session>) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    for session in sessions {
        let Some(code) = session.code() else { continue };
        let fits = |group: &&mut Group| {
            (&group.key.upstream, &group.key.machine, &group.code)
                == (&session.key.upstream, &session.key.machine, &code)
        };
        match groups.iter_mut().find(fits) {
            Some(group) => group.sessions.push(session),
            None => {
                groups.push(Group { key: session.key.clone(), code, sessions: vec![session] });
            }
        }
    }
    groups.sort_by(|a, b| {
        let of = |group: &Group| {
            (group.key.upstream.clone(), group.key.machine.clone(), group.newest().to_owned())
        };
        of(a).cmp(&of(b))
    });
    groups
}
