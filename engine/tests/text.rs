//! From text to ids and back: whole and in parts, with the files of a model's folder.

#![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::LazyLock;
use std::time::SystemTime;

use insta::assert_snapshot;
use proptest::prelude::*;
use serde_json::{Value, json};
use tempfile::TempDir;
use windtunnel_engine::text::chat::{Content, Ending, Message};
use windtunnel_engine::text::{Chat, Prompt, Text, Tokenizer};
use windtunnel_engine::{Error, ModelSource};

/// The letter for each byte in byte-level vocabularies.
fn letter(byte: u8) -> char {
    let printable = |b: u8| matches!(b, 33..=126 | 161..=172 | 174..=255);
    match printable(byte) {
        true => char::from(byte),
        false => {
            let before = (0..byte).filter(|b| !printable(*b)).count() as u32;
            char::from_u32(256 + before).unwrap()
        }
    }
}

fn special(id: usize, content: &str) -> Value {
    json!({"id": id, "content": content, "special": true, "single_word": false, "lstrip": false,
           "rstrip": false, "normalized": false})
}

fn bpe(vocabulary: Vec<String>, merges: &[(String, String)]) -> Value {
    let vocabulary: BTreeMap<_, _> =
        vocabulary.into_iter().enumerate().map(|(id, piece)| (piece, id)).collect();
    let merges: Vec<_> = merges.iter().map(|(a, b)| format!("{a} {b}")).collect();
    json!({"type": "BPE", "vocab": vocabulary, "merges": merges, "byte_fallback": false,
           "fuse_unk": false, "ignore_merges": false})
}

fn template_of(bos: &str) -> Value {
    json!({"type": "TemplateProcessing",
           "single": [{"SpecialToken": {"id": bos, "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
           "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
           "special_tokens": {bos: {"id": bos, "ids": [0], "tokens": [bos]}}})
}

/// As in GPT-2, Llama 3 and Qwen: two special tokens, all bytes, and merges that end inside a
/// character.
fn byte_level() -> Value {
    let text = |s: &[u8]| s.iter().map(|b| letter(*b)).collect::<String>();
    let merges: Vec<(String, String)> = [
        (&[0xc3][..], &[0xbc][..]), // ü
        (&[0xf0], &[0x9f]),
        (&[0xf0, 0x9f], &[0x99]), // three of the four bytes of 🙂
        (b"h", b"e"),
        (b" ", b"w"),
        (&[0x82], b" "),
    ]
    .map(|(a, b)| (text(a), text(b)))
    .into();
    let mut vocabulary = vec!["<s>".to_owned(), "</s>".to_owned()];
    vocabulary.extend((0..=255).map(|byte| letter(byte).to_string()));
    vocabulary.extend(merges.iter().map(|(a, b)| format!("{a}{b}")));
    json!({
        "version": "1.0", "truncation": {"direction": "Right", "max_length": 5, "strategy":
        "LongestFirst", "stride": 0}, "padding": null, "normalizer": null,
        "added_tokens": [special(0, "<s>"), special(1, "</s>")],
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true},
        "post_processor": template_of("<s>"),
        "decoder": {"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true},
        "model": bpe(vocabulary, &merges),
    })
}

/// As in Llama 2, Mistral and Gemma: pieces with a mark for the space, bytes as `<0x0A>`.
fn byte_fallback() -> Value {
    let mut vocabulary = vec!["<s>".to_owned(), "</s>".to_owned()];
    vocabulary.extend((0..=255).map(|byte| format!("<0x{byte:02X}>")));
    vocabulary
        .extend(["▁", "▁▁", "a", "b", "▁a", "ü", "日", "�", "▁the", "<0xZZ>"].map(String::from));
    json!({
        "version": "1.0", "truncation": null, "padding": null,
        "added_tokens": [special(0, "<s>"), special(1, "</s>")],
        "normalizer": {"type": "Sequence", "normalizers": [
            {"type": "Prepend", "prepend": "▁"},
            {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}]},
        "pre_tokenizer": null, "post_processor": null,
        "decoder": {"type": "Sequence", "decoders": [
            {"type": "Replace", "pattern": {"String": "▁"}, "content": " "},
            {"type": "ByteFallback"}, {"type": "Fuse"},
            {"type": "Strip", "content": " ", "start": 1, "stop": 0}]},
        "model": bpe(vocabulary, &[]),
    })
}

fn write(folder: &Path, name: &str, value: &Value) {
    fs::write(folder.join(name), value.to_string()).unwrap();
}

/// A model's folder with the files that these tests need.
fn folder(tokenizer: &Value) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "tokenizer.json", tokenizer);
    let names = json!({"bos_token": "<s>", "eos_token": {"content": "</s>", "special": true}});
    write(folder.path(), "tokenizer_config.json", &names);
    write(folder.path(), "config.json", &json!({"eos_token_id": 7}));
    folder
}

fn open(folder: &TempDir) -> Result<Text, Error> {
    Text::open(&ModelSource::Folder { path: folder.path().into() })
}

fn refused(folder: &TempDir) -> String {
    let refusal = open(folder).err().unwrap().to_string();
    refusal.replace(&folder.path().display().to_string(), "MODEL")
}

#[test]
fn a_file_that_ends_the_library_is_refused_and_ends_nothing_else() {
    let mut charsmap = byte_level();
    charsmap["normalizer"] = json!({"type": "Precompiled", "precompiled_charsmap": null});
    let mut nowhere = byte_level();
    nowhere["model"] = bpe(["aa", "bb"].map(String::from).into(), &[("aa".into(), "bb".into())]);
    for file in [charsmap, nowhere] {
        let refusal = refused(&folder(&file));
        let told = "it contradicts itself; check the file";
        assert!(refusal.contains("MODEL/tokenizer.json") && refusal.contains(told), "{refusal}");
    }
}

static BYTE_LEVEL: LazyLock<Text> = LazyLock::new(|| open(&folder(&byte_level())).unwrap());
static BYTE_FALLBACK: LazyLock<Text> = LazyLock::new(|| open(&folder(&byte_fallback())).unwrap());

/// The text of `ids` in parts, one per id, and the rest at the end.
fn parts(text: &Text, ids: &[u32]) -> Vec<String> {
    let mut stream = text.stream(&[]).unwrap();
    let mut parts: Vec<_> = ids.iter().map(|id| stream.push(*id).unwrap().text).collect();
    parts.push(stream.finish().unwrap().text);
    parts
}

fn check(text: &Text, ids: &[u32]) {
    assert_eq!(parts(text, ids).concat(), text.tokenizer().decode(ids).unwrap(), "{ids:?}");
}

proptest! {
    /// Most of these are not UTF-8.
    #[test]
    fn parts_of_bytes_add_up_to_the_whole(ids in proptest::collection::vec(0u32..265, 0..40)) {
        check(&BYTE_LEVEL, &ids);
    }

    #[test]
    fn parts_of_rows_of_bad_bytes_add_up_to_the_whole(
        ids in proptest::collection::vec(130u32..258, 0..200),
    ) {
        check(&BYTE_LEVEL, &ids);
    }

    #[test]
    fn parts_with_byte_tokens_add_up_to_the_whole(
        ids in proptest::collection::vec(prop_oneof![0u32..2, 226u32..270, 256u32..270], 0..40),
    ) {
        check(&BYTE_FALLBACK, &ids);
    }

    #[test]
    fn parts_of_real_text_add_up_to_it(words in "[ a-cüß日🙂he w\n]{0,30}") {
        for text in [&BYTE_LEVEL, &BYTE_FALLBACK] {
            let ids = text.tokenizer().encode(&words).unwrap();
            check(text, &ids);
        }
        let ids = BYTE_LEVEL.tokenizer().encode(&words).unwrap();
        prop_assert_eq!(BYTE_LEVEL.tokenizer().decode(&ids).unwrap(), words);
    }

    #[test]
    fn a_stop_string_ends_the_text_wherever_the_tokens_are_cut(
        words in "[abhe ü🙂]{0,20}",
        stops in proptest::collection::vec("[abhe ü🙂]{1,3}", 0..3),
    ) {
        let ends = words.char_indices().map(|(at, c)| at + c.len_utf8());
        let naive = ends.into_iter().find_map(|end| {
            let ending = stops.iter().filter(|stop| words[..end].ends_with(*stop));
            Some(end - ending.map(String::len).max()?)
        });
        let level = BYTE_LEVEL.tokenizer().encode_bare(&words).unwrap();
        for (text, ids) in [(&BYTE_LEVEL, level), (&BYTE_FALLBACK, fallback(&words))] {
            let mut stream = text.stream(&stops).unwrap();
            let (mut shown, mut hit) = (String::new(), None);
            for id in ids {
                let delta = stream.push(id).unwrap();
                shown += &delta.text;
                hit = hit.or(delta.stop);
            }
            let last = stream.finish().unwrap();
            shown += &last.text;
            hit = hit.or(last.stop);
            prop_assert_eq!(hit.is_some(), naive.is_some());
            prop_assert_eq!(shown, &words[..naive.unwrap_or(words.len())]);
        }
    }
}

/// `words` as ids of [`BYTE_FALLBACK`]: its pieces, and bytes for everything else.
fn fallback(words: &str) -> Vec<u32> {
    let of_char = |c: char| match c {
        ' ' => vec![piece("▁")],
        'a' | 'b' | 'ü' | '日' => vec![piece(&c.to_string())],
        _ => c.to_string().bytes().map(|byte| 2 + u32::from(byte)).collect(),
    };
    // The space before a text, which the decoder drops.
    std::iter::once(piece("▁")).chain(words.chars().flat_map(of_char)).collect()
}

/// The id of a piece of [`BYTE_FALLBACK`] that is not a byte.
fn piece(name: &str) -> u32 {
    let all = ["▁", "▁▁", "a", "b", "▁a", "ü", "日", "�", "▁the"];
    258 + all.iter().position(|other| *other == name).unwrap() as u32
}

#[test]
fn a_stop_string_of_bytes_ends_the_text_at_its_last_byte() {
    let pushed = |words: &str, stops: &[&str]| {
        let stops: Vec<String> = stops.iter().map(|stop| (*stop).to_owned()).collect();
        let mut stream = BYTE_FALLBACK.stream(&stops).unwrap();
        let ids = fallback(words).into_iter();
        let mut deltas: Vec<_> = ids.map(|id| stream.push(id).unwrap()).collect();
        deltas.push(stream.finish().unwrap());
        deltas.into_iter().map(|delta| (delta.text, delta.stop)).collect::<Vec<_>>()
    };
    let told = |text: &str, stop| (text.to_owned(), stop);
    let (nothing, over) = (told("", None), told("", Some(0)));
    let a = told("a", None);
    let found = pushed("a\nb", &["\n"]);
    assert_eq!(found, [nothing.clone(), a, over.clone(), over.clone(), over.clone()]);
    // In a run of bytes that never ends, and begun before it.
    let found = pushed("a\n\n", &["a\n"]);
    assert_eq!(found, [nothing.clone(), nothing.clone(), over.clone(), over.clone(), over.clone()]);
    // An incomplete character is not a bad one.
    let found = pushed("🙂", &["�", "🙂"]);
    assert_eq!(found, [vec![nothing; 4], vec![told("", Some(1)); 2]].concat());
}

#[test]
fn a_character_is_shown_as_soon_as_it_is_whole() {
    let tokenizer = BYTE_LEVEL.tokenizer();
    let ids = tokenizer.encode_bare("he w🙂日").unwrap();
    let shown = parts(&BYTE_LEVEL, &ids);
    assert_eq!(shown, ["he", " w", "", "🙂", "", "", "日", ""]);
    // A bad byte is recognised once something else follows.
    let bad = [2 + 0xff, 2 + u32::from(b'a'), 2 + 0xc3];
    assert_eq!(parts(&BYTE_LEVEL, &bad), ["", "�a", "", "�"]);
}

#[test]
fn bad_bytes_without_an_end_are_shown_before_it() {
    let rows: [&[u8]; 3] = [&[0xff], &[0xf0, 0x9f], &[0xe6, 0x97, 0xff]];
    for row in rows {
        let ids: Vec<u32> =
            row.iter().cycle().take(4000).map(|byte| 2 + u32::from(*byte)).collect();
        check(&BYTE_LEVEL, &ids);
        let shown = parts(&BYTE_LEVEL, &ids);
        let (last, before) = shown.split_last().unwrap();
        let held = before.iter().rev().take_while(|part| part.is_empty()).count();
        assert!(held < 32 && last.chars().count() < 32, "{row:?}: {held} ids, {last:?}");
    }
}

#[test]
fn spaces_at_the_start_are_dropped_once() {
    let ids = [piece("▁the"), piece("▁a"), 1, piece("▁a"), piece("▁"), piece("▁a")];
    assert_eq!(parts(&BYTE_FALLBACK, &ids), ["the", " a", "", " a", " ", " a", ""]);
    let ids = [piece("▁"), piece("▁a"), piece("b")];
    assert_eq!(parts(&BYTE_FALLBACK, &ids), ["", " a", "b", ""]);
}

#[test]
fn the_beginning_of_a_sequence_is_never_doubled() {
    let tokenizer = BYTE_LEVEL.tokenizer();
    let plain = tokenizer.encode("hello w").unwrap();
    assert_eq!(plain[0], 0);
    assert_eq!(tokenizer.encode("<s>hello w").unwrap(), plain);
    assert_eq!(tokenizer.encode_bare("hello w").unwrap(), plain[1..]);
    // The file asks to truncate after 5 tokens, as training did.
    assert_eq!(plain.len(), 1 + 5);
}

#[test]
fn the_keys_of_llamas_tokenizers_decide_what_stands_around_a_text() {
    let check = |class: &str, bos: Option<bool>, eos: Option<bool>, expected: [&[u32]; 2]| {
        let mut without = byte_level();
        without["post_processor"] = Value::Null;
        for (tokenizer, expected) in [byte_level(), without].iter().zip(expected) {
            let folder = folder(tokenizer);
            let config = json!({"tokenizer_class": class, "add_bos_token": bos,
                "add_eos_token": eos, "bos_token": "<s>", "eos_token": "</s>"});
            write(folder.path(), "tokenizer_config.json", &config);
            let found = open(&folder).unwrap().tokenizer().encode("he").unwrap();
            assert_eq!(found, expected, "{class} {bos:?} {eos:?}");
        }
    };
    let (bare, begun, whole): (&[u32], &[u32], &[u32]) = (&[261], &[0, 261], &[0, 261, 1]);
    check("LlamaTokenizerFast", Some(true), Some(false), [begun; 2]);
    check("LlamaTokenizerFast", Some(false), Some(false), [bare; 2]);
    check("LlamaTokenizer", None, Some(true), [whole; 2]);
    check("LlamaTokenizer", None, None, [begun, bare]);
    check("Qwen2Tokenizer", Some(true), Some(true), [begun, bare]);
}

#[test]
fn special_tokens_are_also_named_by_the_older_file() {
    let folder = folder(&byte_level());
    let template = "{{ bos_token }}|{{ eos_token }}";
    fs::write(folder.path().join("chat_template.jinja"), template).unwrap();
    let named = json!({"bos_token": {"content": "<s>"}, "additional_special_tokens": ["x"]});
    write(folder.path(), "special_tokens_map.json", &named);
    let check = |config: Value, expected: &str| {
        write(folder.path(), "tokenizer_config.json", &config);
        let chat = Chat {
            messages: vec![Message::System { content: Content::Text("he".into()) }],
            tools: vec![],
            ending: Ending::Answer,
            variables: BTreeMap::new(),
            now: SystemTime::UNIX_EPOCH,
        };
        assert_eq!(open(&folder).unwrap().render(&chat).unwrap(), expected);
    };
    check(json!({"eos_token": "</s>"}), "<s>|</s>");
    check(json!({"eos_token": "</s>", "added_tokens_decoder": {}}), "|</s>");
    write(folder.path(), "special_tokens_map.json", &json!({"bos_token": 3}));
    write(folder.path(), "tokenizer_config.json", &json!({}));
    assert_snapshot!(refused(&folder), @"cannot load `MODEL/special_tokens_map.json`: `bos_token` is not a token");
}

#[test]
fn a_chat_is_encoded_as_its_template_wrote_it() {
    let folder = folder(&byte_level());
    let template =
        "{{ bos_token }}{% for m in messages %}{{ m.content }}{{ eos_token }}{% endfor %}";
    fs::write(folder.path().join("chat_template.jinja"), template).unwrap();
    let text = open(&folder).unwrap();
    let messages = vec![Message::System { content: Content::Text("he".into()) }];
    let chat = Chat {
        messages,
        tools: vec![],
        ending: Ending::Answer,
        variables: BTreeMap::new(),
        now: SystemTime::UNIX_EPOCH,
    };
    assert_eq!(text.render(&chat).unwrap(), "<s>he</s>");
    let he = text.tokenizer().encode_bare("he").unwrap();
    assert_eq!(text.encode(Prompt::Chat(chat.clone())).unwrap(), [&[0], &he[..], &[1]].concat());

    // The same from the older location, under a name.
    fs::remove_file(folder.path().join("chat_template.jinja")).unwrap();
    let config =
        json!({"bos_token": "<s>", "chat_template": [{"name": "default", "template": "x"}]});
    write(folder.path(), "tokenizer_config.json", &config);
    assert_eq!(open(&folder).unwrap().render(&chat).unwrap(), "x");

    write(folder.path(), "tokenizer_config.json", &json!({}));
    let refusal = open(&folder).unwrap().encode(Prompt::Chat(chat)).unwrap_err().to_string();
    assert_snapshot!(refusal.replace(&folder.path().display().to_string(), "MODEL"), @"`MODEL` has no chat template (`chat_template.jinja`, or `chat_template` in `tokenizer_config.json`); send the prompt as text, or choose a model that was tuned for chats");
}

#[test]
fn ends_of_sequences_are_gathered_from_all_files() {
    let folder = folder(&byte_level());
    assert_eq!(open(&folder).unwrap().eos(), [7, 1]);
    write(folder.path(), "generation_config.json", &json!({"eos_token_id": [9, 7]}));
    assert_eq!(open(&folder).unwrap().eos(), [9, 7, 1]);
}

#[test]
fn breakers_are_ids_after_a_letter() {
    let tokenizer = BYTE_LEVEL.tokenizer();
    let ids: Vec<u32> = b"\n\"*:".iter().map(|byte| 2 + u32::from(*byte)).collect();
    assert_eq!(tokenizer.breakers(&Tokenizer::BREAKERS).unwrap(), ids);
    assert_eq!(tokenizer.breakers(&["", "he", "a"]).unwrap(), [2 + u32::from(b'a'), 261]);
    // This vocabulary has pieces for none of them: they encode to nothing.
    assert!(BYTE_FALLBACK.tokenizer().breakers(&Tokenizer::BREAKERS).unwrap().is_empty());
}

#[test]
fn what_is_missing_or_damaged_is_named() {
    let preset = ModelSource::Preset { name: "tiny-llama".into(), seed: 1 };
    assert_snapshot!(Text::open(&preset).err().unwrap(), @"preset tiny-llama has no tokenizer; send token ids, or open a model folder that holds `tokenizer.json`");
    let folder = folder(&byte_level());
    assert_snapshot!(BYTE_LEVEL.stream(&["a".into(), String::new()]).err().unwrap(), @"a stop string is empty; leave it out");
    write(folder.path(), "tokenizer_config.json", &json!({"bos_token": 3}));
    assert_snapshot!(refused(&folder), @"cannot load `MODEL/tokenizer_config.json`: `bos_token` is not a token");
    write(folder.path(), "tokenizer.json", &json!({"model": {}}));
    assert_snapshot!(refused(&folder), @"cannot load `MODEL/tokenizer.json`: data did not match any variant of untagged enum ModelUntagged at line 1 column 12");
    fs::remove_file(folder.path().join("tokenizer.json")).unwrap();
    assert_snapshot!(refused(&folder), @"`MODEL` has no tokenizer; send token ids, or open a model folder that holds `tokenizer.json`");
}
