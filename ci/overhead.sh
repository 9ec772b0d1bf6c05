#!/usr/bin/env bash
# What the harness costs: the decode rate through CLI and probe, as a share of that of a bare loop
# over `Engine::step`. It is the product of two factors, because no two processes are equally fast:
#   - the probe's loop over the bare loop, alternating in one process on one engine;
#   - the share of a core that the CLI leaves to its probe: the probe could have used the time in
#     which the CLI computes.
# Usage: ci/overhead.sh [PAIRS]
set -euo pipefail
cd "$(dirname "$0")/.."
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

cargo bench --quiet --locked --package windtunnel-probe --bench overhead -- "${1:-60}" | tee "$scratch/loop"
loop=$(sed -E 's/.*bare one ([0-9.]+).*/\1/' "$scratch/loop")

cargo run --quiet --release --locked -- --quiet run ci/overhead.toml --out "$scratch/warm.jsonl" >/dev/null
begin=$(date +%s%N)
"${CARGO_TARGET_DIR:-target}/release/windtunnel" --quiet run ci/overhead.toml --out "$scratch/run.jsonl" >/dev/null &
cli=$!
ticks=0
# User and system time of the CLI itself, in ticks, while it runs.
while now=$(awk '{ print $14 + $15 }' "/proc/$cli/stat" 2>/dev/null) && [ -n "$now" ]; do
    ticks=$now
    sleep 0.1
done
wait "$cli"
end=$(date +%s%N)
awk -v ticks="$ticks" -v hz="$(getconf CLK_TCK)" -v ns="$((end - begin))" -v loop="$loop" 'BEGIN {
    cpu = ticks / hz; wall = ns / 1e9
    printf "the CLI computed for %.2f of %.1f s: %.4f of a core is left\n", cpu, wall, 1 - cpu / wall
    printf "ratio %.4f\n", loop * (1 - cpu / wall) }'
