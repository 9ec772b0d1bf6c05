#!/usr/bin/env bash
# Takes a screenshot of a page: ci/picture.sh PAGE.html FILE.png [WIDTH HEIGHT [light|dark]]
# The page is put in a frame of that width, because browsers open no window as narrow as a phone.
set -euo pipefail
if [ $# -lt 2 ]; then
  sed -n '2s/^# //p' "$0" >&2
  exit 2
fi
for browser in chromium chromium-browser google-chrome chrome ""; do
  [ -n "$browser" ] || { echo "no browser is installed: \`apt-get install chromium\`" >&2; exit 2; }
  "$browser" --version > /dev/null 2>&1 && break
done
page=$(realpath "$1") picture=$(realpath -m "$2") width=${3:-1200} height=${4:-1600}
scheme=1
[ "${5:-light}" = dark ] && scheme=0
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
{
  printf '<!DOCTYPE html><style>body{margin:0}iframe{border:0;display:block}</style>'
  printf '<iframe width="%s" height="%s" srcdoc="' "$width" "$height"
  sed 's/&/\&amp;/g; s/"/\&quot;/g' "$page"
  printf '"></iframe>'
} > "$scratch/frame.html"
window=$width
[ "$window" -ge 500 ] || window=500
"$browser" --headless --no-sandbox --disable-gpu --hide-scrollbars --no-first-run \
  --user-data-dir="$scratch/profile" --window-size="$window,$height" \
  --blink-settings=preferredColorScheme=$scheme --screenshot="$picture" \
  "file://$scratch/frame.html" > /dev/null 2>&1
[ -s "$picture" ] || { echo "the browser made no picture of \`$1\`" >&2; exit 1; }
