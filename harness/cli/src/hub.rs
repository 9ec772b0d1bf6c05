//! Models of a hub: looked up, downloaded before the first round, and passed to probes as folders.
//!
//! The measuring process has no network and reads no environment. So whatever a plan needs from a
//! hub is downloaded into the cache beforehand, each revision is pinned to its commit, and the
//! record names that commit. In order of execution: [`name`] parses what the user writes;
//! [`settings`] locate the hub and its cache; [`api`] asks what exists, through the [`client`];
//! [`files`] chooses; [`transfer`] downloads what the [`cache`] lacks, and verifies it by its
//! [`digest`].

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use windtunnel_ledger::case::{Case, Files, Snapshot, Source};
use windtunnel_ledger::unit::Bytes;

use crate::plan::Plan;
use crate::progress::Progress;

mod api;
mod cache;
mod client;
mod digest;
mod error;
mod files;
mod name;
mod settings;
mod transfer;

pub(crate) use client::Patience;
pub(crate) use error::HubError;
pub(crate) use name::{MAIN, Part, named, snapshot};

use api::Listing;
use cache::{Kept, Standing};
use client::Client;
use settings::{Mode, Settings};

/// A hub and the cache of its downloads.
pub(crate) struct Hub {
    client: Client,
}

/// A snapshot in the cache.
#[derive(Clone, Debug)]
pub(crate) struct Local {
    /// The snapshot, pinned to its commit.
    pub(crate) snapshot: Snapshot,
    /// Its folder, or its GGUF file.
    pub(crate) path: PathBuf,
    /// Bytes of its weights.
    pub(crate) weights: Bytes,
}

/// What is known about a snapshot without downloading it.
#[derive(Debug)]
pub(crate) enum Outlook {
    /// It is in the cache.
    Here(Local),
    /// Some bytes are still to be downloaded; not every hub says how many.
    ToCome { snapshot: Snapshot, missing: Option<Bytes>, weights: Option<Bytes> },
    /// This could not be determined.
    Unknown { snapshot: Snapshot, error: HubError },
}

/// What is known about the files of a snapshot.
enum Known {
    /// The hub listed them.
    Listed(Listing),
    /// The cache has everything that the model needs, used instead of a hub that could not be
    /// asked.
    Kept { commit: String, instead_of: Option<HubError> },
}

impl Hub {
    /// The hub that the environment names.
    pub(crate) fn here(patience: Patience) -> Result<Hub, HubError> {
        Ok(Hub { client: Client::new(Settings::here()?, patience) })
    }

    /// Downloads what the cache lacks of a snapshot.
    pub(crate) fn fetch(&self, wanted: &Snapshot, progress: Progress) -> Result<Local, HubError> {
        let kept = self.kept(wanted);
        let commit = match self.known(&kept, wanted)? {
            Known::Listed(listing) => {
                self.bring(&kept, wanted, &listing, progress)?;
                kept.remember(&wanted.revision, &listing.commit)?;
                listing.commit
            }
            Known::Kept { commit, instead_of } => {
                if let Some(error) = instead_of {
                    progress.note(&format!("{error}; continuing with {commit} from the cache"));
                }
                commit
            }
        };
        Ok(local(&kept, wanted, &commit))
    }

    /// What downloading a snapshot would take.
    pub(crate) fn outlook(&self, wanted: &Snapshot) -> Outlook {
        let unknown = |error| Outlook::Unknown { snapshot: wanted.clone(), error };
        self.look(wanted).unwrap_or_else(unknown)
    }

    fn look(&self, wanted: &Snapshot) -> Result<Outlook, HubError> {
        let kept = self.kept(wanted);
        let listing = match self.known(&kept, wanted)? {
            Known::Listed(listing) => listing,
            Known::Kept { commit, .. } => return Ok(Outlook::Here(local(&kept, wanted, &commit))),
        };
        let commit = &listing.commit;
        let files = files::chosen(&listing, wanted)?;
        let missing: Vec<_> = files.iter().filter(|file| !kept.has(commit, &file.path)).collect();
        if missing.is_empty() {
            return Ok(Outlook::Here(local(&kept, wanted, commit)));
        }
        let sum = |sizes: Vec<Option<u64>>| -> Option<Bytes> {
            let sizes: Option<Vec<u64>> = sizes.into_iter().collect();
            Some(Bytes(sizes?.into_iter().fold(0, u64::saturating_add)))
        };
        let weights = files.iter().filter(|file| files::is_weights(&file.path));
        Ok(Outlook::ToCome {
            missing: sum(missing.iter().map(|file| file.size).collect()),
            weights: sum(weights.map(|file| file.size).collect()),
            snapshot: Snapshot { revision: commit.clone(), ..wanted.clone() },
        })
    }

    /// The hub's listing, or the cache's contents if the hub may not or cannot be asked.
    fn known(&self, kept: &Kept, wanted: &Snapshot) -> Result<Known, HubError> {
        let asked = match self.client.settings.mode {
            Mode::Online => Some(api::listing(&self.client, wanted)),
            Mode::Offline => None,
        };
        let error = match asked {
            Some(Ok(listing)) => return Ok(Known::Listed(listing)),
            Some(Err(error)) if !error.is_silence() => return Err(error),
            Some(Err(error)) => Some(error),
            None => None,
        };
        match kept.standing(wanted) {
            Standing::Whole(commit) => Ok(Known::Kept { commit, instead_of: error }),
            standing => Err(error.unwrap_or_else(|| self.offline(wanted, standing))),
        }
    }

    /// Downloads the files of a listing that are missing.
    fn bring(
        &self,
        kept: &Kept,
        wanted: &Snapshot,
        listing: &Listing,
        progress: Progress,
    ) -> Result<(), HubError> {
        let (repository, commit) = (&wanted.repository, &listing.commit);
        let missing: Vec<_> = files::chosen(listing, wanted)?
            .into_iter()
            .filter(|file| !kept.has(commit, &file.path))
            .collect();
        if missing.is_empty() {
            return Ok(());
        }
        let client = &self.client;
        let files = transfer::side_by_side(&missing, |file, _| {
            api::remote(client, repository, commit, &file.path)
        })?;
        transfer::check_space(kept, &files)?;
        kept.prepare()?;
        let total = files.iter().fold(0u64, |sum, file| sum.saturating_add(file.size));
        let pinned = Snapshot { revision: commit.clone(), ..wanted.clone() };
        let bar = progress.download(&pinned.to_string(), files.len(), Bytes(total));
        transfer::side_by_side(&files, |file, stop| {
            transfer::bring(client, repository, kept, file, (&bar, stop))?;
            kept.link(commit, &file.path, &file.tag)?;
            bar.file_done(&file.path, Bytes(file.size));
            Ok(())
        })?;
        Ok(())
    }

    /// A case as a probe of this machine runs it: with a folder or file instead of the snapshot.
    pub(crate) fn localised(&self, case: &Case) -> Case {
        let mut case = case.clone();
        if let Source::Hub(snapshot) = &case.model.source {
            let folder = self.kept(snapshot).snapshot(&snapshot.revision);
            case.model.source = match &snapshot.files {
                Files::Matching(_) => Source::Folder(folder.display().to_string()),
                Files::Gguf(file) => Source::Gguf(folder.join(file).display().to_string()),
            };
        }
        case
    }

    fn kept(&self, snapshot: &Snapshot) -> Kept {
        Kept::of(&self.client.settings.cache, &snapshot.repository)
    }

    fn offline(&self, wanted: &Snapshot, standing: Standing) -> HubError {
        HubError::Offline {
            what: wanted.to_string(),
            cache: self.client.settings.cache.path().clone(),
            missing: match standing {
                Standing::Part(file) => format!(" as a whole (`{file}` is missing)"),
                Standing::Whole(_) | Standing::Absent => String::new(),
            },
        }
    }
}

/// Where downloads are kept; none if neither the environment nor a home folder says.
pub(crate) fn cache_folder() -> Option<PathBuf> {
    settings::cache_folder(|name| std::env::var_os(name), std::env::home_dir().as_deref()).ok()
}

/// Downloads everything that the cases of a plan need, and pins them to the commits downloaded.
pub(crate) fn fetch(plan: &mut Plan, progress: Progress) -> Result<(), HubError> {
    let wanted = snapshots(plan.cases.iter().map(|planned| &planned.case));
    if wanted.is_empty() {
        return Ok(());
    }
    let hub = Hub::here(Patience::Long)?;
    let mut fetched = BTreeMap::new();
    for snapshot in wanted {
        let local = hub.fetch(&snapshot, progress)?;
        fetched.insert(snapshot, (local.snapshot, Some(local.weights)));
    }
    pin(plan, &fetched);
    Ok(())
}

/// The hub for these cases; none if no case needs one.
pub(crate) fn of<'a>(cases: impl Iterator<Item = &'a Case>) -> Result<Option<Hub>, HubError> {
    (!snapshots(cases).is_empty()).then(|| Hub::here(Patience::Long)).transpose()
}

/// Downloads what the cases of a resumed run need: the cache may have been emptied since it began.
pub(crate) fn fetch_again<'a>(
    cases: impl Iterator<Item = &'a Case>,
    progress: Progress,
) -> Result<(), HubError> {
    let wanted = snapshots(cases);
    if wanted.is_empty() {
        return Ok(());
    }
    let hub = Hub::here(Patience::Long)?;
    wanted.iter().try_for_each(|snapshot| hub.fetch(snapshot, progress).map(|_| ()))
}

/// What the cases of a plan would need to download; pins them to the commits found. Downloads
/// nothing.
pub(crate) fn look(plan: &mut Plan) -> Result<Vec<Outlook>, HubError> {
    let wanted = snapshots(plan.cases.iter().map(|planned| &planned.case));
    if wanted.is_empty() {
        return Ok(Vec::new());
    }
    let hub = Hub::here(Patience::Short)?;
    let mut found = BTreeMap::new();
    let mut outlooks = Vec::new();
    for snapshot in wanted {
        let outlook = hub.outlook(&snapshot);
        let (pinned, weights) = match &outlook {
            Outlook::Here(local) => (local.snapshot.clone(), Some(local.weights)),
            Outlook::ToCome { snapshot, weights, .. } => (snapshot.clone(), *weights),
            Outlook::Unknown { snapshot, .. } => (snapshot.clone(), None),
        };
        found.insert(snapshot, (pinned, weights));
        outlooks.push(outlook);
    }
    pin(plan, &found);
    Ok(outlooks)
}

/// The distinct snapshots that the cases name.
fn snapshots<'a>(cases: impl Iterator<Item = &'a Case>) -> Vec<Snapshot> {
    let mut found: Vec<Snapshot> = Vec::new();
    for case in cases {
        match &case.model.source {
            Source::Hub(snapshot) if !found.contains(snapshot) => found.push(snapshot.clone()),
            _ => (),
        }
    }
    found
}

/// Replaces each wanted snapshot by the one that was found.
fn pin(plan: &mut Plan, found: &BTreeMap<Snapshot, (Snapshot, Option<Bytes>)>) {
    for (planned, known) in plan.cases.iter_mut().zip(&mut plan.models) {
        let Source::Hub(wanted) = &planned.case.model.source else { continue };
        let Some((pinned, weights)) = found.get(wanted) else { continue };
        known.stored = weights.map_or(known.stored, |weights| weights.0);
        planned.case.model.source = Source::Hub(pinned.clone());
        known.model.source = Source::Hub(pinned.clone());
    }
}

fn local(kept: &Kept, wanted: &Snapshot, commit: &str) -> Local {
    let folder = kept.snapshot(commit);
    let (path, weights) = match &wanted.files {
        Files::Matching(_) => (folder.clone(), weights_in(&folder)),
        Files::Gguf(file) => (folder.join(file), crate::gguf::stored(&folder.join(file))),
    };
    Local {
        snapshot: Snapshot { revision: commit.to_owned(), ..wanted.clone() },
        path,
        weights: Bytes(weights),
    }
}

/// Bytes of the weights in a folder.
fn weights_in(folder: &Path) -> u64 {
    crate::scenario::stored(folder)
}
