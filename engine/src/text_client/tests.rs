//! Text through a runtime and back. The tokenizer has a three-letter code for each id of the small
//! engine's vocabulary, so that any answer is a text, and any piece of it a stop string.

use std::collections::BTreeMap;
use std::sync::mpsc::{Sender, channel};
use std::time::SystemTime;

use serde_json::json;

use super::*;
use crate::config::ModelSource;
use crate::engine::tests::{Fault, engine};
use crate::error::Error;
use crate::runtime::{Pending, Runtime, Stamped};
use crate::text::Chat;
use crate::text::chat::{Content, Ending, Message};

mod ends;
mod refusals;

const VOCABULARY: u32 = 1000;
/// The tokenizer's own end-of-sequence id; the engine knows another.
const EOS: u32 = 1;

/// Three letters, for the digits of `id`.
fn code(id: u32) -> String {
    [id / 100, id / 10 % 10, id % 10].map(|digit| char::from(b'a' + digit as u8)).iter().collect()
}

/// A folder with a tokenizer, and with a chat template if one is given.
fn folder(template: Option<&str>) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: String| std::fs::write(folder.path().join(name), text).unwrap();
    let vocabulary: BTreeMap<_, _> = (0..VOCABULARY).map(|id| (code(id), id)).collect();
    let eos = json!({"id": EOS, "content": code(EOS), "special": true, "single_word": false,
                     "lstrip": false, "rstrip": false, "normalized": false});
    let tokenizer = json!({
        "version": "1.0", "truncation": null, "padding": null, "normalizer": null,
        "added_tokens": [eos], "pre_tokenizer": {"type": "Whitespace"},
        "post_processor": null, "decoder": {"type": "Fuse"},
        "model": {"type": "WordLevel", "vocab": vocabulary, "unk_token": code(0)},
    });
    write("tokenizer.json", tokenizer.to_string());
    write("tokenizer_config.json", json!({"eos_token": code(EOS)}).to_string());
    write("config.json", json!({"eos_token_id": 2}).to_string());
    if let Some(template) = template {
        write("chat_template.jinja", template.into());
    }
    folder
}

fn text(template: Option<&str>) -> Text {
    let folder = folder(template);
    Text::open(&ModelSource::Folder { path: folder.path().into() }).unwrap()
}

/// A runtime, perhaps with a fault, and a client for it.
fn start(fault: Option<Fault>) -> (Runtime, TextClient) {
    let runtime = Runtime::start(engine(fault)).unwrap();
    let template = "{% for m in messages %}{{ m.content }} {% endfor %}";
    let client = TextClient::new(runtime.client(), text(Some(template)));
    (runtime, client)
}

/// A runtime whose model runs one pass per message that is sent, and runs freely once the sender is
/// dropped.
fn gated() -> (Runtime, TextClient, Sender<()>) {
    let (gate, passes) = channel();
    let (runtime, client) = start(Some(Fault::Gate(passes)));
    (runtime, client, gate)
}

fn request(prompt: Prompt) -> TextRequest {
    TextRequest {
        prompt,
        max_tokens: Some(12),
        sampling: Sampling { temperature: 1.0, seed: 3, ..Sampling::GREEDY },
        stop: Vec::new(),
        stop_strings: Vec::new(),
        eos: Eos::Ignore,
        truncation: Truncation::Refuse,
        choices: 1,
        prefix_cache: PrefixCache::On,
    }
}

/// Nine words.
fn words() -> Prompt {
    Prompt::Text((10..19).map(code).collect::<Vec<_>>().join(" "))
}

fn chat(messages: Vec<Message>) -> Prompt {
    Prompt::Chat(Chat {
        messages,
        tools: Vec::new(),
        ending: Ending::Answer,
        variables: BTreeMap::new(),
        now: SystemTime::UNIX_EPOCH,
    })
}

fn user(content: Content) -> Message {
    Message::User { content, name: None }
}

fn completions(client: &TextClient, request: TextRequest) -> Vec<Completion> {
    client.ask(request).unwrap().complete().unwrap()
}

/// The only choice.
fn completion(client: &TextClient, request: TextRequest) -> Completion {
    completions(client, request).remove(0)
}

#[test]
fn an_answer_tells_everything_in_order_with_the_times_of_the_runtime() {
    let (_runtime, client) = start(None);
    let sampling = Sampling { logprobs: Some(0), ..Sampling::GREEDY };
    let request = TextRequest { max_tokens: Some(2), sampling, ..request(words()) };
    let events: Vec<_> = client.ask(request.clone()).unwrap().collect();
    assert!(events.is_sorted_by_key(|stamped| stamped.at));
    let last = events.len() - 1;
    assert_eq!(events[last].at, events[last - 1].at, "both are of one step");
    let events: Vec<_> = events.into_iter().map(|Stamped { event, .. }| event).collect();
    let [TextEvent::Queued, _, TextEvent::Token { token: a, .. }, TextEvent::Token { .. }, _] =
        events[..]
    else {
        panic!("{events:?}")
    };
    assert_eq!(events[1], TextEvent::PromptDone { choice: 0, cached: 0 });
    let TextEvent::Token { choice: 0, text, logprobs: Some(_), .. } = &events[2] else {
        panic!("{events:?}")
    };
    assert_eq!(*text, code(a));
    let usage = Usage { prompt: 9, cached: 0, generated: 2 };
    let (rest, finish) = (String::new(), Finish::Length);
    assert_eq!(
        events[4],
        TextEvent::Finished { choice: 0, rest, finish, stop_string: None, usage }
    );
    let again = client.ask(request).unwrap().nth(1).unwrap().event;
    assert_eq!(again, TextEvent::PromptDone { choice: 0, cached: 8 });
}

#[test]
fn ids_words_and_chats_with_the_same_tokens_are_answered_alike() {
    let (_runtime, client) = start(None);
    let said = [(10..13), (13..19)].map(|ids| ids.map(code).collect::<Vec<_>>().join(" "));
    let ids = completion(&client, request(Prompt::Ids((10..19).collect())));
    assert_eq!((ids.finish.clone(), ids.tokens.len()), (Finish::Length, 12));
    let off = TextRequest { prefix_cache: PrefixCache::Off, ..request(words()) };
    assert_eq!(completion(&client, off), ids);
    let messages = chat(said.map(|words| user(Content::Text(words))).into());
    let chat = TextRequest { prefix_cache: PrefixCache::Off, ..request(messages) };
    assert_eq!(completion(&client, chat), ids);
}

#[test]
fn the_texts_of_a_choice_add_up_to_the_decode_of_its_tokens() {
    let (_runtime, client) = start(None);
    let asked = TextRequest { choices: 3, ..request(words()) };
    let choices = completions(&client, asked.clone());
    for Completion { tokens, text, finish, stop_string, usage } in &choices {
        assert_eq!(*text, client.text.tokenizer().decode(tokens).unwrap());
        assert_eq!((finish, stop_string, usage.generated), (&Finish::Length, &None, 12));
    }
    assert!(choices[0].text != choices[1].text && choices[1].text != choices[2].text);
    // Almost a stop string at the very end: it is held back until the end is known.
    let end = format!("{}!", &choices[0].text[31..]);
    let events = client.ask(TextRequest { choices: 1, stop_strings: vec![end], ..asked }).unwrap();
    let Some(TextEvent::Finished { rest, finish: Finish::Length, stop_string: None, .. }) =
        events.last().map(|stamped| stamped.event)
    else {
        panic!("it ends by its length")
    };
    assert_eq!(rest, choices[0].text[31..]);
}

#[test]
fn many_threads_ask_through_one_client() {
    let (runtime, client) = start(None);
    let asked = |seed| TextRequest {
        sampling: Sampling { temperature: 1.0, seed, ..Sampling::GREEDY },
        prefix_cache: PrefixCache::Off,
        ..request(words())
    };
    let alone: Vec<_> = (0..6).map(|seed| completion(&client, asked(seed))).collect();
    std::thread::scope(|scope| {
        for (seed, expected) in (0..).zip(&alone) {
            let client = client.clone();
            scope.spawn(move || assert_eq!(&completion(&client, asked(seed)), expected));
        }
    });
    runtime.shutdown(Pending::Finish).unwrap().check_integrity().unwrap();
}
