#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# The completion scripts: bash's is driven as the shell does it, the others' syntax is read by their shells where these
# are here.  usage: completion.sh FASTVMT
set -euo pipefail
program=$1
folder=$PWD/$(mktemp -d completion.XXXXXX)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
fail() { echo "completion.sh: $*" >&2; exit 1; }

"$program" completion bash > fastvmt.bash
"$program" completion zsh > _fastvmt
"$program" completion fish > fastvmt.fish
for shell in zsh fish; do
    if ! command -v $shell >/dev/null; then
        printf '[  SKIPPED ] %s_completion\n' $shell # as the other test programs report single cases
    elif [ $shell = zsh ]; then
        zsh -n _fastvmt
    else
        fish -n fastvmt.fish
    fi
done

# shellcheck disable=SC1091
source ./fastvmt.bash
set +e # as in the shell of a user
complete -p fastvmt | grep -q -- '-F _fastvmt' || fail "nothing completes fastvmt"

# expect WORD,WORD… LINE: what is offered, in any order; the line's last word is the one at the cursor
sorted() { LC_ALL=C sort | paste -sd,; }
expect() {
    local expected=$1 got
    shift
    COMP_WORDS=(fastvmt "$@") COMP_CWORD=$#
    COMPREPLY=()
    _fastvmt fastvmt "${!#}" "${COMP_WORDS[COMP_CWORD - 1]}"
    got=$([ ${#COMPREPLY[@]} = 0 ] || printf '%s\n' "${COMPREPLY[@]}" | sorted)
    [ "$got" = "$(tr , '\n' <<<"$expected" | sorted)" ] || fail "fastvmt $*: \"$got\" instead of \"$expected\""
}

mkdir models "two words"
touch swing.fvm ref.mp4 x.safetensors spiece.model
expect 'transfer' tr
expect 'extract' ex
expect 'make-model' help mak
expect '--version' --v
expect 'paper,released,tiny,wan' transfer --preset ''
expect 'released' transfer -m x --preset r
expect 'ref,ref64' probe --backend re
expect 'euler,unipc,dpmpp' generate --sampler ''
expect 'paper' transfer --variant = p
expect 'crop,pad,stretch' transfer --fit =
expect 'models,two words' transfer -m ''
expect 'models,two words' make-model ''
expect 'models' transfer --model m
expect 'models,two words,swing.fvm' transfer --motion ''
expect 'swing.fvm' transfer --motion = s
expect 'spiece.model' transfer --tokenizer sp
expect 'ref.mp4' transfer -r re
expect 'x.safetensors' decode x
expect 'ref.mp4' info r
expect '' transfer -p ''
expect '' transfer --steps ''
expect '--amf-window,--amf-tile,--amf-weight' transfer --amf-
expect '' extract --amf-nothing
expect '--compare' transfer --comp
expect '' extract --comp
expect 'tiny,1.3b,14b' make-model out --shape ''
expect 'bash,zsh,fish' completion ''
expect '--force' probe x -o y --fo

# Every command and option that help lists is offered, and nothing else.
for command in $("$program" --help | sed -n 's/^  \([a-z-]*\)  .*/\1/p'); do
    COMP_WORDS=(fastvmt "$command" --) COMP_CWORD=2
    _fastvmt fastvmt -- "$command"
    offered=$(printf '%s\n' "${COMPREPLY[@]}" | grep -- '^--' | sort -u)
    helped=$("$program" "$command" --help | sed -n 's/^  ...\? *\(--[a-z0-9-]*\).*/\1/p' | sort -u)
    [ -n "$helped" ] || fail "$command: no options in its help"
    [ "$offered" = "$helped" ] || fail "$command: $(diff <(echo "$offered") <(echo "$helped"))"
    for file in _fastvmt fastvmt.fish; do
        for option in $helped; do
            grep -qE -- "(-l ${option#--}|$option)( |=|'|\})" $file || fail "$file lacks $option of $command"
        done
    done
done
