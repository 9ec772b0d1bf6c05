//! A server that speaks the OpenAI protocol: streamed completions, with the arrival time of each
//! chunk.
//!
//! Prompts are text because the tokenizer is unknown: common words, one for each token that the
//! case asks for. The real token counts of prompt and answer are those that the server reports as
//! its usage.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

use anyhow::{Context, Result, anyhow, bail, ensure};
use serde::Deserialize;
use serde_json::{Value, json};
use ureq::Agent;
use windtunnel_ledger::case::{Arrival, Case, Lengths, Workload};
use windtunnel_ledger::record::{Digest, Iteration};
use windtunnel_ledger::timeline::{self, Timeline};
use windtunnel_ledger::wire::Message;
use windtunnel_ledger::{Metric, Nanos, Tokens};
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::server::{Server, free_port, nobody_answers, peak_rss, wait};
use super::{filled, iterations, say};
use crate::external::OpenAi;

/// What one iteration asks for.
#[derive(Clone, Copy)]
struct Asked {
    /// Words per prompt.
    prompt: Tokens,
    /// Tokens per answer.
    output: Tokens,
    /// Requests in all.
    requests: u32,
    /// Requests in flight at once.
    batch: u32,
}

/// One answer.
struct Answer {
    timeline: Timeline,
    text: String,
}

/// A server that is ready.
struct Service<'a> {
    agent: Agent,
    openai: &'a OpenAi,
    address: String,
    case: &'a Case,
}

/// Runs a case and returns the last message to send.
pub(super) fn case(openai: &OpenAi, folder: &Path, case: &Case) -> Result<Message> {
    let asked = match asked(case) {
        Ok(asked) => asked,
        Err(reason) => return Ok(Message::Unsupported { reason }),
    };
    let port = [("port", free_port()?.to_string())];
    // A proxy would be measured along with the server.
    let agent = Agent::config_builder().http_status_as_error(false).proxy(None).build().new_agent();
    let address = filled(openai.address.trim_end_matches('/'), &port);
    let service = Service { agent, openai, address, case };
    let line = openai.server.as_deref().map(|line| filled(line, &port));
    if line.is_some() {
        nobody_answers(&service.agent, &service.address)?;
    }
    let start = Instant::now();
    let mut server = line.map(|line| Server::start(&line, folder)).transpose()?;
    wait(&service.agent, &service.address, server.as_mut())?;
    let load_time = start.elapsed().as_nanos() as f64;

    let prompts = iterations(case).flat_map(|(index, _)| {
        (0..asked.requests).map(move |request| points(&words(case, index, request, asked.prompt)))
    });
    let prompts: Vec<Vec<u32>> = prompts.collect();
    let once = server.as_ref().map(|_| (Metric::LoadTime, load_time));
    say(&Message::Loaded {
        declined: Default::default(),
        attention: "openai".to_owned(),
        holdings: Vec::new(),
        dtype: None,
        formats: Vec::new(),
        prompts: Some(Digest::of_prompts(prompts.iter().map(Vec::as_slice))),
        values: once.into_iter().collect(),
    })?;
    for (index, kind) in iterations(case) {
        let answers = service.iteration(index, asked, start)?;
        let digest = digest(asked, &answers);
        let timelines: Vec<Timeline> = answers.into_iter().map(|answer| answer.timeline).collect();
        let mut values = match case.workload {
            // Only the time during which all sequences decode counts.
            Workload::Decode { .. } => timeline::metrics(&timeline::together(&timelines)),
            _ => timeline::metrics(&timelines),
        };
        if let Workload::Serve { slo, .. } = case.workload {
            values.extend(timeline::service(&timelines, &slo));
        }
        values.retain(|metric, _| case.workload.metrics().contains(metric));
        say(&Message::Iteration(Iteration { kind, digest, values }))?;
    }
    let peak = server.as_ref().and_then(|_| peak_rss());
    let values: BTreeMap<Metric, f64> =
        peak.map(|bytes| (Metric::PeakRss, bytes)).into_iter().collect();
    Ok(Message::End { values })
}

/// The digest of the answers.
///
/// With several requests in flight, timing decides which of them a server batches together, and its
/// number format is unknown. So they are treated like those of a probe in half precision: only
/// their lengths are compared.
fn digest(asked: Asked, answers: &[Answer]) -> Digest {
    if asked.batch.min(asked.requests) > 1 {
        let lengths = answers.iter().map(|answer| answer.timeline.tokens.len() as u32);
        return Digest::of_outputs([lengths.collect::<Vec<_>>().as_slice()]);
    }
    let outputs: Vec<Vec<u32>> = answers.iter().map(|answer| points(&answer.text)).collect();
    Digest::of_outputs(outputs.iter().map(Vec::as_slice))
}

/// What a case asks for, or why a server cannot run it.
fn asked(case: &Case) -> Result<Asked, String> {
    let shape = case.shape();
    match case.workload {
        Workload::Prefill { prompt, batch } => {
            Ok(Asked { prompt, output: Tokens(1), requests: batch, batch })
        }
        Workload::Decode { depth, output: _, batch } => {
            Ok(Asked { prompt: depth, output: shape.output, requests: batch, batch })
        }
        Workload::Generate { prompt, output, batch } => {
            Ok(Asked { prompt, output, requests: batch, batch })
        }
        Workload::Serve {
            arrival: Arrival::Closed,
            batch,
            requests,
            prompt: Lengths::Fixed(prompt),
            output: Lengths::Fixed(output),
            shared: 0,
            slo: _,
        } => Ok(Asked { prompt, output, requests, batch }),
        Workload::Serve { .. } => Err(
            "a server is asked in a closed loop, for fixed lengths, with nothing shared: choose arrival = \"closed\" and such lengths"
                .to_owned(),
        ),
        _ => Err(format!(
            "a server cannot run `{}`: choose prefill, decode, generate or serve",
            case.workload.name()
        )),
    }
}

impl Service<'_> {
    /// Sends all requests of one iteration, as many at once as allowed, and returns the answers in
    /// prompt order.
    fn iteration(&self, index: u32, asked: Asked, clock: Instant) -> Result<Vec<Answer>> {
        let next = AtomicU32::new(0);
        let caller = || -> Result<Vec<(u32, Answer)>> {
            let mut answers = Vec::new();
            loop {
                let request = next.fetch_add(1, Ordering::Relaxed);
                if request >= asked.requests {
                    return Ok(answers);
                }
                let prompt = words(self.case, index, request, asked.prompt);
                answers.push((request, self.answer(&prompt, asked, clock)?));
            }
        };
        let answers = std::thread::scope(|scope| {
            let callers = asked.batch.min(asked.requests);
            let begun = (0..callers).map(|_| {
                let begun = std::thread::Builder::new().spawn_scoped(scope, caller);
                begun.with_context(|| format!("cannot start {callers} callers: lower `batch`, or raise the limit of threads"))
            });
            let callers = begun.collect::<Result<Vec<_>>>()?;
            let answers = callers.into_iter().map(|caller| {
                caller.join().unwrap_or_else(|_| Err(anyhow!("a caller of the server panicked")))
            });
            answers.collect::<Result<Vec<_>>>()
        })?;
        let mut answers: Vec<(u32, Answer)> = answers.into_iter().flatten().collect();
        answers.sort_by_key(|(request, _)| *request);
        Ok(answers.into_iter().map(|(_, answer)| answer).collect())
    }

    /// Requests one completion and records when its chunks arrive.
    fn answer(&self, prompt: &str, asked: Asked, clock: Instant) -> Result<Answer> {
        let mut body = json!({
            "model": self.openai.model.as_deref().unwrap_or(&self.case.model.name),
            "prompt": prompt,
            "max_tokens": asked.output.0,
            "temperature": 0,
            "seed": self.case.seed,
            "stream": true,
            "stream_options": { "include_usage": true },
        });
        if let Some(fields) = body.as_object_mut() {
            fields.extend(self.openai.body.clone());
        }
        let url = format!("{}/completions", self.address);
        let now = || Nanos(clock.elapsed().as_nanos() as u64);
        let submitted = now();
        let request = self.agent.post(&url).header("content-type", "application/json");
        let response = request
            .send(body.to_string())
            .with_context(|| format!("the server does not answer `POST {url}`"))?;
        let status = response.status();
        let reader = BufReader::new(response.into_body().into_reader());
        if !status.is_success() {
            let said: Vec<String> = reader.lines().take(5).map_while(Result::ok).collect();
            bail!("the server answered {status} to `POST {url}`: {}", said.join(" "));
        }
        let mut heard = Heard::default();
        for line in reader.lines() {
            let line = line.context("the server broke off its answer")?;
            if let Some(said) = line.strip_prefix("error:") {
                bail!("the server broke off its answer: {}", said.trim());
            }
            let Some(data) = line.strip_prefix("data:").map(str::trim) else { continue };
            if data == "[DONE]" {
                break;
            }
            heard.add(piece(data)?, now());
        }
        let tokens = heard.tokens(asked.output)?;
        let prompt = heard.usage.as_ref().map_or(asked.prompt, |usage| Tokens(usage.prompt_tokens));
        let timeline = Timeline { prompt, submitted, started: None, tokens };
        Ok(Answer { timeline, text: heard.text })
    }
}

/// Parses one `data:` line of an answer.
fn piece(data: &str) -> Result<Piece> {
    let wrong = || format!("the server sent something other than a completion: `{data}`");
    let value: Value = serde_json::from_str(data).with_context(wrong)?;
    // An error replaces the choices.
    let said = value.get("error").or_else(|| match value.get("choices") {
        None => value.get("message"),
        Some(_) => None,
    });
    if let Some(said) = said.filter(|said| !said.is_null()) {
        let words = said.get("message").unwrap_or(said);
        let words = words.as_str().map_or_else(|| words.to_string(), str::to_owned);
        bail!("the server broke off its answer: {words}");
    }
    serde_json::from_value(value).with_context(wrong)
}

/// One chunk of an answer.
#[derive(Deserialize)]
struct Piece {
    #[serde(default)]
    choices: Vec<Choice>,
    usage: Option<Usage>,
}

#[derive(Deserialize)]
struct Choice {
    #[serde(default)]
    text: String,
}

/// Token counts that the server reported.
#[derive(Deserialize)]
struct Usage {
    #[serde(default)]
    prompt_tokens: u64,
    #[serde(default)]
    completion_tokens: u64,
}

/// What has been received of an answer.
#[derive(Default)]
struct Heard {
    text: String,
    moments: Vec<Nanos>,
    usage: Option<Usage>,
}

impl Heard {
    fn add(&mut self, piece: Piece, now: Nanos) {
        let text: String = piece.choices.into_iter().map(|choice| choice.text).collect();
        if !text.is_empty() {
            self.moments.push(now);
            self.text.push_str(&text);
        }
        // Some servers report running counts: the last one is the total.
        self.usage = piece.usage.or(self.usage.take());
    }

    /// The arrival times of all tokens. If the server counts more or fewer tokens than there were
    /// chunks, the tokens are spread evenly over the chunks.
    fn tokens(&self, wanted: Tokens) -> Result<Vec<Nanos>> {
        let pieces = self.moments.len() as u64;
        let found = self.usage.as_ref().map_or(pieces, |usage| usage.completion_tokens);
        ensure!(
            found == wanted.0,
            "the server gave {found} tokens instead of {wanted}: where it ends early, tell it not to, for instance by `body = {{ ignore_eos = true }}` in the description",
            wanted = wanted.0
        );
        ensure!(pieces > 0, "the server gave {found} tokens and no text");
        let of = |token: u64| self.moments[(token * pieces / found) as usize];
        Ok((0..found).map(of).collect())
    }
}

/// Words that tokenizers encode as one token each.
const WORDS: [&str; 32] = [
    "time", "year", "people", "way", "day", "man", "thing", "woman", "life", "child", "world",
    "school", "state", "family", "student", "group", "country", "problem", "hand", "part", "place",
    "case", "week", "company", "system", "program", "question", "work", "number", "night", "point",
    "home",
];

/// A prompt of `length` words: fixed by the case, different in each iteration and request.
fn words(case: &Case, iteration: u32, request: u32, length: Tokens) -> String {
    let word = |place: u64| {
        let key = [u64::from(iteration), u64::from(request), place].map(u64::to_le_bytes);
        WORDS[(xxh3_64_with_seed(&key.concat(), case.seed) % WORDS.len() as u64) as usize]
    };
    (0..length.0).map(word).collect::<Vec<_>>().join(" ")
}

/// A text as code points, for a digest.
fn points(text: &str) -> Vec<u32> {
    text.chars().map(u32::from).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(moments: &[u64], counted: Option<u64>) -> Heard {
        Heard {
            text: "x".to_owned(),
            moments: moments.iter().map(|moment| Nanos(*moment)).collect(),
            usage: counted.map(|completion_tokens| Usage { prompt_tokens: 1, completion_tokens }),
        }
    }

    #[test]
    fn tokens_come_with_their_pieces_however_a_server_cuts_them() {
        let tokens = |moments: &[u64], counted, wanted| -> Vec<u64> {
            let tokens = heard(moments, counted).tokens(Tokens(wanted)).unwrap();
            tokens.into_iter().map(|moment| moment.0).collect()
        };
        assert_eq!(tokens(&[1, 2, 3], Some(3), 3), [1, 2, 3]);
        assert_eq!(tokens(&[1, 2, 3], None, 3), [1, 2, 3]);
        assert_eq!(tokens(&[1, 2], Some(4), 4), [1, 1, 2, 2], "two tokens a piece");
        assert_eq!(tokens(&[1, 2, 3, 4], Some(2), 2), [1, 3], "two pieces a token");
    }

    #[test]
    fn an_answer_that_ends_early_is_no_sample() {
        let complaint = heard(&[1, 2], None).tokens(Tokens(3)).unwrap_err().to_string();
        assert!(complaint.starts_with("the server gave 2 tokens instead of 3"), "{complaint}");
        assert!(heard(&[], Some(3)).tokens(Tokens(3)).is_err());
    }

    #[test]
    fn pieces_of_several_servers_are_read() {
        let mut heard = Heard::default();
        for data in [
            r#"{"choices":[{"text":"a","index":0,"finish_reason":null}],"usage":null}"#,
            r#"{"choices":[{"text":"","finish_reason":"length"}]}"#,
            r#"{"choices":[],"usage":{"prompt_tokens":7,"completion_tokens":1,"total_tokens":8}}"#,
        ] {
            heard.add(serde_json::from_str(data).unwrap(), Nanos(1));
        }
        assert_eq!((heard.text.as_str(), heard.moments.len()), ("a", 1));
        assert_eq!(heard.usage.unwrap().prompt_tokens, 7);
    }
}
