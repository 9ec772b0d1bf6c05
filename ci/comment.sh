#!/usr/bin/env bash
# Posts the summary of a gate as a comment on a pull request on GitHub, or updates the one it posted
# before: `ci/comment.sh NUMBER [FILE]`; `gh` must be signed in.
set -euo pipefail
number=${1:?usage: ci/comment.sh NUMBER [FILE]}
file=${2:-reports/gate/summary.md}
marker=$(head -n 1 "$file")
comments="repos/{owner}/{repo}/issues/$number/comments"
found=$(gh api --paginate "$comments" --jq ".[] | select(.body | startswith(\"$marker\")) | .id")
if [ -n "$found" ]; then
  # The first, if there are several.
  gh api --silent --method PATCH "repos/{owner}/{repo}/issues/comments/${found%%$'\n'*}" -F "body=@$file"
else
  gh api --silent --method POST "$comments" -F "body=@$file"
fi
