//! Proposals for upstream commits that nobody has read yet: an area by the words of the subject or
//! by the files touched, a priority by the words. `ci/upstream.md` explains both to users.

use windtunnel_ledger::upstream::Priority;

/// The area of a subject that contains one of these words; the first match wins.
const TOPICS: &[(&str, &[&str])] = &[
    ("docs", &["docs:", "readme"]),
    ("build", &["clippy", "candle dep", "candle version", "candle revision"]),
    ("cuda", &["cuda", "metal", "kernel"]),
    ("embedding", &["embedding"]),
    ("sampling", &["sampl", "logprob"]),
    ("scheduling", &["schedul", "preempt", "prefix cach"]),
    ("placement", &["topology", "device map", "devices", "multi-gpu"]),
    ("text", &["chat template", "tokeniz", "detokeniz"]),
    ("audio", &["audio", "speech"]),
    ("vision", &["vision", " vl"]),
    ("attention", &["attn", "attention"]),
    ("loading", &["loader", "loading", "gguf", "isq", "uqff", "quanti"]),
];

/// The area of a file whose path contains one of these words; the first match wins.
const AREAS: &[(&str, &[&str])] = &[
    ("python", &["pyo3", ".py"]),
    ("docs", &["docs/", "README", ".md", "examples/", ".ipynb"]),
    ("build", &["Cargo.", "build.rs", ".github/", "rust-toolchain", "Dockerfile", ".yml", ".yaml"]),
    ("embedding", &["embedding"]),
    ("audio", &["audio", "speech"]),
    ("vision", &["vision", "diffusion"]),
    ("sampling", &["sampl"]),
    ("scheduling", &["scheduler", "block_engine", "sequence", "kv_cache", "prefix_cache"]),
    ("cuda", &["cuda", ".cu", "metal"]),
    ("attention", &["attn", "attention"]),
    ("placement", &["device_map", "topology", "distributed"]),
    ("loading", &["quant", "gguf", "ggml", "load", "safetensors", "isq", "varbuilder", "lora"]),
    ("text", &["chat_template", "tokenizer", "toktrie", "tools/"]),
];
/// Areas of files that accompany other changes: they decide only if nothing else is touched.
const BESIDES: &[&str] = &["docs", "build", "python"];
/// The area of all other files.
const REST: &str = "engine";

/// The priority of a subject that contains one of these words, the highest first. Whole words
/// match, so that "change" is not "hang", nor "prefix" "fix". A `*` at the end matches any ending.
const PRIORITIES: &[(Priority, &[&str])] = &[
    (
        Priority::P1,
        &[
            "fix",
            "fixes",
            "fixed",
            "fixing",
            "bug",
            "bugs",
            "buggy",
            "bugfix*",
            "panic*",
            "hang",
            "hangs",
            "hanging",
            "crash*",
            "leak*",
            "wrong*",
            "incorrect*",
            "correct*",
            "regress*",
            "deadlock*",
            "overcount*",
            "drop",
            "drops",
            "dropped",
            "dropping",
            "disable*",
            "revert*",
            "race",
            "races",
            "racy",
        ],
    ),
    (
        Priority::P2,
        &[
            "support*",
            "implement*",
            "add",
            "adds",
            "added",
            "adding",
            "expose*",
            "fast",
            "faster",
            "fastest",
            "optimi*",
            "perf",
            "perform*",
            "speed*",
            "bump*",
        ],
    ),
];
/// A commit that touches only these areas has the lowest priority, whatever its subject says.
const MINOR_AREAS: &[&str] = &["docs", "python"];
/// Words of subjects with the lowest priority.
const MINOR_WORDS: &[&str] =
    &["typo", "typos", "clippy", "readme", "example*", "fmt", "comment", "comments"];

/// The area that the subject names, or else the one that most of `files` belong to. The subject
/// counts only if at least one file is part of the engine.
pub(crate) fn area(subject: &str, files: &[String]) -> &'static str {
    let subject = subject.to_lowercase();
    let named = TOPICS.iter().find(|(_, words)| words.iter().any(|word| subject.contains(word)));
    match named {
        Some((area, _)) if files.iter().any(|file| !BESIDES.contains(&area_of(file))) => area,
        _ => area_by_files(files),
    }
}

fn area_by_files(files: &[String]) -> &'static str {
    let mut votes: Vec<(&'static str, usize)> = Vec::new();
    for area in files.iter().map(|file| area_of(file)) {
        match votes.iter_mut().find(|(known, _)| *known == area) {
            Some((_, count)) => *count += 1,
            None => votes.push((area, 1)),
        }
    }
    let weighs = |area: &str| !BESIDES.contains(&area);
    // In a tie, the area whose file comes first.
    let best = |least: bool| {
        let candidates = votes.iter().rev().filter(|(area, _)| weighs(area) || least);
        candidates.max_by_key(|(_, count)| *count).map(|(area, _)| *area)
    };
    best(false).or_else(|| best(true)).unwrap_or(REST)
}

fn area_of(file: &str) -> &'static str {
    let fits = |words: &[&str]| words.iter().any(|word| file.contains(word));
    AREAS.iter().find(|(_, words)| fits(words)).map_or(REST, |(area, _)| area)
}

/// The proposed priority of a commit.
pub(crate) fn priority(subject: &str, area: &str) -> Priority {
    let subject = subject.to_lowercase();
    let said = || subject.split(|c: char| !c.is_alphanumeric());
    let says = |words: &[&str]| said().any(|said| words.iter().any(|word| is(said, word)));
    if MINOR_AREAS.contains(&area) || says(MINOR_WORDS) {
        return Priority::P4;
    }
    let named = PRIORITIES.iter().find(|(_, words)| says(words));
    named.map_or(Priority::P3, |(priority, _)| *priority)
}

/// Whether a word matches a word of the table.
fn is(said: &str, word: &str) -> bool {
    word.strip_suffix('*').map_or(said == word, |beginning| said.starts_with(beginning))
}

/// A subject without the pull request number at its end, and that number.
pub(crate) fn without_number(subject: &str) -> (&str, Option<u32>) {
    let parts = subject.strip_suffix(')').and_then(|rest| rest.rsplit_once(" (#"));
    match parts.map(|(subject, number)| (subject, number.parse())) {
        Some((subject, Ok(number))) => (subject, Some(number)),
        _ => (subject, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn most_files_decide_the_area_and_those_that_come_along_only_if_alone() {
        let check = |files: &[&str], expected: &str| {
            let files: Vec<String> = files.iter().map(|file| (*file).to_owned()).collect();
            assert_eq!(area("Tidy up", &files), expected, "{files:?}");
        };
        check(&["core/src/sampler.rs", "Cargo.toml", "Cargo.lock", "README.md"], "sampling");
        check(&["Cargo.toml", "Cargo.lock"], "build");
        check(&["docs/a.md"], "docs");
        check(&["core/src/engine/mod.rs"], "engine");
        check(
            &["core/src/vision_models/a.rs", "core/src/vision_models/b.rs", "core/src/x.rs"],
            "vision",
        );
        check(&["core/src/paged_attention/scheduler.rs"], "scheduling");
        check(&["core/src/sampler.rs", "core/src/vision_models/a.rs"], "sampling");
        check(&[], "engine");
    }

    #[test]
    fn a_subject_that_names_an_area_decides_it_where_an_engine_is_touched() {
        let check = |subject: &str, file: &str, expected: &str| {
            assert_eq!(area(subject, &[file.to_owned()]), expected, "{subject}");
        };
        check("Support CUDA 13.0!", "core/src/engine.rs", "cuda");
        check("Fix flash attn mask case", "core/src/engine.rs", "attention");
        check("Patch clippy", "core/src/vision_models/clip.rs", "build");
        check("Add an embedding example", "examples/embed.rs", "docs");
        check("Tidy up", "core/src/sampler.rs", "sampling");
    }

    #[test]
    fn the_words_of_a_subject_decide_the_priority_unless_its_area_does() {
        let check = |subject: &str, area: &str, expected: Priority| {
            assert_eq!(priority(subject, area), expected, "{subject}");
        };
        check("Fix panic in truncation", "text", Priority::P1);
        check("Temporarily disable fast sampler", "sampling", Priority::P1);
        check("Implement Qwen 3 VL!", "vision", Priority::P2);
        check("Refactor paged attn modules", "attention", Priority::P3);
        check("Fix gemma3 example", "docs", Priority::P4);
        check("Cuda clippy fixes", "cuda", Priority::P4);
        check("Bump candle, add prefix caching", "build", Priority::P2);
        check("Fixes for two regressions", "engine", Priority::P1);
        check("Optimise padding; faster", "engine", Priority::P2);
    }

    #[test]
    fn a_word_inside_another_one_says_nothing() {
        for subject in [
            "Change the order of blocks",
            "Trace requests by their prefix",
            "Embrace the address of a debugger",
            "Load the padding of a ladder",
        ] {
            assert_eq!(priority(subject, "engine"), Priority::P3, "{subject}");
        }
    }

    #[test]
    fn the_number_of_a_pull_request_is_parted_from_the_subject() {
        assert_eq!(without_number("No busyloop (#1655)"), ("No busyloop", Some(1655)));
        assert_eq!(without_number("Support (CPU)"), ("Support (CPU)", None));
        assert_eq!(without_number("Bump"), ("Bump", None));
    }
}
