//! How a user names a model of a hub: `hub:OWNER/NAME`, `hub:OWNER/NAME@REVISION`, or with a file,
//! `hub:OWNER/NAME:FILE.gguf`.

use windtunnel_ledger::case::{Files, Snapshot};

use super::files::usual;

/// The prefix of such names.
const PREFIX: &str = "hub:";
/// The revision if none is named.
pub(crate) const MAIN: &str = "main";

/// What is wrong with a name, and in which part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Misnamed {
    pub(crate) part: Part,
    pub(crate) message: String,
}

/// A part of a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    Repository,
    Revision,
    Files,
}

/// The snapshot that `word` names, and its name without `hub:`; none if it has no such prefix.
pub(crate) fn named(word: &str) -> Option<Result<(String, Snapshot), Misnamed>> {
    let name = word.strip_prefix(PREFIX)?;
    let (rest, file) = match name.split_once(':') {
        Some((rest, file)) => (rest, Some(file)),
        None => (name, None),
    };
    let (repository, revision) = rest.split_once('@').unwrap_or((rest, MAIN));
    let files = file.map(|file| Files::Gguf(file.to_owned()));
    Some(snapshot(repository, revision, files).map(|snapshot| (name.to_owned(), snapshot)))
}

/// A snapshot made of these parts, if they are valid; of the usual files if `files` is none.
pub(crate) fn snapshot(
    repository: &str,
    revision: &str,
    files: Option<Files>,
) -> Result<Snapshot, Misnamed> {
    let wrong = |part, message| Err(Misnamed { part, message });
    if !is_repository(repository) {
        let message = format!(
            "`{repository}` is not the name of a repository: it is written `OWNER/NAME`, as the hub's address has it"
        );
        return wrong(Part::Repository, message);
    }
    if !is_revision(revision) {
        let message = format!(
            "`{revision}` is not a revision: it is a branch, a tag or the hash of a commit"
        );
        return wrong(Part::Revision, message);
    }
    match &files {
        Some(Files::Gguf(file)) if !is_file(file) => {
            let message = format!(
                "`{file}` is not a GGUF file of a repository: it is written `NAME.gguf` or `FOLDER/NAME.gguf`"
            );
            wrong(Part::Files, message)
        }
        Some(Files::Matching(patterns)) if patterns.is_empty() => {
            let message = "`files` names no file: leave it out for all that a model needs";
            wrong(Part::Files, message.to_owned())
        }
        _ => Ok(Snapshot {
            repository: repository.to_owned(),
            revision: revision.to_owned(),
            files: files.unwrap_or_else(usual),
        }),
    }
}

/// The hub's own rule: one or two words of letters, digits, `-`, `_` and `.`, which neither begin
/// nor end with `-` or `.` and do not contain `--` or `..`.
fn is_repository(text: &str) -> bool {
    const LONGEST: usize = 96;
    let word = |word: &str| {
        !word.is_empty()
            && word.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
            && !word.starts_with(['-', '.'])
            && !word.ends_with(['-', '.'])
            && !word.contains("--")
            && !word.contains("..")
    };
    text.len() <= LONGEST && text.split('/').count() <= 2 && text.split('/').all(word)
}

/// What git allows, as far as it is also a valid file name.
fn is_revision(text: &str) -> bool {
    let word = |word: &str| !word.is_empty() && !word.starts_with('.');
    text.split('/').all(word)
        && !text.contains("..")
        && !text.contains(|c: char| c.is_whitespace() || c.is_control() || "\\:?*[~^".contains(c))
}

fn is_file(text: &str) -> bool {
    text.split('/').all(|word| !word.is_empty() && !word.starts_with('.'))
        && !text.contains(['\\', '*', '\0'])
        && text.ends_with(".gguf")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_says_repository_revision_and_file() {
        let named = |word: &str| named(word).unwrap().unwrap();
        assert_eq!(
            named("hub:Qwen/Qwen2.5-0.5B"),
            ("Qwen/Qwen2.5-0.5B".into(), snapshot("Qwen/Qwen2.5-0.5B", "main", None).unwrap())
        );
        let (name, found) = named("hub:gpt2@refs/pr/1:q/x-q4_k_m.gguf");
        assert_eq!(name, "gpt2@refs/pr/1:q/x-q4_k_m.gguf");
        assert_eq!((found.repository.as_str(), found.revision.as_str()), ("gpt2", "refs/pr/1"));
        assert_eq!(found.files, Files::Gguf("q/x-q4_k_m.gguf".into()));
        assert!(super::named("gpt2").is_none());
    }

    #[test]
    fn what_is_no_name_is_told_how_it_is_written() {
        let complaint = |word: &str| named(word).unwrap().unwrap_err().message;
        for word in
            ["hub:", "hub:a/b/c", "hub:../x", "hub:a--b/c", "hub:a/b ", "hub:a//b", "hub:.a/b"]
        {
            assert!(complaint(word).contains("it is written `OWNER/NAME`"), "{word}");
        }
        for word in ["hub:a/b@", "hub:a/b@../../x", "hub:a/b@/x", "hub:a/b@x y", "hub:a/b@.git"] {
            assert!(complaint(word).contains("is not a revision"), "{word}");
        }
        for word in ["hub:a/b:", "hub:a/b:model.bin", "hub:a/b:../x.gguf", "hub:a/b:*.gguf"] {
            assert!(complaint(word).contains("is not a GGUF file of a repository"), "{word}");
        }
    }
}
