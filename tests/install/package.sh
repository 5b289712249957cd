#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Installs this build below DESTDIR, moves the tree, and uses it as others do: the program finds its module, the examples
# are built through pkg-config against the shared and the static library, and run.
# usage: package.sh SOURCE BUILD HAS_LIBAV HAS_SENTENCEPIECE CC CXX [FLAG…]
set -euo pipefail
source=$1 build=$2 has_libav=$3 has_sentencepiece=$4 cc=$5 cxx=$6
shift 6
flags=("$@")
fail() { echo "package.sh: $*" >&2; exit 1; }
for tool in pkg-config readelf nm; do
    command -v $tool >/dev/null || { echo "SKIPPED: no $tool"; exit 77; }
done
folder=$PWD/$(mktemp -d package.XXXXXX)
trap 'rm -rf "$folder"' EXIT
cd "$folder"

# ---- install, then move: nothing may depend on the prefix
DESTDIR=$folder/stage cmake --install "$build" --prefix /opt/fastvmt >install.log || fail "$(cat install.log)"
mv stage/opt/fastvmt moved
left=$(find stage ! -type d)
[ -z "$left" ] || fail "installed outside of the prefix: $left"
pc=$(find moved -name fastvmt.pc)
lib=$folder/$(dirname "$(dirname "$pc")")
so=$lib/libfastvmt.so
for file in bin/fastvmt include/fastvmt/fastvmt.h share/man/man1/fastvmt.1 share/doc/fastvmt/LICENSE \
    share/doc/fastvmt/NOTICE share/doc/fastvmt/LICENSE.cjson share/doc/fastvmt/LICENSE.utf8proc.md \
    share/bash-completion/completions/fastvmt share/zsh/site-functions/_fastvmt \
    share/fish/vendor_completions.d/fastvmt.fish; do
    [ -s "moved/$file" ] || fail "not installed: $file"
done
[ "$(find moved/include -type f | wc -l)" = 1 ] || fail "more than the public header is installed"

# ---- the shared library: name and symbols
[ "$(readlink "$so") $(readlink "$lib/libfastvmt.so.0")" = "libfastvmt.so.0 libfastvmt.so.0.1.0" ] || fail "links: $(ls -l "$lib")"
readelf -d "$so" | grep -q 'SONAME.*\[libfastvmt\.so\.0\]' || fail "SONAME: $(readelf -d "$so" | grep SONAME)"
"$cc" -E -P moved/include/fastvmt/fastvmt.h | tr '\n' ' ' | grep -oE 'visibility *\("default"\) *\)\) *[^;]*' |
    sed -E 's/\(\(warn_unused_result\)\)//; s/[^(]*\("default"\) *\)\)//; s/ *\(.*//; s/.*[ *]//' | sort >declared
nm -D --defined-only "$so" | awk '$2 != "A" {sub(/@.*/, "", $3); print $3}' | sort >exported
[ "$(wc -l <declared)" -gt 20 ] || fail "the header's functions were not found: $(cat declared)"
diff declared exported || fail "the header and the library's symbols differ (above)"
cuda=$lib/fastvmt/libfastvmt-cuda.so
if [ -e "$cuda" ]; then
    names=$(nm -D --defined-only "$cuda" | awk '{print $3}')
    [ "$names" = vmt_cuda_module_table ] || fail "libfastvmt-cuda.so exports more than its table: $names"
fi

# ---- the program, with no help of the build's folder
program=moved/bin/fastvmt
[ "$($program --version)" = "fastvmt $(PKG_CONFIG_PATH=$lib/pkgconfig pkg-config --modversion fastvmt)" ] || fail "versions differ"
if [ "$has_libav" = 1 ]; then
    [ -s "$lib/fastvmt/fastvmt_libav.so" ] || fail "not installed: fastvmt_libav.so"
    $program info "$source/demo/refs/07_swing.mkv" | grep -q 160x96 || fail "the installed program reads no video"
    mv "$lib/fastvmt/fastvmt_libav.so" .
    code=0
    $program info "$source/demo/refs/07_swing.mkv" >/dev/null 2>&1 || code=$?
    [ $code = 9 ] || fail "it read a video with a module from elsewhere (exit code $code)"
    mv fastvmt_libav.so "$lib/fastvmt/"
fi

# ---- the examples
export PKG_CONFIG_PATH=$lib/pkgconfig
read -ra shared <<<"$(pkg-config --cflags --libs fastvmt)"
read -ra static <<<"$(pkg-config --static --cflags --libs fastvmt)"
static=("${static[@]/#-lfastvmt/-l:libfastvmt.a}")
strict=(-O1 -Wall -Wextra -Wpedantic -Werror "${flags[@]}")
"$cc" -std=c11 "${strict[@]}" "$source/examples/transfer.c" -o c_shared "${shared[@]}" "-Wl,-rpath,$lib"
"$cc" -std=c11 "${strict[@]}" "$source/examples/transfer.c" -o c_static "${static[@]}"
"$cxx" -std=c++17 "${strict[@]}" "$source/examples/transfer.cpp" -o cpp_shared "${shared[@]}" "-Wl,-rpath,$lib"
"$cxx" -std=c++17 "${strict[@]}" "$source/examples/transfer.cpp" -o cpp_static "${static[@]}"
for name in c cpp; do
    readelf -d ${name}_shared | grep -q 'NEEDED.*\[libfastvmt\.so\.0\]' || fail "${name}_shared needs no libfastvmt.so.0"
    ! readelf -d ${name}_static | grep -q libfastvmt || fail "${name}_static needs a shared libfastvmt"
done

# Nine frames of 80x64, a bright square that moves over stripes.
LC_ALL=C awk 'BEGIN {
    for (t = 0; t < 9; t++) {
        printf "P6\n80 64\n255\n"
        for (y = 0; y < 64; y++) for (x = 0; x < 80; x++) {
            dx = x - 15 - 6 * t; dy = y - 20 - 2 * t
            inside = dx * dx < 81 && dy * dy < 81
            printf "%c%c%c", inside ? 120 : 40 + x % 40, inside ? 90 : 40 + y, 60
        }
    }
}' >ref.ppm
size=$((9 * (13 + 3 * 80 * 64)))
[ "$(stat -c %s ref.ppm)" = $size ] || fail "this awk writes other bytes than asked for"
prompt="a red car on snow" other="a cat on grass"
[ "$has_sentencepiece" = 1 ] || prompt=$source/tests/data/prompt.safetensors other=$prompt
model=$source/models/tiny
short=(steps=2 guided-steps=1 inner-steps=1 cfg=1)
for kind in shared static; do
    ./c_$kind "$model" "$prompt" "${short[@]}" <ref.ppm >c_$kind.ppm 2>log || fail "c_$kind: $(cat log)"
    ./cpp_$kind "$model" ref.ppm "${short[@]}" -- "$prompt" "$other" 2>log || fail "cpp_$kind: $(cat log)"
    for file in c_$kind.ppm result1.ppm result2.ppm; do
        [ "$(stat -c %s "$file")" = $size ] || fail "$file of $kind: $(stat -c %s "$file") bytes instead of $size"
    done
    cmp c_$kind.ppm result1.ppm || fail "$kind: C and C++ differ, or a motion file from its reference"
    cmp -s c_$kind.ppm ref.ppm && fail "$kind: the result is the reference"
done
cmp c_shared.ppm c_static.ppm || fail "shared and static differ"

# ---- their errors, and a signal: one line, the status as exit code, nothing written
refused() { # CODE TEXT COMMAND…
    local code=0 expected=$1 text=$2
    shift 2
    "$@" <ref.ppm >out.ppm 2>log || code=$?
    [ $code = "$expected" ] || fail "$*: exit code $code instead of $expected: $(cat log)"
    grep -q "$text" log || fail "$*: no \"$text\" in: $(cat log)"
    [ ! -s out.ppm ] || fail "$*: wrote a result"
}
refused 4 nowhere ./c_shared nowhere "$prompt"
refused 2 stepz ./c_shared "$model" "$prompt" stepz=3
refused 4 nowhere ./cpp_shared nowhere ref.ppm -- "$prompt"
refused 2 stepz ./cpp_shared "$model" ref.ppm stepz=3 -- "$prompt"
refused 4 'no pictures' ./cpp_shared "$model" none.ppm -- "$prompt"
head -c 20000 ref.ppm >cut.ppm
refused 5 'within a picture' ./cpp_shared "$model" cut.ppm -- "$prompt"
for name in c cpp; do
    input=("$model" "$prompt" steps=9999)
    [ $name = c ] || input=("$model" ref.ppm steps=9999 -- "$prompt")
    log=stopped_$name.log # the other's would say "sample" before this one has begun
    : >"$log"
    ./${name}_shared "${input[@]}" <ref.ppm >out.ppm 2>"$log" &
    for ((i = 0; i < 600; i++)); do
        ! grep -q sample "$log" || break
        sleep 0.1
    done
    kill -TERM $!
    code=0
    wait $! || code=$?
    [ $code = 10 ] || fail "$name: exit code $code after a signal: $(cat "$log")"
done
