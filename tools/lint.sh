#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Format, layers, sizes, cppcheck; with a build folder (that has compile_commands.json) clang-tidy, too: minutes.
# usage: tools/lint.sh [BUILD_DIR]
set -euo pipefail
cd "$(dirname "$0")/.."
build=${1:-}
mapfile -t files < <(git ls-files '*.c' '*.h' '*.cpp' | grep -v '^third_party/')
mapfile -t sources < <(git ls-files 'src/*.c' 'cli/*.c')

clang-format --dry-run --Werror "${files[@]}"
tools/check_layers.sh
tools/check_sizes.sh
cppcheck --quiet --enable=warning,portability --inline-suppr --suppress=missingIncludeSystem \
    --std=c11 --error-exitcode=1 -Iinclude -Isrc src cli

if [ -z "$build" ]; then
    exit 0
fi
# Left out: what is our style (!strcmp, sizes of pointers, numbers of one kind side by side, integer halves),
# types and operators as macro arguments (kernels), what gcc's -Wconversion already says, and the analyzer's checks that clang 14 gets wrong (va_list).
off=bugprone-easily-swappable-parameters,bugprone-suspicious-string-compare,bugprone-sizeof-expression
off+=,bugprone-integer-division,bugprone-narrowing-conversions,bugprone-reserved-identifier
off+=,bugprone-macro-parentheses
off+=,bugprone-implicit-widening-of-multiplication-result,bugprone-signal-handler
off+=,clang-analyzer-security.insecureAPI.*,clang-analyzer-valist.*,clang-analyzer-optin.performance.Padding
printf '%s\n' "${sources[@]}" | xargs -P "$(nproc)" -n 4 clang-tidy --quiet -p "$build" --warnings-as-errors='*' \
    --checks="-*,bugprone-*,clang-analyzer-*,-${off//,/,-}"
