#!/usr/bin/env bash
# Judges the checked-out commit against the one it branched from: `ci/gate.sh [BASE] [ARGUMENT…]`.
# BASE is a revision (default: `origin/main`); further arguments go to `windtunnel gate`. The exit
# code is the gate's, and its files are in `reports/gate/`.
set -euo pipefail
cd "$(dirname "$0")/.."
# Unhandled, a failure here would exit with 1, which means that something regressed.
base=$(git merge-base "${1:-origin/main}" HEAD) || {
  echo "where HEAD branched from ${1:-origin/main} is not in this clone: get the rest of it with \`git fetch --unshallow\`" >&2
  exit 2
}
shift || true
records=reports/gate/run.jsonl
if [ -e "$records" ] && command -v flock > /dev/null && ! flock --nonblock "$records" true; then
  echo "another gate measures into reports/gate: wait for its end" >&2
  exit 75
fi
rm -rf reports/gate
exec cargo run --release --quiet -- gate --base "$base" --out "$records" "$@"
