//! What a hub reports: the files of a revision of a repository, and the tag and length of each
//! file.

use std::io::Read;
use std::path::{Component, Path};

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;
use ureq::http::header::{CONTENT_LENGTH, ETAG, HeaderName};
use ureq::http::{HeaderMap, Uri};
use windtunnel_ledger::case::Snapshot;

use super::HubError;
use super::client::{About, Client, LINKED_TAG, Question, Trouble, no_hub};

/// The files of a repository at one commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Listing {
    /// The hash of the commit.
    pub(super) commit: String,
    /// Its files.
    pub(super) files: Vec<Listed>,
}

/// A file that a hub lists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Listed {
    /// Its path in the repository, safe to join to a folder.
    pub(super) path: String,
    /// Its length, if the hub reports it.
    pub(super) size: Option<u64>,
}

/// A file that can be downloaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Remote {
    /// Its path in the repository.
    pub(super) path: String,
    /// Its address.
    pub(super) url: String,
    /// The tag that identifies its contents, safe as a file name.
    pub(super) tag: String,
    /// Its length in bytes.
    pub(super) size: u64,
}

/// The fields of the answer about a revision that are used here.
#[derive(Deserialize)]
struct Info {
    sha: String,
    #[serde(default)]
    siblings: Vec<Sibling>,
}

#[derive(Deserialize)]
struct Sibling {
    rfilename: String,
    size: Option<u64>,
}

/// Longer answers are not lists of files.
const LONGEST_LIST: u64 = 64 << 20;
const LINKED_SIZE: &str = "x-linked-size";
/// Encodes everything in a path segment except unreserved characters.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');
const PATH: &AsciiSet = &SEGMENT.remove(b'/');

/// Lists the files of a revision.
pub(super) fn listing(client: &Client, snapshot: &Snapshot) -> Result<Listing, HubError> {
    let Snapshot { repository, revision, .. } = snapshot;
    let escaped = utf8_percent_encode(revision, SEGMENT);
    let url = client.url(&format!("api/models/{repository}/revision/{escaped}?blobs=true"));
    let question = Question { repository, about: About::Revision(revision) };
    let text = client.patiently(|| {
        let answer = client.get(&url, 0, question)?;
        let mut text = String::new();
        let read = answer.into_body().into_reader().take(LONGEST_LIST).read_to_string(&mut text);
        match read {
            Ok(_) => Ok(text),
            Err(cause) => {
                let endpoint = client.settings.endpoint.clone();
                let cause = cause.to_string();
                Err(Trouble::passing(HubError::Unreachable { endpoint, cause }))
            }
        }
    })?;
    let odd = |what: &str| match url.parse::<Uri>() {
        Ok(url) => no_hub(&url, what),
        Err(_) => HubError::NoHub { url: url.clone(), what: what.to_owned() },
    };
    let Ok(Info { sha: commit, siblings }) = serde_json::from_str(&text) else {
        return Err(odd("something other than a list of files"));
    };
    let pinned = Snapshot { revision: commit, ..snapshot.clone() };
    if !pinned.is_pinned() {
        return Err(odd("with something other than a commit"));
    }
    let files = siblings.into_iter().map(|Sibling { rfilename: path, size }| match safe(&path) {
        true => Ok(Listed { path, size }),
        false => Err(odd(&format!("with a file that would lie elsewhere, `{path}`"))),
    });
    Ok(Listing { files: files.collect::<Result<_, _>>()?, commit: pinned.revision })
}

/// Whether a path stays within the folder to which it is joined.
fn safe(path: &str) -> bool {
    let inside = |part: Component<'_>| matches!(part, Component::Normal(_));
    !path.is_empty() && !path.contains(['\\', '\0']) && Path::new(path).components().all(inside)
}

/// Looks up the tag and length of a file.
pub(super) fn remote(
    client: &Client,
    repository: &str,
    commit: &str,
    path: &str,
) -> Result<Remote, HubError> {
    let url =
        client.url(&format!("{repository}/resolve/{commit}/{}", utf8_percent_encode(path, PATH)));
    let question = Question { repository, about: About::File };
    let answer = client.patiently(|| client.head(&url, question))?;
    let headers = answer.headers();
    let tag = text(headers, HeaderName::from_static(LINKED_TAG)).or_else(|| text(headers, ETAG));
    let tag = tag.map(|tag| tag.trim_start_matches("W/").trim_matches('"').to_owned());
    let size = text(headers, HeaderName::from_static(LINKED_SIZE))
        .or_else(|| text(headers, CONTENT_LENGTH));
    let plain = |tag: &String| {
        !tag.is_empty() && tag.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    };
    match (tag.filter(plain), size.and_then(|size| size.parse().ok())) {
        (Some(tag), Some(size)) => Ok(Remote { path: path.to_owned(), url, tag, size }),
        _ => {
            Err(HubError::NoHub { url, what: "without the tag and the length of the file".into() })
        }
    }
}

fn text(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    headers.get(name)?.to_str().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_file_is_written_outside_its_folder() {
        for path in ["config.json", "1_Pooling/config.json", "..a/b..", ".gitattributes"] {
            assert!(safe(path), "{path}");
        }
        for path in ["", "/etc/passwd", "../x", "a/../../x", "a\\..\\x", "./x"] {
            assert!(!safe(path), "{path}");
        }
    }
}
