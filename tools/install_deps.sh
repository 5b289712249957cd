#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Installs the Debian packages that are missing.  usage: tools/install_deps.sh [build] [test] [fuzz] [tsan] [valgrind] [lint]
# Asks apt only when something is missing, and sudo only when not root.
set -euo pipefail

packages=()
for group in "$@"; do
    case $group in
    build) packages+=(g++ gcc make cmake ninja-build pkg-config libdnnl-dev libsentencepiece-dev
                      libavformat-dev libavcodec-dev libavutil-dev libswscale-dev libswresample-dev) ;;
    test)  packages+=(ffmpeg mandoc qemu-user) ;; # clips of the end-to-end tests; the manual page; op tests on older CPUs
    fuzz)  packages+=(clang) ;;
    tsan)  packages+=(clang libomp-dev) ;; # gcc's OpenMP runtime tells ThreadSanitizer nothing
    valgrind) packages+=(valgrind) ;;
    lint)  packages+=(clang-format clang-tidy cppcheck) ;;
    *)     echo "install_deps: unknown group '$group' (build, test, fuzz, tsan, valgrind, lint)" >&2; exit 2 ;;
    esac
done

missing=()
if command -v dpkg-query >/dev/null; then
    for package in "${packages[@]}"; do
        state=$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null || true)
        [ "$state" = installed ] || missing+=("$package")
    done
    [ ${#missing[@]} -gt 0 ] || exit 0
fi

if ! command -v apt-get >/dev/null; then
    echo "install_deps: this is not a Debian system; please install by hand what these packages hold:" >&2
    echo "    ${packages[*]}" >&2
    command -v cmake >/dev/null && command -v c++ >/dev/null || exit 1
    echo "install_deps: a compiler and cmake are here: going on" >&2
    exit 0
fi

root=()
if [ "$(id -u)" != 0 ]; then
    command -v sudo >/dev/null || {
        echo "install_deps: neither root nor sudo; run as root: apt-get install ${missing[*]}" >&2
        exit 1
    }
    root=(sudo)
fi
echo "installing: ${missing[*]}"
export DEBIAN_FRONTEND=noninteractive
"${root[@]}" apt-get update -qq || echo "install_deps: apt-get update failed; trying with the lists that are here" >&2
"${root[@]}" apt-get install --no-install-recommends -y -qq "${missing[@]}" >/dev/null || {
    echo "install_deps: apt-get could not install: ${missing[*]}" >&2
    exit 1
}
