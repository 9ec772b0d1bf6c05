//! Errors of a hub. Each message says what is wrong, where, and what to do next; none of them can
//! contain a token.

use std::path::PathBuf;

use windtunnel_ledger::unit::Bytes;

/// Why a model of a hub is not available.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HubError {
    #[error("there is no home folder to keep downloads in: set `HF_HOME` to a folder")]
    NoHome,
    #[error(
        "`HF_ENDPOINT` is not the address of a hub: it is written `https://HOST`, and a token goes in `HF_TOKEN`"
    )]
    BadEndpoint,
    #[error("what `{found}` holds is not a token: it must be one line without spaces")]
    BadToken { found: String },
    #[error("`{}`, which `SSL_CERT_FILE` names, holds no certificate: it must be a PEM file", file.display())]
    NoCertificate { file: PathBuf },
    #[error(
        "no safe connection to `{host}`: {cause}; if a proxy intercepts TLS, set `SSL_CERT_FILE` to the certificates of its owner"
    )]
    Untrusted { host: String, cause: String },
    #[error(
        "cannot reach `{endpoint}`: {cause}; check the connection and `HF_ENDPOINT`, or set `HF_HUB_OFFLINE=1` to use only what the cache holds"
    )]
    Unreachable { endpoint: String, cause: String },
    #[error(
        "`{repository}` does not exist at `{endpoint}`, or is private: check the name, or store a token that may read it (none was found in {places})"
    )]
    TokenMissing { repository: String, endpoint: String, places: String },
    #[error(
        "`{endpoint}` does not accept the token from `{found}` for `{repository}`: check the name, or make a new token at `{endpoint}/settings/tokens`"
    )]
    TokenRefused { repository: String, endpoint: String, found: String },
    #[error("{}", denied(repository, why, endpoint, shown.as_deref(), places))]
    Denied {
        repository: String,
        why: &'static str,
        endpoint: String,
        shown: Option<String>,
        places: String,
    },
    #[error("there is no repository `{repository}` at `{endpoint}`: check owner and name")]
    NoRepository { repository: String, endpoint: String },
    #[error(
        "`{repository}` has no revision `{revision}`: `{endpoint}/{repository}/commits/main` shows its commits"
    )]
    NoRevision { repository: String, revision: String, endpoint: String },
    #[error("no file of `{repository}` matches `{pattern}`{hint}")]
    NoFile { repository: String, pattern: String, hint: String },
    #[error("`{repository}` holds no model that can be read: {why}")]
    NoModel { repository: String, why: String },
    #[error("`{url}` is gone, though `{repository}` lists it: try again")]
    Gone { repository: String, url: String },
    #[error("`{endpoint}` has had too many requests: wait {wait}{instead}")]
    TooMany { endpoint: String, wait: String, instead: &'static str },
    #[error("`{host}` answers {status}, {tries} times in a row: try again later")]
    Failing { host: String, status: u16, tries: u32 },
    #[error("`{url}` answers {what}: check `HF_ENDPOINT`, and proxies in between")]
    NoHub { url: String, what: String },
    #[error(
        "`{file}` of `{repository}` breaks off after {got} of {size}, {tries} times in a row: the part that came is kept, and the next try continues from there"
    )]
    BreaksOff { repository: String, file: String, got: Bytes, size: Bytes, tries: u32 },
    #[error(
        "`{file}` of `{repository}` came with different contents than the hub promised ({algorithm} {found} instead of {expected}): they were deleted, try again"
    )]
    Corrupt {
        repository: String,
        file: String,
        algorithm: &'static str,
        found: String,
        expected: String,
    },
    #[error(
        "the disk of `{}` is full: {needed} are to come, {free} are free; make room, or set `HF_HOME` to another disk", folder.display()
    )]
    DiskFull { folder: PathBuf, needed: Bytes, free: Bytes },
    #[error("cannot write `{}`: {cause}", path.display())]
    Unwritable { path: PathBuf, cause: std::io::Error },
    #[error("{what} is not in the cache `{}`{missing}, and `HF_HUB_OFFLINE` is set: unset it, or download it elsewhere", cache.display())]
    Offline { what: String, cache: PathBuf, missing: String },
}

fn denied(
    repository: &str,
    why: &str,
    endpoint: &str,
    shown: Option<&str>,
    places: &str,
) -> String {
    let ask = format!("`{repository}` {why}: ask for access at `{endpoint}/{repository}`");
    match shown {
        Some(found) => format!("{ask} with the account whose token is in `{found}`"),
        None => format!("{ask}, and store a token of that account (none was found in {places})"),
    }
}

impl HubError {
    /// Whether the hub could not be asked, so that the cache is the best there is.
    pub(super) fn is_silence(&self) -> bool {
        matches!(
            self,
            HubError::Unreachable { .. } | HubError::Failing { .. } | HubError::TooMany { .. }
        )
    }

    /// A file that could not be written.
    pub(super) fn unwritable(path: &std::path::Path, cause: std::io::Error) -> HubError {
        HubError::Unwritable { path: path.to_owned(), cause }
    }
}
