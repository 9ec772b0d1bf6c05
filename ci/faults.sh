#!/usr/bin/env bash
# Shows that the gate finds what is planted in the real engine, and nothing else: unchanged code,
# twice, then 3, 5, 10 and 20 % more work in decode and in prefill, 64 and 128 MiB more memory, and
# a wrong token with faster decoding. `ci/faults.sh [ARGUMENT…]` passes its arguments to
# `windtunnel gate` (default: `faults/generate`, which takes minutes). `PLANT='nothing decode=5'`
# plants only these. It prints a table of the verdicts and of the effects that were measured, and
# keeps every run in `target/faults/`, outside this machine's history: they are slow on purpose.
set -euo pipefail
cd "$(dirname "$0")/.."
out=target/faults built=${CARGO_TARGET_DIR:-target}/release
rm -rf "$out"
mkdir -p "$out"
[ $# -gt 0 ] || set -- faults/generate
plant=${PLANT:-nothing nothing decode=3 decode=5 decode=10 decode=20 prefill=3 prefill=5 prefill=10 prefill=20 mebibytes=64 mebibytes=128 wrong-token}

# The worst of the series in a summary that can block: its name, how much worse it is, the interval,
# and the pairs of rounds.
worst() {
  awk -F' *[|] *' '
    $2 ~ /^`/ && $4 !~ /warns/ && $7 ~ /%/ && (name == "" || $7 + 0 > most) {
      most = $7 + 0; name = $3; by = $7; interval = $8; pairs = $11
    }
    END {
      if (name == "") print "– | – | – | –"
      else printf "%s | %s | %s | %d", name, by, interval, pairs
    }' "$1"
}

# Both sides have the feature, so they differ only in what is planted.
cargo build --release --quiet --package windtunnel
cargo build --release --quiet --package windtunnel-probe --features faults
cp "$built/windtunnel-probe" "$out/probe"

# engine FILE [WORD]: writes a probe in which WORD is planted.
engine() {
  printf '#!/bin/sh\nexec "%s" %s "$@"\n' "$PWD/$out/probe" "${2:+--fault=$2}" > "$1"
  chmod +x "$1"
}

echo "| planted | verdict | exit | worst series | worse by | interval | pairs | minutes |"
echo "|---|---|--:|---|--:|--:|--:|--:|"
number=0
for words in $plant; do
  number=$((number + 1))
  name=$number-$words
  engine "$out/base"
  engine "$out/head" "${words#nothing}"
  # The wrong token comes with a speed-up: the base is the slower side.
  [ "$words" != wrong-token ] || engine "$out/base" decode=10
  begun=$SECONDS code=0
  "$built/windtunnel" --quiet gate "$@" --base "probe:$out/base" --subject "probe:$out/head" \
    --out "$out/$name/run.jsonl" > "$out/$name.txt" || code=$?
  # A usage error has been printed, and there are no results to show.
  [ "$code" != 2 ] || exit 2
  verdict=$(sed -n 's/^verdict: //p' "$out/$name.txt")
  worst=$(worst "$out/$name/summary.md")
  took=$((SECONDS - begun))
  echo "| $words | $verdict | $code | $worst | $((took / 60)):$(printf %02d $((took % 60))) |"
done
