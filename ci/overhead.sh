#!/usr/bin/env bash
# What the harness costs: the decode rate through CLI and probe, over the rate of a bare loop over
# `Engine::step` (engine/benches/decode.rs). The two alternate, because machines drift; the median
# of the ratios counts. Usage: ci/overhead.sh [PAIRS]
set -euo pipefail
cd "$(dirname "$0")/.."
pairs=${1:-7}
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

cargo build --quiet --release --locked
cargo bench --quiet --locked --package windtunnel-engine --bench decode --no-run

# Milliseconds for one token, in a bare loop.
bare() {
    cargo bench --quiet --locked --package windtunnel-engine --bench decode -- \
        --noplot --warm-up-time 1 '^decode/qwen2.5-0.5b/f32/batch-1$' >"$scratch/bench.log" 2>&1
    sed -E 's/.*"mean":\{[^}]*\},?[^}]*"point_estimate":([0-9.e+]+).*/\1/' \
        "target/criterion/decode/qwen2.5-0.5b/f32_batch-1/new/estimates.json" |
        awk '{ printf "%.4f\n", $1 / 1e6 }'
}

# Milliseconds for one token, through the probe: the median of its iterations.
probed() {
    target/release/windtunnel --quiet run ci/overhead.toml --out "$scratch/$1.jsonl" >"$scratch/run.log"
    grep -o '"kind":"timed"[^}]*"time-per-output-token":\[[0-9.e+]*' "$scratch/$1.jsonl" |
        sed 's/.*\[//' | sort -g | awk '{ t[NR] = $1 } END { printf "%.4f\n", t[int((NR + 1) / 2)] / 1e6 }'
}

for pair in $(seq "$pairs"); do
    bare_ms=$(bare)
    probed_ms=$(probed "$pair")
    awk -v n="$pair" -v b="$bare_ms" -v p="$probed_ms" 'BEGIN {
        printf "pair %d: bare %.2f ms, probe %.2f ms a token, rate ratio %.4f\n", n, b, p, b / p }' |
        tee -a "$scratch/pairs"
done
sed 's/.* //' "$scratch/pairs" | sort -g |
    awk '{ r[NR] = $1 } END { m = int((NR + 1) / 2); printf "median ratio %.4f of %d pairs\n", r[m], NR }'
