//! Embedding texts.

use super::*;

pub(super) const EMBED: Workload =
    Workload::Embed { batch: 4, requests: 6, prompt: Lengths::Mixed(Tokens(3), Tokens(20)) };

pub(super) fn embedder() -> Model {
    let name = "tiny-embeddinggemma";
    Model { name: name.into(), source: Source::Preset(name.into()) }
}

#[test]
fn texts_have_the_same_vectors_whoever_is_beside_them_and_whatever_computes() {
    let digests = |case: &Case| -> Vec<String> {
        measured(case).0.iter().map(|iteration| iteration.digest.to_string()).collect()
    };
    let original = Case { model: embedder(), ..case(EMBED) };
    let alone = Workload::Embed { batch: 1, requests: 6, prompt: "mixed-3-20".parse().unwrap() };
    assert_eq!(digests(&original), digests(&Case { workload: alone, ..original.clone() }));
    assert_eq!(
        digests(&original),
        digests(&Case { attention: "naive".into(), ..original.clone() })
    );
    assert_ne!(digests(&original), digests(&Case { seed: 2, ..original.clone() }));
}

#[test]
fn texts_longer_than_the_model_takes_are_no_failure_of_it() {
    let prompt = Lengths::Mixed(Tokens(3), Tokens(5000));
    let long = Workload::Embed { batch: 1, requests: 2, prompt };
    let answer = messages(&Case { model: embedder(), ..case(long) });
    let Some(Message::Unsupported { reason }) = answer.last() else { panic!("{answer:?}") };
    insta::assert_snapshot!(reason, @"sequences of this case have up to 5000 tokens, but this model takes 4096; lower `prompt`");
}

#[test]
fn models_are_asked_for_what_they_were_made_for() {
    let error = |case: &Case| match messages(case).pop() {
        Some(Message::Failed { error }) => error,
        other => panic!("{other:?}"),
    };
    insta::assert_snapshot!(error(&case(EMBED)), @"preset `tiny-qwen3` generates text and is not an embedding model; load it as an engine, or choose a model whose folder has a `modules.json`");
    insta::assert_snapshot!(error(&Case { model: embedder(), ..case(DECODE) }), @"preset `tiny-embeddinggemma` is an embedding model and generates no text; load it as an embedder, or choose a model whose folder has no sentence-transformers files");
}
