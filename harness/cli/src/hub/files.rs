//! Chooses the files of a repository that make up a model.

use windtunnel_ledger::case::{Files, Snapshot};

use super::HubError;
use super::api::{Listed, Listing};
use crate::gguf;
use crate::scenario::nearest;

/// What the engine reads from a folder: configuration, tokenizer and templates, weights, and the
/// dense layers of sentence-transformers. Weights in other formats, which are often there too, are
/// not downloaded.
const MODEL: [&str; 4] = ["*.json", "*.jinja", "model*.safetensors", "*_Dense/*.safetensors"];

/// The most names that a message lists.
const MOST_NAMES: usize = 8;

/// The files of a model in a folder, if the user names none.
pub(super) fn usual() -> Files {
    Files::Matching(MODEL.map(str::to_owned).to_vec())
}

/// The files of a listing that belong to a snapshot.
pub(super) fn chosen<'a>(
    listing: &'a Listing,
    snapshot: &Snapshot,
) -> Result<Vec<&'a Listed>, HubError> {
    let repository = &snapshot.repository;
    let find = |pattern: &str| {
        let found: Vec<&Listed> =
            listing.files.iter().filter(|file| matches(pattern, &file.path)).collect();
        match found.is_empty() {
            false => Ok(found),
            true => Err(HubError::NoFile {
                repository: repository.clone(),
                pattern: pattern.to_owned(),
                hint: hint(pattern, listing),
            }),
        }
    };
    let found = match &snapshot.files {
        Files::Gguf(file) => {
            let parts = with_parts(file);
            parts.iter().map(|part| find(part)).collect::<Result<Vec<_>, _>>()?
        }
        files @ Files::Matching(patterns) if *files == usual() => {
            let found = patterns.iter().filter_map(|pattern| find(pattern).ok()).collect();
            match why_no_model(listing, repository) {
                None => found,
                Some(why) => {
                    return Err(HubError::NoModel { repository: repository.clone(), why });
                }
            }
        }
        Files::Matching(patterns) => {
            patterns.iter().map(|pattern| find(pattern)).collect::<Result<_, _>>()?
        }
    };
    let mut found: Vec<&Listed> = found.into_iter().flatten().collect();
    found.sort_by(|a, b| a.path.cmp(&b.path));
    found.dedup();
    Ok(found)
}

/// A GGUF file in a repository, with the other parts if its model is split.
pub(super) fn with_parts(file: &str) -> Vec<String> {
    match file.rsplit_once('/') {
        None => gguf::parts(file),
        Some((folder, name)) => {
            gguf::parts(name).into_iter().map(|part| format!("{folder}/{part}")).collect()
        }
    }
}

/// Whether a file holds weights.
pub(super) fn is_weights(path: &str) -> bool {
    path.ends_with(".safetensors") || path.ends_with(".gguf")
}

fn why_no_model(listing: &Listing, repository: &str) -> Option<String> {
    let named = |ending: &str| {
        let files = listing.files.iter().map(|file| file.path.as_str());
        files.filter(|path| path.ends_with(ending)).collect::<Vec<_>>()
    };
    let has = |path: &str| listing.files.iter().any(|file| file.path == path);
    let single = ["model.safetensors", "model.safetensors.index.json"].into_iter().any(has);
    match (has("config.json"), single, named(".gguf")) {
        (true, true, _) => None,
        (_, _, gguf) if !gguf.is_empty() => Some(format!(
            "it has GGUF files, so name one of them, as in `hub:{repository}:{}` (there is {})",
            gguf[0],
            names(&gguf)
        )),
        (false, _, _) => Some("it has no `config.json`".to_owned()),
        (true, false, _) => Some(
            "it has no `model.safetensors`; another revision (often `refs/pr/1`) or a repository with GGUF files may"
                .to_owned(),
        ),
    }
}

/// A suggestion of what was meant, or a list of what there is.
fn hint(pattern: &str, listing: &Listing) -> String {
    let paths = || listing.files.iter().map(|file| file.path.as_str());
    let ending = pattern.rsplit_once('.').map_or("", |(_, ending)| ending);
    let alike: Vec<&str> = paths().filter(|path| path.ends_with(ending)).collect();
    let alike = if alike.is_empty() { paths().collect() } else { alike };
    match nearest(pattern, paths()) {
        Some(near) if !pattern.contains('*') => format!(", did you mean `{near}`?"),
        _ if alike.is_empty() => ": it is empty".to_owned(),
        _ => format!("; it has {}", names(&alike)),
    }
}

fn names(paths: &[&str]) -> String {
    let shown = paths.iter().take(MOST_NAMES).map(|path| format!("`{path}`"));
    let shown = shown.collect::<Vec<_>>().join(", ");
    match paths.len().saturating_sub(MOST_NAMES) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

/// Whether `pattern` matches all of `path`: `*` stands for anything, `?` for one character.
fn matches(pattern: &str, path: &str) -> bool {
    let (pattern, path): (Vec<char>, Vec<char>) =
        (pattern.chars().collect(), path.chars().collect());
    let (mut wanted, mut at) = (0, 0);
    // The last `*`, and the end of what it matches so far: that grows by one character each time
    // the rest of the pattern does not match.
    let mut star: Option<(usize, usize)> = None;
    while at < path.len() {
        match pattern.get(wanted) {
            Some('*') => {
                star = Some((wanted, at));
                wanted += 1;
            }
            Some(c) if *c == '?' || *c == path[at] => {
                wanted += 1;
                at += 1;
            }
            _ => {
                let Some((place, end)) = star else { return false };
                star = Some((place, end + 1));
                (wanted, at) = (place + 1, end + 1);
            }
        }
    }
    pattern[wanted..].iter().all(|c| *c == '*')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listing(files: &[&str]) -> Listing {
        let files = files.iter().map(|path| Listed { path: (*path).to_owned(), size: None });
        Listing { commit: "c".into(), files: files.collect() }
    }

    fn choose(files: &[&str], wanted: Files) -> Result<Vec<String>, String> {
        let snapshot =
            Snapshot { repository: "someone/tiny".into(), revision: "main".into(), files: wanted };
        let listing = listing(files);
        let chosen = chosen(&listing, &snapshot).map_err(|error| error.to_string())?;
        Ok(chosen.into_iter().map(|file| file.path.clone()).collect())
    }

    #[test]
    fn a_star_stands_for_anything_and_the_rest_for_itself() {
        for (pattern, path) in
            [("*.json", "a/b.json"), ("*", ""), ("m*l*s", "model.safetensors"), ("a?c", "aéc")]
        {
            assert!(matches(pattern, path), "{pattern} {path}");
        }
        for (pattern, path) in
            [("*.json", "a.jsonl"), ("model*", "a/model"), ("a?c", "ac"), ("", "a")]
        {
            assert!(!matches(pattern, path), "{pattern} {path}");
        }
        let long = "a".repeat(10_000);
        assert!(!matches(&"*a".repeat(50), &format!("{long}b")), "and takes no lifetime");
        assert!(matches(&"*".repeat(100_000), &long));
    }

    #[test]
    fn the_usual_files_are_what_the_engine_reads_and_no_weights_beside() {
        let files = [
            ".gitattributes",
            "2_Dense/model.safetensors",
            "README.md",
            "chat_template.jinja",
            "config.json",
            "consolidated.safetensors",
            "model-00001-of-00002.safetensors",
            "model-00002-of-00002.safetensors",
            "model.safetensors.index.json",
            "onnx/model.onnx",
            "original/model.safetensors",
            "pytorch_model.bin",
            "tokenizer.json",
        ];
        insta::assert_snapshot!(choose(&files, usual()).unwrap().join("\n"), @"
        2_Dense/model.safetensors
        chat_template.jinja
        config.json
        model-00001-of-00002.safetensors
        model-00002-of-00002.safetensors
        model.safetensors.index.json
        tokenizer.json
        ");
    }

    #[test]
    fn a_split_file_comes_with_all_its_parts() {
        let files = ["q/m-00001-of-00002.gguf", "q/m-00002-of-00002.gguf", "x.gguf"];
        let chosen = choose(&files, Files::Gguf("q/m-00002-of-00002.gguf".into()));
        assert_eq!(chosen.unwrap(), files[..2]);
        let chosen = choose(&files[1..], Files::Gguf("q/m-00002-of-00002.gguf".into()));
        insta::assert_snapshot!(chosen.unwrap_err(), @"no file of `someone/tiny` matches `q/m-00001-of-00002.gguf`, did you mean `q/m-00002-of-00002.gguf`?");
    }

    #[test]
    fn what_is_no_model_says_what_it_is_instead() {
        let complaint = |files: &[&str]| choose(files, usual()).unwrap_err();
        insta::assert_snapshot!(complaint(&["README.md"]), @"`someone/tiny` holds no model that can be read: it has no `config.json`");
        insta::assert_snapshot!(complaint(&["config.json", "pytorch_model.bin"]), @"`someone/tiny` holds no model that can be read: it has no `model.safetensors`; another revision (often `refs/pr/1`) or a repository with GGUF files may");
        insta::assert_snapshot!(complaint(&["a-q4.gguf", "a-q8.gguf"]), @"`someone/tiny` holds no model that can be read: it has GGUF files, so name one of them, as in `hub:someone/tiny:a-q4.gguf` (there is `a-q4.gguf`, `a-q8.gguf`)");
        let own = |pattern: &str| Files::Matching(vec![pattern.to_owned()]);
        insta::assert_snapshot!(choose(&["config.json", "model.safetensors"], own("*.safetensor")).unwrap_err(), @"no file of `someone/tiny` matches `*.safetensor`; it has `config.json`, `model.safetensors`");
        insta::assert_snapshot!(choose(&[], own("*")).unwrap_err(), @"no file of `someone/tiny` matches `*`: it is empty");
    }
}
