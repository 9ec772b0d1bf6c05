#!/usr/bin/env bash
# Installs a browser for the tests that open pages. Where that is impossible it says why and
# succeeds: those tests then say that they were skipped.
set -uo pipefail
for name in chromium chromium-browser google-chrome chrome; do
  "$name" --version > /dev/null 2>&1 && exit 0
done

skip() {
  echo "skipped: pages are not opened in a browser: $1"
  exit 0
}

command -v apt-get > /dev/null || skip "there is none, and no apt-get that installs it"
[ "$(id -u)" = 0 ] || skip "there is none, and only root can \`apt-get install chromium\`"
echo "installing chromium, in which the pages are opened"
export DEBIAN_FRONTEND=noninteractive
patience=(-o Acquire::Retries=1 -o Acquire::http::Timeout=20 -o Acquire::https::Timeout=20)
timeout 180 apt-get "${patience[@]}" update > /dev/null 2>&1
timeout 900 apt-get "${patience[@]}" install --yes --no-install-recommends chromium > /dev/null 2>&1
chromium --version > /dev/null 2>&1 || skip "\`apt-get install chromium\` failed; is there a network?"
