//! Every refusal of a text request, word for word.

use insta::assert_snapshot;

use super::*;

fn declined(request: TextRequest) -> String {
    let (runtime, client) = start(None);
    let refusal = client.ask(request).map(drop).unwrap_err().to_string();
    assert_eq!(runtime.shutdown(Pending::Finish).unwrap().stats().submitted, 0);
    refusal
}

fn sampled(sampling: Sampling) -> String {
    declined(TextRequest { sampling, ..request(words()) })
}

/// A chat of one word and `parts`.
fn parts(parts: &[&str]) -> Prompt {
    let parts = parts.iter().map(|part| part.parse().unwrap()).collect();
    chat(vec![user(Content::Text("abc".into())), user(Content::Parts(parts))])
}

#[test]
fn prompts_that_say_nothing_are_declined() {
    assert_snapshot!(declined(request(Prompt::Ids(vec![]))), @"the prompt is empty; give it at least one token");
    assert_snapshot!(declined(request(Prompt::Text(String::new()))), @"the prompt is an empty text; write at least one character");
    // The tokenizer returns no ids for it.
    assert_snapshot!(declined(request(Prompt::Text(" \n".into()))), @"the prompt is empty; give it at least one token");
    assert_snapshot!(declined(request(chat(vec![]))), @"the chat has no messages; give it at least one");
}

#[test]
fn prompts_that_are_too_long_are_declined_unless_they_may_be_cut() {
    let long = Prompt::Ids((0..80).collect());
    assert_snapshot!(declined(request(long.clone())), @"the prompt has 80 tokens, but at most 63 fit beside one new token; shorten it or ask for truncation");
    let (_runtime, client) = start(None);
    let cut = TextRequest { truncation: Truncation::KeepTail, ..request(long) };
    let usage = completion(&client, cut).usage;
    assert_eq!((usage.prompt, usage.generated), (64 - 12, 12));
}

#[test]
fn what_asks_for_nothing_or_for_the_impossible_is_declined() {
    assert_snapshot!(declined(TextRequest { choices: 0, ..request(words()) }), @"`choices` is 0; ask for at least one");
    assert_snapshot!(declined(TextRequest { choices: 1000, ..request(words()) }), @"`choices` is 1000, but a request has at most 128; send several requests");
    assert_snapshot!(declined(TextRequest { max_tokens: Some(0), ..request(words()) }), @"`max_tokens` is 0; ask for at least one token");
    assert_snapshot!(sampled(Sampling { temperature: -0.5, ..Sampling::GREEDY }), @"`temperature` is -0.5, but must be a number of at least 0; use 0 for greedy decoding");
    assert_snapshot!(sampled(Sampling { temperature: f32::NAN, ..Sampling::GREEDY }), @"`temperature` is NaN, but must be a number of at least 0; use 0 for greedy decoding");
    assert_snapshot!(sampled(Sampling { top_p: 0.0, ..Sampling::GREEDY }), @"`top_p` is 0, but must be above 0 and at most 1; use 1 to turn it off");
    assert_snapshot!(sampled(Sampling { top_p: 1.5, ..Sampling::GREEDY }), @"`top_p` is 1.5, but must be above 0 and at most 1; use 1 to turn it off");
    let stop_strings = vec!["abc".into(), String::new()];
    assert_snapshot!(declined(TextRequest { stop_strings, ..request(words()) }), @"a stop string is empty; leave it out");
}

#[test]
fn a_chat_needs_a_template_and_words_need_a_tokenizer() {
    let runtime = Runtime::start(engine(None)).unwrap();
    let folder = folder(None);
    let text = Text::open(&ModelSource::Folder { path: folder.path().into() }).unwrap();
    let client = TextClient::new(runtime.client(), text);
    let hello = chat(vec![user(Content::Text("abc".into()))]);
    let refusal = client.ask(request(hello)).map(drop).unwrap_err().to_string();
    assert_snapshot!(refusal.replace(&folder.path().display().to_string(), "MODEL"), @"`MODEL` has no chat template (`chat_template.jinja`, or `chat_template` in `tokenizer_config.json`); send the prompt as text, or choose a model that was tuned for chats");
    let preset = ModelSource::Preset { name: "tiny-qwen3".into(), seed: 1 };
    assert_snapshot!(Text::open(&preset).err().unwrap(), @"preset tiny-qwen3 has no tokenizer; send token ids, or open a model folder that holds `tokenizer.json`");
}

#[test]
fn parts_that_are_no_text_are_declined() {
    let text = r#"{"type": "text", "text": "aaa aab"}"#;
    let (_runtime, client) = start(None);
    assert_eq!(completion(&client, request(parts(&[text, text]))).finish, Finish::Length);
    let image = r#"{"type": "image_url", "image_url": {"url": "cat.png"}}"#;
    assert_snapshot!(declined(request(parts(&[text, image]))), @"message 2 has a part of type `image_url`, but this model reads only text; leave the part out, or say in words what it shows");
    let bad = "message 2 has a part that cannot be read; each needs a `type`, and one of type `text` needs its `text`";
    for part in [r#"{"type": "text"}"#, r#"{"text": "aaa"}"#, r#""aaa""#] {
        assert_eq!(declined(request(parts(&[part]))), bad);
    }
}
