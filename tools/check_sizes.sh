#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Prints the ten longest files of src, cli and include; fails above 800 lines.  Tables of data are left out.
set -euo pipefail
cd "$(dirname "$0")/.."
find src cli include -name '*.[ch]' -o -name '*.cpp' | grep -v '_table\.c$' | xargs wc -l |
    grep -v ' total$' | sort -rn | awk 'NR <= 10 { print } $1 > 800 { bad = 1 } END { exit bad }'
