#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Format, layers, sizes, clang-tidy and cppcheck.  usage: tools/lint.sh BUILD_DIR (with compile_commands.json)
set -euo pipefail
cd "$(dirname "$0")/.."
build=$1
mapfile -t files < <(git ls-files '*.c' '*.h' '*.cpp' | grep -v '^third_party/')
mapfile -t sources < <(git ls-files 'src/*.c' 'cli/*.c')

clang-format --dry-run --Werror "${files[@]}"
tools/check_layers.sh
tools/check_sizes.sh
cppcheck --quiet --enable=warning,portability --inline-suppr --suppress=missingIncludeSystem \
    --std=c11 --error-exitcode=1 -Iinclude -Isrc src cli
clang-tidy --quiet -p "$build" --warnings-as-errors='*' \
    --checks='-*,bugprone-*,clang-analyzer-*,-bugprone-easily-swappable-parameters,-bugprone-narrowing-conversions,-bugprone-implicit-widening-of-multiplication-result,-bugprone-reserved-identifier,-clang-analyzer-security.insecureAPI.*' \
    "${sources[@]}"
