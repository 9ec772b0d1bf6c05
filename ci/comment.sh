#!/usr/bin/env bash
# Writes the summary of a gate as a comment on a pull request of GitHub, in the place of the one that was
# written there before. `ci/comment.sh NUMBER [FILE]`; `gh` must be signed in.
set -euo pipefail
number=${1:?usage: ci/comment.sh NUMBER [FILE]}
file=${2:-reports/gate/summary.md}
marker=$(head -n 1 "$file")
comments="repos/{owner}/{repo}/issues/$number/comments"
found=$(gh api --paginate "$comments" --jq ".[] | select(.body | startswith(\"$marker\")) | .id")
if [ -n "$found" ]; then
  # The first, if somebody's script made several.
  gh api --silent --method PATCH "repos/{owner}/{repo}/issues/comments/${found%%$'\n'*}" -F "body=@$file"
else
  gh api --silent --method POST "$comments" -F "body=@$file"
fi
