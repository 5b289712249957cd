#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Includes point one way, from a higher rank to a lower one or within a folder; file names are unique.
set -euo pipefail
cd "${1:-$(dirname "$0")/..}"
declare -A rank=([fastvmt]=0 [base]=1 [tensor]=2 [backend]=3 [model]=3 [text]=4 [vae]=4 [dit]=4 [motion]=4
    [sampler]=5 [pipeline]=6 [media]=6 [probe]=7 [bench]=7 [clip_model]=5 [score]=7 [table]=8 [cli]=9)
bad=0

while IFS=: read -r file line text; do
    from=${file#src/} from=${from%%/*}
    header=${text#*\"} header=${header%%\"*}
    case $header in
    */*) to=${header%%/*} ;;
    *) to=$from ;; # beside the file
    esac
    wrong=
    if [ -z "${rank[$from]:-}" ] || [ -z "${rank[$to]:-}" ]; then wrong="an unknown folder"; fi
    if [ -z "$wrong" ] && [ "$from" != "$to" ]; then
        [ "${rank[$to]}" -lt "${rank[$from]}" ] || wrong="$from may not include $to"
        [ "$from" != score ] || [[ $to =~ ^(fastvmt|base|media|clip_model)$ ]] || wrong="score may include media, clip_model and base only"
        [ "$from" != table ] || [[ $to =~ ^(fastvmt|base|media|score)$ ]] || wrong="table may include score, media and base only"
        [ "$from" != media ] || [ "${rank[$to]}" -le 1 ] || wrong="media may include base only"
    fi
    [ -z "$wrong" ] || { echo "$file:$line: $header: $wrong"; bad=1; }
done < <(grep -rnE '^[[:space:]]*#[[:space:]]*include[[:space:]]+"' src cli --include='*.c' --include='*.h' --include='*.cpp')

twice=$(find src cli include -type f -printf '%f\n' | sort | uniq -d)
[ -z "$twice" ] || { echo "file names used twice: $twice"; bad=1; }
exit $bad
