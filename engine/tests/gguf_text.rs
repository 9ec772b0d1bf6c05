//! Tokenizers and templates of GGUF files, against the output of their authors' code.
//!
//! `tests/gguf_text` was made by `tools/make_gguf_text.py`: a vocabulary under the name of every
//! splitting pattern, SentencePiece pieces, and `vectors.json` with the ids that other
//! implementations give.

#![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

use std::collections::BTreeSet;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use candle_core::quantized::gguf_file::{self, Value};
use insta::assert_snapshot;
use serde::Deserialize;
use windtunnel_engine::ModelSource;
use windtunnel_engine::text::chat::{Content, Ending, Message};
use windtunnel_engine::text::{Chat, Prompt, Text};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/gguf_text")
}

/// A text as another implementation encodes it.
#[derive(Deserialize)]
struct Vector {
    file: String,
    text: String,
    /// Ids of the text alone.
    bare: Vec<u32>,
    /// Ids of the text as a prompt.
    ids: Vec<u32>,
    /// The decoded ids.
    decoded: String,
}

fn vectors() -> Vec<Vector> {
    let text = std::fs::read_to_string(folder().join("vectors.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

fn open(path: &Path) -> windtunnel_engine::Result<Text> {
    Text::open(&ModelSource::Gguf { path: path.into() })
}

#[test]
fn every_kind_of_tokenizer_gives_the_ids_of_its_authors_and_reads_them_back() {
    for Vector { file, text, bare, ids, decoded } in vectors() {
        let opened = open(&folder().join(&file)).unwrap();
        assert_eq!(opened.tokenizer().encode_bare(&text).unwrap(), bare, "{file}: {text:?}");
        assert_eq!(opened.encode(Prompt::Text(text.clone())).unwrap(), ids, "{file}: {text:?}");
        let back = opened.tokenizer().decode(&bare).unwrap();
        assert_eq!(back, decoded, "{file}: {text:?} read back");
    }
}

#[test]
fn every_way_to_cut_texts_up_is_told_apart_by_some_text() {
    let vectors = vectors();
    let files: BTreeSet<&str> = vectors.iter().map(|vector| &vector.file[..]).collect();
    let ids = |file: &str| -> Vec<&[u32]> {
        vectors.iter().filter(|vector| vector.file == file).map(|vector| &vector.ids[..]).collect()
    };
    for one in &files {
        for other in files.iter().filter(|other| *other != one) {
            assert_ne!(ids(one), ids(other), "{one} and {other}");
        }
    }
}

fn text(words: &str) -> Value {
    Value::String(words.into())
}

fn array<T>(values: impl IntoIterator<Item = T>, wrap: impl Fn(T) -> Value) -> Value {
    Value::Array(values.into_iter().map(wrap).collect())
}

/// A BPE vocabulary that can spell `abc`.
fn pairs() -> Vec<(&'static str, Value)> {
    vec![
        ("general.architecture", text("llama")),
        ("tokenizer.ggml.model", text("gpt2")),
        ("tokenizer.ggml.pre", text("gpt-2")),
        ("tokenizer.ggml.tokens", array(["a", "b", "c", "ab", "<s>", "</s>"], text)),
        ("tokenizer.ggml.token_type", array([1, 1, 1, 1, 3, 3], Value::I32)),
        ("tokenizer.ggml.merges", array(["a b"], text)),
        ("tokenizer.ggml.bos_token_id", Value::U32(4)),
        ("tokenizer.ggml.eos_token_id", Value::U32(5)),
    ]
}

/// The file with `changes` to [`pairs`]: other values, added keys, or removed keys.
fn changed(changes: &[(&'static str, Option<Value>)], to: &Path) {
    let mut metadata = pairs();
    for (key, value) in changes {
        metadata.retain(|(known, _)| known != key);
        metadata.extend(value.clone().map(|value| (*key, value)));
    }
    let metadata: Vec<(&str, &Value)> = metadata.iter().map(|(key, value)| (*key, value)).collect();
    gguf_file::write(&mut File::create(to).unwrap(), &metadata, &[]).unwrap();
}

/// The message about a file with `changes` to [`pairs`].
fn refusal(changes: &[(&'static str, Option<Value>)]) -> String {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.gguf");
    changed(changes, &path);
    let problem = open(&path).err().expect("the file is refused").to_string();
    problem.replace(&format!("{}/", folder.path().display()), "")
}

#[test]
fn a_file_that_does_not_say_how_it_cuts_texts_up_is_refused_and_not_guessed_at() {
    let pre = |value| refusal(&[("tokenizer.ggml.pre", value)]);
    assert_snapshot!(pre(None), @"`model.gguf`: it has no key `tokenizer.ggml.pre`, which says how its tokenizer splits text; send token ids, or open the model's folder with its `tokenizer.json`");
    assert!(pre(Some(text("default"))).contains("splits text as `default` does, which is not"));
}

#[test]
fn a_tokenizer_that_cannot_be_built_is_refused_with_what_is_wrong_in_the_file() {
    let of = |key: &'static str, value: Value| refusal(&[(key, Some(value))]);
    assert_snapshot!(of("tokenizer.ggml.model", text("bert")), @"`model.gguf`: its tokenizer is of kind `bert`, but only `gpt2` and `llama` are supported; send token ids, or open the model's folder with its `tokenizer.json`");
    assert_snapshot!(of("tokenizer.ggml.pre", text("jais")), @"`model.gguf`: its tokenizer splits text as `jais` does, which is not implemented (supported: `gpt-2`, `phi-2`, `olmo`, `mpt`, `llama-bpe`, `llama3`, `llama-v3`, `falcon3`, `pixtral`, `dbrx`, `smaug-bpe`, `qwen2`, `deepseek-r1-qwen`, `starcoder`, `refact`, `smollm`, `codeshell`, `command-r`, `tekken`, `gpt-4o`); send token ids, or open the model's folder with its `tokenizer.json`");
    assert_snapshot!(of("tokenizer.ggml.merges", array(["ab"], text)), @r#"`model.gguf`: key `tokenizer.ggml.merges` is a list with "ab", but must be a list of pairs"#);
    assert_snapshot!(of("tokenizer.ggml.merges", array(["a z"], text)), @"`model.gguf`: its tokenizer cannot be built: Token `z` out of vocabulary; send token ids, or open the model's folder with its `tokenizer.json`");
    let nowhere = of("tokenizer.ggml.merges", array(["a a"], text));
    assert!(
        nowhere.contains(r#"its merge of "a" and "a" makes a token that it does not have"#),
        "{nowhere}"
    );
    assert_snapshot!(of("tokenizer.ggml.merges", text("a b")), @r#"`model.gguf`: key `tokenizer.ggml.merges` is "a b", but must be an array"#);
    assert_snapshot!(of("tokenizer.ggml.token_type", array([1, 1], Value::I32)), @"`model.gguf`: key `tokenizer.ggml.token_type` is a list of 2, but must be as long as the 6 tokens");
    assert_snapshot!(of("tokenizer.ggml.tokens", array([1, 2], Value::U32)), @"`model.gguf`: key `tokenizer.ggml.tokens` is an array with 1 at index 0, but must be a string");
    assert_snapshot!(of("tokenizer.ggml.eos_token_id", Value::U32(6)), @"`model.gguf`: key `tokenizer.ggml.eos_token_id` is 6, but must be below 6, the number of tokens");
    assert_snapshot!(of("tokenizer.ggml.add_bos_token", text("yes")), @r#"`model.gguf`: key `tokenizer.ggml.add_bos_token` is "yes", but must be true or false"#);
    assert_snapshot!(refusal(&[("tokenizer.ggml.merges", None)]), @"`model.gguf` has no key `tokenizer.ggml.merges`, which this kind of model needs; convert the model again");
    assert_snapshot!(refusal(&[("tokenizer.ggml.tokens", None)]), @"`model.gguf` has no key `tokenizer.ggml.tokens`, which this kind of model needs; convert the model again");
    assert_snapshot!(refusal(&[("tokenizer.ggml.model", None)]), @"`model.gguf` has no key `tokenizer.ggml.model`, which this kind of model needs; convert the model again");
    let pieces = ("tokenizer.ggml.model", Some(text("llama")));
    assert_snapshot!(refusal(std::slice::from_ref(&pieces)), @"`model.gguf` has no key `tokenizer.ggml.scores`, which this kind of model needs; convert the model again");
    let scores = ("tokenizer.ggml.scores", Some(array([0.0, 1.0], Value::F32)));
    assert_snapshot!(refusal(&[pieces, scores]), @"`model.gguf`: key `tokenizer.ggml.scores` is a list of 2, but must be as long as the 6 tokens");
}

/// A conversation of one message.
fn said(words: &str) -> Chat {
    Chat {
        messages: vec![Message::User { content: Content::Text(words.into()), name: None }],
        tools: vec![],
        ending: Ending::Nothing,
        variables: Default::default(),
        now: SystemTime::UNIX_EPOCH,
    }
}

#[test]
fn a_file_names_its_templates_and_the_tokens_that_they_and_answers_need() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.gguf");
    let template =
        "{{ bos_token }}{% for m in messages %}{{ m.content }}{% endfor %}{{ eos_token }}";
    changed(&[("tokenizer.chat_template", Some(text(template)))], &path);
    let opened = open(&path).unwrap();
    let chat = said("abc");
    assert_eq!(opened.render(&chat).unwrap(), "<s>abc</s>");
    assert_eq!(opened.encode(Prompt::Chat(chat)).unwrap(), [4, 3, 2, 5]);
    assert_eq!(opened.eos(), [5]);
}

#[test]
fn marks_that_end_turns_end_answers_though_the_file_names_another() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.gguf");
    let deepseek = "<｜end▁of▁sentence｜>";
    let tokens =
        ["a", "b", "c", "ab", "<s>", "</s>", "<|im_end|>", "<end_of_turn>", deepseek, "<|end|>"];
    let changes = [
        ("tokenizer.ggml.tokens", Some(array(tokens, text))),
        ("tokenizer.ggml.token_type", Some(array([1, 1, 1, 1, 3, 3, 3, 4, 3, 1], Value::I32))),
        ("tokenizer.ggml.eos_token_id", Some(Value::U32(8))),
    ];
    changed(&changes, &path);
    let opened = open(&path).unwrap();
    // Neither `</s>`, nor a part of words.
    assert_eq!(opened.eos(), [8, 6, 7]);
    assert_eq!(opened.tokenizer().decode(&[0, 6, 7, 8, 3]).unwrap(), "aab");
}

#[test]
fn marks_of_phi_3_take_in_the_whitespace_behind_them() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.gguf");
    let tokens = ["<unk>", "<s>", "</s>", "<0x0A>", "▁", "a", "<|user|>"];
    let is_stripped = |architecture: &str, mark: &str| {
        let changes = [
            ("general.architecture", Some(text(architecture))),
            ("tokenizer.ggml.model", Some(text("llama"))),
            ("tokenizer.ggml.tokens", Some(array(tokens, text))),
            ("tokenizer.ggml.token_type", Some(array([2, 3, 3, 6, 1, 1, 3], Value::I32))),
            ("tokenizer.ggml.scores", Some(array([0.0; 7], Value::F32))),
            ("tokenizer.ggml.bos_token_id", Some(Value::U32(1))),
            ("tokenizer.ggml.eos_token_id", Some(Value::U32(2))),
            ("tokenizer.ggml.unknown_token_id", Some(Value::U32(0))),
        ];
        changed(&changes, &path);
        let opened = open(&path).unwrap();
        let ids =
            |behind: &str| opened.tokenizer().encode_bare(&format!("{mark}{behind}")).unwrap();
        ids("\na") == ids("a")
    };
    for mark in ["<|user|>", "</s>"] {
        assert!(is_stripped("phi3", mark), "{mark}");
        assert!(!is_stripped("llama", mark), "{mark}");
    }
    for mark in ["<unk>", "<s>"] {
        assert!(!is_stripped("phi3", mark), "{mark}");
    }
}

#[test]
fn an_ordinary_piece_that_pads_is_still_text() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.gguf");
    changed(&[("tokenizer.ggml.padding_token_id", Some(Value::U32(0)))], &path);
    let opened = open(&path).unwrap();
    let ids = opened.encode(Prompt::Text("aab".into())).unwrap();
    assert_eq!(ids, [0, 3], "`a` before `b` is merged as ever");
    assert_eq!(opened.tokenizer().decode(&ids).unwrap(), "aab");
}

#[test]
fn a_file_without_a_template_says_so_when_a_chat_is_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.gguf");
    changed(&[], &path);
    let opened = open(&path).unwrap();
    assert_eq!(opened.encode(Prompt::Text("abc".into())).unwrap(), [3, 2]);
    let problem = opened.render(&said("abc")).unwrap_err().to_string();
    let problem = problem.replace(&format!("{}/", folder.path().display()), "");
    assert_snapshot!(problem, @"`model.gguf` has no chat template (key `tokenizer.chat_template`); send the prompt as text, or choose a model that was tuned for chats");
}
