#!/usr/bin/env bash
# Shows that a bisect finds the one commit in twenty that made the real engine slower:
# `ci/bisect.sh [PLACE…]`. It clones this repository and writes twenty commits on top of the newest.
# Each rewrites how long decodes take (`engine/src/faults.rs`); the one at PLACE makes them 5 %
# slower (`PER_CENT`). Then `windtunnel bisect` searches them, once for each PLACE (default:
# `7 16`), measuring CASE in up to PAIRS pairs of rounds for each commit. The clone and the rounds
# stay in DIR (default: `target/bisect`), so the same command resumes an interrupted search. Exit
# code 1 if another commit is found, or none.
set -euo pipefail
cd "$(dirname "$0")/.."
[ $# -gt 0 ] || set -- 7 16
here=$PWD dir=${DIR:-target/bisect} per_cent=${PER_CENT:-5} case=${CASE:-faults/decode} pairs=${PAIRS:-150}
commits=20 file=engine/src/faults.rs

cargo build --release --quiet --package windtunnel
built=$(cd "${CARGO_TARGET_DIR:-target}/release" && pwd)
newest=$(git rev-parse HEAD)
mkdir -p "$dir"
sed "s/^pairs .*/pairs = $pairs/" ci/gate.toml > "$dir/policy.toml"
[ -d "$dir/engine" ] || git clone --quiet --no-hardlinks . "$dir/engine"
cd "$dir/engine"
git fetch --quiet "$here"
# The same hashes every time, whoever runs this.
export GIT_AUTHOR_NAME=windtunnel GIT_AUTHOR_EMAIL=windtunnel@localhost GIT_AUTHOR_DATE=2000-01-01T00:00:00Z
export GIT_COMMITTER_NAME=windtunnel GIT_COMMITTER_EMAIL=windtunnel@localhost GIT_COMMITTER_DATE=2000-01-01T00:00:00Z
git checkout --quiet --force -B good "$newest"

# knob NUMBER PER_CENT MESSAGE: commits a change that makes decodes PER_CENT slower.
knob() {
  sed -i "s|^        let standing.*|        let standing = if matches!(fault, Fault::SlowDecode) { ${2}f64 } else { 0.0 }; // commit $1|" "$file"
  git commit --quiet --all --message "$3"
}
sed -i 's|^        let amount = PLANTED.get()?\[fault as usize\];|        let standing = 0.0;\n        let planted = PLANTED.get().map_or(0.0, \|amounts\| amounts[fault as usize]);\n        let amount = f64::max(planted, standing);|' "$file"
grep -q 'let standing' "$file" || { echo "$file no longer has the line that this script changes" >&2; exit 2; }
knob 0 0 "Add a knob"

failed=0
for place in "$@"; do
  git checkout --quiet -B "place-$place" good
  amount=0 culprit=
  for number in $(seq "$commits"); do
    [ "$number" != "$place" ] || amount=$per_cent
    knob "$number" "$amount" "Commit $number"
    [ "$number" != "$place" ] || culprit=$(git rev-parse HEAD)
  done
  begun=$SECONDS code=0
  "$built/windtunnel" bisect --good good --case "$case" --metric decode-rate --features faults \
    --policy ../policy.toml | tee "../place-$place.txt" || code=$?
  took=$((SECONDS - begun))
  found=no
  if grep -q "^culprit: $culprit" "../place-$place.txt"; then found=yes; else failed=1; fi
  echo "$per_cent % at commit $place of $commits: found $found, exit $code, $((took / 60)) min"
done
exit "$failed"
