//! Embeds texts into vectors, one batch after another.

use anyhow::Result;
use windtunnel_engine::{EmbedRequest, Embedder, Overlong};
use windtunnel_ledger::case::{Arrival, Case, Lengths};
use windtunnel_ledger::record::Digest;
use windtunnel_ledger::timeline::Values;
use windtunnel_ledger::traffic::Traffic;
use windtunnel_ledger::{Metric, Tokens};

use crate::clock::Clock;
use crate::traffic::coming;

/// Embeds the `requests` texts of one iteration of `case`, `batch` at a time.
///
/// # Errors
///
/// When the embedder refuses a text, or fails on one.
pub fn iteration(
    embedder: &Embedder,
    case: &Case,
    [requests, batch]: [u32; 2],
    prompt: Lengths,
    index: u32,
    clock: &Clock,
) -> Result<(Digest, Values)> {
    let output = Lengths::Fixed(Tokens(1));
    let traffic = Traffic { arrival: Arrival::Closed, prompt, output, shared: 0 };
    let texts: Vec<EmbedRequest> = coming(traffic, case.seed, index, embedder.vocabulary())
        .take(requests as usize)
        .map(|coming| EmbedRequest { tokens: coming.prompt, overlong: Overlong::Refuse })
        .collect();
    let tokens: usize = texts.iter().map(|text| text.tokens.len()).sum();

    let mut vectors = Vec::with_capacity(texts.len());
    let mut latencies = Vec::new();
    let start = clock.now();
    for batch in texts.chunks(batch.max(1) as usize) {
        let begun = clock.now();
        vectors.extend(embedder.embed(batch)?.vectors);
        latencies.push(clock.now().since(begun).0 as f64);
    }
    let time = clock.now().since(start);
    let rates = [
        (Metric::RequestRate, texts.len() as f64 / time.seconds()),
        (Metric::EmbedRate, (Tokens(tokens as u64) / time).0),
    ];
    let mut values: Values = rates.into_iter().map(|(metric, rate)| (metric, vec![rate])).collect();
    values.insert(Metric::EndToEnd, latencies);
    Ok((Digest::of_vectors(vectors.iter().map(Vec::as_slice)), values))
}
