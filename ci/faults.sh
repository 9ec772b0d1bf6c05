#!/usr/bin/env bash
# Shows that the gate finds what is planted in the real engine, and nothing else: unchanged code, then
# 3, 5, 10 and 20 % more work in decode and in prefill, 64 MiB more memory, a wrong token with faster
# decoding. `ci/faults.sh [ARGUMENT…]` passes arguments on to `windtunnel gate`; those left out are
# `gate/decode gate/prefill --filter dtype=bf16 --filter batch=1`. Prints a table; every run is kept
# in `reports/faults/`.
set -euo pipefail
cd "$(dirname "$0")/.."
out=reports/faults
rm -rf "$out"
mkdir -p "$out"
[ $# -gt 0 ] || set -- gate/decode gate/prefill --filter dtype=bf16 --filter batch=1

# Both sides have the feature: they differ in nothing but what is planted.
cargo build --release --quiet --package windtunnel
cargo build --release --quiet --package windtunnel-probe --features faults
probe=target/release/windtunnel-probe
cp "$probe" "$out/base"

echo "| planted | verdict | exit | rounds | minutes |"
echo "|---|---|--:|--:|--:|"
for words in "" decode={3,5,10,20} prefill={3,5,10,20} mebibytes={64,128} "wrong-token"; do
  name=${words:-nothing}
  cp "$probe" "$out/head"
  [ -z "$words" ] || printf '\n#plant %s' "$words" >> "$out/head"
  begun=$SECONDS code=0
  target/release/windtunnel --quiet gate "$@" --base "probe:$out/base" --subject "probe:$out/head" \
    --out "$out/$name.jsonl" > "$out/$name.txt" || code=$?
  verdict=$(sed -n 's/^verdict: //p' "$out/$name.txt")
  rounds=$(($(wc -l < "$out/$name.jsonl") - 1))
  echo "| $name | $verdict | $code | $rounds | $(((SECONDS - begun) / 60)):$(printf %02d $(((SECONDS - begun) % 60))) |"
done
