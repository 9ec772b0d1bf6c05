//! A server that speaks the OpenAI protocol: streamed completions, with the arrival time of each
//! chunk.
//!
//! Prompts are text because the tokenizer is unknown: common words, one for each token that the
//! case asks for. The real token counts of prompt and answer are those that the server reports as
//! its usage.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, Scope, ScopedJoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail, ensure};
use serde::Deserialize;
use serde_json::{Value, json};
use ureq::Agent;
use windtunnel_ledger::case::{Arrival, Case, Lengths, Workload};
use windtunnel_ledger::record::{Digest, Iteration};
use windtunnel_ledger::timeline::{self, Timeline};
use windtunnel_ledger::traffic::{Traffic, Wanted};
use windtunnel_ledger::wire::Message;
use windtunnel_ledger::{Metric, Nanos, Tokens};
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::server::{Server, free_port, nobody_answers, peak_rss, wait};
use super::{filled, iterations, say};
use crate::external::OpenAi;

/// What one iteration asks for.
#[derive(Clone, Copy)]
struct Asked {
    /// Arrivals and lengths of all requests.
    traffic: Traffic,
    /// Requests in all.
    requests: u32,
    /// Requests in flight at once in a closed loop.
    batch: u32,
}

/// One request.
struct Request {
    /// In an open loop, when it is due, counted from the start of the iteration.
    due: Option<Nanos>,
    prompt: String,
    /// Words of the prompt.
    words: Tokens,
    /// Tokens to generate.
    output: Tokens,
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
        asked.of(case, index).into_iter().map(|request| points(&request.prompt))
    });
    let once = server.as_ref().map(|_| (Metric::LoadTime, load_time));
    say(&Message::Loaded {
        declined: Default::default(),
        attention: "openai".to_owned(),
        holdings: Vec::new(),
        dtype: None,
        formats: Vec::new(),
        prompts: Some(Digest::of_prompts(prompts)),
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
    let at_once = match asked.traffic.arrival {
        Arrival::Closed => asked.batch.min(asked.requests),
        Arrival::Poisson(_) | Arrival::Fixed(_) => asked.requests,
    };
    if at_once > 1 {
        let lengths = answers.iter().map(|answer| answer.timeline.tokens.len() as u32);
        return Digest::of_outputs([lengths.collect::<Vec<_>>().as_slice()]);
    }
    let outputs: Vec<Vec<u32>> = answers.iter().map(|answer| points(&answer.text)).collect();
    Digest::of_outputs(outputs.iter().map(Vec::as_slice))
}

/// What a case asks for, or why a server cannot run it.
fn asked(case: &Case) -> Result<Asked, String> {
    let at_once = |prompt: Tokens, output: Tokens, batch: u32| {
        let (prompt, output) = (Lengths::Fixed(prompt), Lengths::Fixed(output));
        let traffic = Traffic { arrival: Arrival::Closed, prompt, output, shared: 0 };
        Ok(Asked { traffic, requests: batch, batch })
    };
    match case.workload {
        Workload::Prefill { prompt, batch } => at_once(prompt, Tokens(1), batch),
        Workload::Decode { depth, output: _, batch } => at_once(depth, case.shape().output, batch),
        Workload::Generate { prompt, output, batch } => at_once(prompt, output, batch),
        Workload::Serve { arrival, batch, requests, prompt, output, shared, slo: _ } => {
            Ok(Asked { traffic: Traffic { arrival, prompt, output, shared }, requests, batch })
        }
        _ => Err(format!(
            "a server cannot run `{}`: choose prefill, decode, generate or serve",
            case.workload.name()
        )),
    }
}

impl Asked {
    /// The requests of an iteration of `case`, in the order in which they come.
    fn of(self, case: &Case, iteration: u32) -> Vec<Request> {
        let wanted = self.traffic.requests(case.seed);
        let request = |(number, wanted)| {
            let Wanted { due, prompt, shared, output } = wanted;
            let own = words(case, iteration, number, Tokens(prompt.0 - shared.0));
            let text = [words(case, iteration, COMMON, shared), own].concat();
            Request { due, prompt: text.join(" "), words: prompt, output }
        };
        (0..self.requests).zip(wanted).map(request).collect()
    }
}

impl Service<'_> {
    /// Sends all requests of one iteration, as many at once as allowed, and returns the answers in
    /// prompt order.
    fn iteration(&self, index: u32, asked: Asked, clock: Instant) -> Result<Vec<Answer>> {
        let requests = asked.of(self.case, index);
        match asked.traffic.arrival {
            Arrival::Closed => self.in_turn(&requests, asked.batch, clock),
            Arrival::Poisson(_) | Arrival::Fixed(_) => self.when_due(&requests, clock),
        }
    }

    /// Keeps `batch` requests in flight: sends the next as soon as one of them ends.
    fn in_turn(&self, requests: &[Request], batch: u32, clock: Instant) -> Result<Vec<Answer>> {
        let next = AtomicUsize::new(0);
        let caller = || -> Result<Vec<(usize, Answer)>> {
            let mut answers = Vec::new();
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                let Some(request) = requests.get(number) else { return Ok(answers) };
                answers.push((number, self.answer(request, None, clock)?));
            }
        };
        let answers = thread::scope(|scope| {
            let callers = (0..requests.len().min(batch as usize)).map(|_| call(scope, caller));
            let callers = callers.collect::<Result<Vec<_>>>()?;
            callers.into_iter().map(joined).collect::<Result<Vec<_>>>()
        })?;
        let mut answers: Vec<(usize, Answer)> = answers.into_iter().flatten().collect();
        answers.sort_by_key(|(number, _)| *number);
        Ok(answers.into_iter().map(|(_, answer)| answer).collect())
    }

    /// Sends each request when it is due, however many are in flight by then, until one fails. Its
    /// time counts from that moment, even if it is sent later.
    fn when_due(&self, requests: &[Request], clock: Instant) -> Result<Vec<Answer>> {
        let start = clock.elapsed();
        let has_failed = AtomicBool::new(false);
        let caller = |request: &Request, due: Duration| {
            let answer = self.answer(request, Some(due), clock);
            has_failed.fetch_or(answer.is_err(), Ordering::Relaxed);
            answer
        };
        thread::scope(|scope| {
            let mut callers = Vec::with_capacity(requests.len());
            for request in requests {
                let due = start + Duration::from_nanos(request.due.map_or(0, |due| due.0));
                thread::sleep(due.saturating_sub(clock.elapsed()));
                if has_failed.load(Ordering::Relaxed) {
                    break;
                }
                callers.push(call(scope, move || caller(request, due))?);
            }
            callers.into_iter().map(joined).collect::<Result<Vec<_>>>()
        })
    }

    /// Requests one completion and records when its chunks arrive. It counts as submitted at `due`,
    /// or now if there is none.
    fn answer(&self, request: &Request, due: Option<Duration>, clock: Instant) -> Result<Answer> {
        let mut body = json!({
            "model": self.openai.model.as_deref().unwrap_or(&self.case.model.name),
            "prompt": request.prompt,
            "max_tokens": request.output.0,
            "temperature": 0,
            "seed": self.case.seed,
            "stream": true,
            "stream_options": { "include_usage": true },
        });
        if let Some(fields) = body.as_object_mut() {
            fields.extend(self.openai.body.clone());
        }
        // A long prompt takes time to write down, which is none of the server's.
        let body = body.to_string();
        let url = format!("{}/completions", self.address);
        let now = || Nanos(clock.elapsed().as_nanos() as u64);
        let submitted = due.map_or_else(now, |due| Nanos(due.as_nanos() as u64));
        let post = self.agent.post(&url).header("content-type", "application/json");
        let response =
            post.send(body).with_context(|| format!("the server does not answer `POST {url}`"))?;
        let status = response.status();
        let reader = BufReader::new(response.into_body().into_reader());
        if !status.is_success() {
            let said: Vec<String> = reader.lines().take(5).map_while(Result::ok).collect();
            bail!("the server answered {status} to `POST {url}`: {}", said.join(" "));
        }
        let mut heard = Heard::default();
        for line in reader.lines() {
            let line = line.context("the server broke off its answer")?;
            let came = now();
            if let Some(said) = line.strip_prefix("error:") {
                bail!("the server broke off its answer: {}", said.trim());
            }
            let Some(data) = line.strip_prefix("data:").map(str::trim) else { continue };
            if data == "[DONE]" {
                break;
            }
            heard.add(piece(data)?, came);
        }
        let tokens = heard.tokens(request.output)?;
        let prompt =
            heard.usage.as_ref().map_or(request.words, |usage| Tokens(usage.prompt_tokens));
        let timeline = Timeline { prompt, submitted, started: None, tokens };
        Ok(Answer { timeline, text: heard.text })
    }
}

/// Starts a thread that calls the server.
fn call<'s, T: Send + 's>(
    scope: &'s Scope<'s, '_>,
    caller: impl FnOnce() -> Result<T> + Send + 's,
) -> Result<ScopedJoinHandle<'s, Result<T>>> {
    let begun = thread::Builder::new().spawn_scoped(scope, caller);
    begun.context("cannot start a caller: lower `batch` or the rate, or raise the limit of threads")
}

/// Waits for a caller and returns its result.
fn joined<T>(caller: ScopedJoinHandle<'_, Result<T>>) -> Result<T> {
    caller.join().unwrap_or_else(|_| Err(anyhow!("a caller of the server panicked")))
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
        let how = match self.usage {
            Some(_) => "",
            None => " (it reports no usage, so each chunk counts as one)",
        };
        ensure!(
            found == wanted.0,
            "the server gave {found} tokens instead of {wanted}{how}: where it ends early, tell it not to, for instance by `body = {{ ignore_eos = true }}` in the description",
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

/// The request number from which the prefix that all prompts share is drawn.
const COMMON: u32 = u32::MAX;

/// `length` words of a prompt: fixed by the case, different in each iteration and request.
fn words(case: &Case, iteration: u32, request: u32, length: Tokens) -> Vec<&'static str> {
    let word = |place: u64| {
        let key = [u64::from(iteration), u64::from(request), place].map(u64::to_le_bytes);
        WORDS[(xxh3_64_with_seed(&key.concat(), case.seed) % WORDS.len() as u64) as usize]
    };
    (0..length.0).map(word).collect()
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
    fn requests_come_when_they_are_due_and_begin_alike() {
        let case: Case = serde_json::from_str(
            r#"{"id":"a","workload":"load","model":{"name":"m","source":{"preset":"m"}},
            "dtype":"f32","kv":"contiguous","attention":"auto","step_tokens":512,"warmup":0,
            "iterations":1,"seed":1,"deadline":1}"#,
        )
        .unwrap();
        let of = |arrival: &str, shared: u32, iteration: u32| {
            let (prompt, output) = ("8".parse().unwrap(), "uniform-2-4".parse().unwrap());
            let arrival = arrival.parse().unwrap();
            let traffic = Traffic { arrival, prompt, output, shared };
            Asked { traffic, requests: 3, batch: 1 }.of(&case, iteration)
        };
        let requests = of("fixed-4", 50, 0);
        let due: Vec<u64> = requests.iter().map(|request| request.due.unwrap().0).collect();
        assert_eq!(due, [0, 250_000_000, 500_000_000]);
        assert!(requests.iter().all(|request| (2..=4).contains(&request.output.0)));
        let halves = |request: &Request| {
            let words: Vec<String> = request.prompt.split(' ').map(str::to_owned).collect();
            assert_eq!((words.len(), request.words), (8, Tokens(8)));
            (words[..4].to_vec(), words[4..].to_vec())
        };
        let (first, second) = (halves(&requests[0]), halves(&requests[1]));
        assert_eq!(first.0, second.0, "what all have in common");
        assert_ne!(first.1, second.1);
        assert_ne!(halves(&of("fixed-4", 50, 1)[0]).0, first.0, "other words in each iteration");
        let alone = of("closed", 0, 0);
        assert!(alone.iter().all(|request| request.due.is_none()));
        assert_ne!(halves(&alone[0]).0, halves(&alone[1]).0);
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
        let complaint =
            |counted| heard(&[1, 2], counted).tokens(Tokens(3)).unwrap_err().to_string();
        let told = complaint(Some(2));
        assert!(told.starts_with("the server gave 2 tokens instead of 3: where"), "{told}");
        let told = complaint(None);
        assert!(told.contains("instead of 3 (it reports no usage, so each"), "{told}");
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
