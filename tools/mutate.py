#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Proves that the tests can fail: applies each mutation of tests/mutations.txt to a copy of the
tree, builds it, runs the tests, and prints which of them turn red.  Exit code 1 if a mutation is
caught by none, does not build, or no longer fits the source.

    tools/mutate.py [--labels "ops|unit|golden"] [--only REGEX] [--exclude REGEX] [--into build/mutate]
"""
import argparse
import pathlib
import re
import shutil
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent


def mutations(path):
    """Blocks of (name, file, old text, new text)."""
    for block in re.split(r"^## ", path.read_text(), flags=re.M)[1:]:
        name, file, *lines = block.rstrip("\n").split("\n")
        old = "\n".join(line[2:] for line in lines if line.startswith("- "))
        new = "\n".join(line[2:] for line in lines if line.startswith("+ "))
        yield name, file, old, new


def copy_tree(into):
    names = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    for name in filter(None, names.split("\0")):
        target = into / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if not target.exists() or target.read_bytes() != (ROOT / name).read_bytes():
            shutil.copy(ROOT / name, target)  # with a new time, so that it is built


def run(command, cwd):
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--labels", default="ops|unit|golden")
    parser.add_argument("--exclude", default="^$", help="tests left out (expression of ctest -E)")
    parser.add_argument("--only", default="", help="only mutations whose name matches this expression")
    parser.add_argument("--into", default="build/mutate", type=pathlib.Path)
    parser.add_argument("--jobs", default="2")
    options = parser.parse_args()
    tree = (ROOT / options.into).resolve()
    build = tree / "build"
    copy_tree(tree)
    run(["cmake", "-S", ".", "-B", "build", "-G", "Ninja"], tree).check_returncode()
    compile_command = ["cmake", "--build", "build", "-j", options.jobs]
    run(compile_command, tree).check_returncode()
    test_command = ["ctest", "-L", options.labels, "-E", options.exclude, "-j", options.jobs]
    if run(test_command, build).returncode:
        sys.exit("the tests fail without any mutation")

    survived = 0
    print("| mutation | tests that fail |\n| --- | --- |")
    for name, file, old, new in mutations(ROOT / "tests/mutations.txt"):
        if not re.search(options.only, name):
            continue
        path = tree / file
        original = path.read_text()
        if old not in original:
            verdict = "**DOES NOT FIT**"
        else:
            path.write_text(original.replace(old, new))
            if run(compile_command, tree).returncode:
                verdict = "**DOES NOT BUILD**"
            else:
                red = re.findall(r"\d+ - (\S+) \(", run(test_command, build).stdout)
                verdict = " ".join(red) or "**NONE**"
            path.write_text(original)
        survived += verdict.startswith("**")
        print(f"| {name} | {verdict} |", flush=True)
    sys.exit(1 if survived else 0)


if __name__ == "__main__":
    main()
