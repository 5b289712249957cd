#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# The contact sheet: reference | same start, no guidance | guided, one clip a row.  Needs ffmpeg.
# usage: tools/quality/sheet.sh STRIPS PICTURE SEED NAME...      (STRIPS: made by strips.py)
set -euo pipefail
strips=$1 picture=$2 seed=$3
shift 3
inputs=() graph='' rows='' n=0 row=0
for name in "$@"; do
    for strip in "ref-$name" "start-$name-$seed" "guided-$name-$seed"; do
        inputs+=(-i "$(ls "$strips/$strip".*)")
        pad="pad=iw+8:ih+4:4:2:white"
        [ "$row" -gt 0 ] || pad="pad=iw+8:ih+28:4:26:white"
        title=''
        if [ "$row" = 0 ]; then
            case $n in
                0) title=',drawtext=fontsize=18:x=6:y=4:text=reference' ;;
                1) title=',drawtext=fontsize=18:x=6:y=4:text=same start\, no guidance' ;;
                2) title=',drawtext=fontsize=18:x=6:y=4:text=guided' ;;
            esac
        fi
        graph+="[$n:v]$pad$title[c$n];"
        n=$((n + 1))
    done
    graph+="[c$((n - 3))][c$((n - 2))][c$((n - 1))]hstack=3[r$row];" rows+="[r$row]" row=$((row + 1))
done
ffmpeg -v error -y "${inputs[@]}" -filter_complex "$graph${rows}vstack=$row" -frames:v 1 -q:v 4 "$picture"
