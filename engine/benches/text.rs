//! The work between words and tokens: a chat rendered by its template, a prompt encoded to ids, and
//! ids decoded to words one at a time.
//!
//! `cargo bench -p windtunnel-engine --bench text`. The tokenizer is a BPE like Qwen's, with
//! made-up words. The elements of `detokenise` and `encode` are tokens, those of `template`
//! messages. `detokenise with stop strings` also watches for two of them.

use std::hint::black_box;
use std::time::{Duration, UNIX_EPOCH};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use windtunnel_engine::ModelSource;
use windtunnel_engine::text::chat::{Content, Ending, Message};
use windtunnel_engine::text::{Chat, Prompt, Text};

#[path = "support/words.rs"]
mod words;

const VOCABULARY: usize = 32_000;
/// Tokens of an answer.
const ANSWER: u32 = 256;
/// Letters of a prompt.
const LETTERS: usize = 4096;
/// A template like those of most chat models.
const TEMPLATE: &str = "{%- for message in messages %}\n\
    {%- if loop.first and message.role != 'system' %}\n\
    {{- '<|im_start|>system\\nYou are a helpful assistant.<|im_end|>\\n' }}\n\
    {%- endif %}\n\
    {{- '<|im_start|>' + message.role + '\\n' + message.content | trim + '<|im_end|>\\n' }}\n\
    {%- endfor %}\n\
    {%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}";

fn open() -> Text {
    let folder = tempfile::tempdir().expect("there is room for temporary files");
    let path = folder.path().join("text.gguf");
    let mut tokenizer = words::pairs(VOCABULARY);
    tokenizer.push(("tokenizer.chat_template", words::text(TEMPLATE)));
    words::write(&path, &tokenizer);
    Text::open(&ModelSource::Gguf { path }).expect("the file is whole")
}

/// A conversation of `messages` messages.
fn chat(messages: usize) -> Chat {
    let said = |at: usize| Content::Text(format!("message {at}: {}", "so it goes on ".repeat(16)));
    let message = |at: usize| match at % 2 {
        0 => Message::User { content: said(at), name: None },
        _ => Message::Assistant {
            content: Some(said(at)),
            reasoning_content: None,
            tool_calls: Vec::new(),
        },
    };
    Chat {
        messages: (0..messages).map(message).collect(),
        tools: Vec::new(),
        ending: Ending::Answer,
        variables: Default::default(),
        now: UNIX_EPOCH,
    }
}

fn text(c: &mut Criterion) {
    let text = open();
    let mut group = c.benchmark_group("text");
    group.sample_size(20).warm_up_time(Duration::from_millis(200));
    group.measurement_time(Duration::from_millis(800));

    for messages in [1, 9, 65] {
        let chat = chat(messages);
        group.throughput(Throughput::Elements(messages as u64));
        group.bench_function(BenchmarkId::new("template", messages), |b| {
            b.iter(|| text.render(&chat).expect("the template is whole"));
        });
    }

    let prompt: String = (0..LETTERS).map(|at| char::from(b'a' + (at * at % 26) as u8)).collect();
    let ids = text.encode(Prompt::Text(prompt.clone())).expect("these are words");
    group.throughput(Throughput::Elements(ids.len() as u64));
    group.bench_function("encode", |b| {
        b.iter(|| black_box(text.encode(Prompt::Text(prompt.clone()))));
    });

    // None of them is an added token.
    let ids: Vec<u32> = (0..ANSWER).map(|at| 32 * (1 + at * 7 % 900) + 1 + at % 31).collect();
    group.throughput(Throughput::Elements(u64::from(ANSWER)));
    for (name, stop) in
        [("detokenise", &[][..]), ("detokenise with stop strings", &["\n\n\n", "<end>"])]
    {
        let stop: Vec<String> = stop.iter().map(ToString::to_string).collect();
        group.bench_function(name, |b| {
            b.iter(|| {
                let mut stream = text.stream(&stop).expect("no stop string is empty");
                for id in &ids {
                    black_box(stream.push(*id).expect("the id is known"));
                }
                stream.finish()
            });
        });
    }
    group.finish();
}

criterion_group!(benches, text);
criterion_main!(benches);
