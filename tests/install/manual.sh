#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# The manual page: no formatter complains, every command and option is in it.  usage: manual.sh FASTVMT
set -euo pipefail
program=$1
folder=$PWD/$(mktemp -d manual.XXXXXX)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
fail() { echo "manual.sh: $*" >&2; exit 1; }

"$program" manual > fastvmt.1
for command in $("$program" --help | sed -n 's/^  \([a-z-]*\)  .*/\1/p'); do
    grep -qx -- "\.B ${command/-/\\\\-}\(\\\\fR.*\)\?" fastvmt.1 || fail "no command $command"
    for option in $("$program" "$command" --help | sed -n 's/^  ...\? *--\([a-z0-9-]*\).*/\1/p'); do
        grep -q -- "\\\\-\\\\-${option//-/\\\\-}\\\\fR\|\\\\-\\\\-${option//-/\\\\-} \\\\fI" fastvmt.1 ||
            fail "no option --$option"
    done
done

checked=
if command -v mandoc >/dev/null; then
    # the page bears its version in place of a date; how long the source's lines are is no matter
    complaints=$(mandoc -T lint -W warning fastvmt.1 | grep -v 'missing date' || true)
    [ -z "$complaints" ] || fail "mandoc: $complaints"
    checked=yes
fi
if command -v man >/dev/null && command -v groff >/dev/null; then
    complaints=$(LC_ALL=C.UTF-8 MANROFFSEQ='' man --warnings -l fastvmt.1 2>&1 >/dev/null)
    [ -z "$complaints" ] || fail "man: $complaints"
    checked=yes
fi
[ "$checked" ] || { echo "SKIPPED: neither mandoc nor man with groff is here"; exit 77; }
