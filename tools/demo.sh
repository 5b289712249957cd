#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# The demo: the bounce of a soccer ball, given to a pumpkin.  usage: tools/demo.sh PROGRAM
set -euo pipefail
cd "$(dirname "$0")/.."
program=$1
rm -f demo/out.mp4 demo/out.mp4.json demo/compare.mp4

"$program" transfer -m models/tiny -r demo/refs/01_bounce.mkv -p "a pumpkin in the desert" \
    --seed 4 -o demo/out.mp4 --compare demo/compare.mp4

echo
echo "result:              $PWD/demo/out.mp4"
echo "reference | result:  $PWD/demo/compare.mp4"
