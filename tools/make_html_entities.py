#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Writes src/text/html_table.c: HTML5's named references, from Python's html.entities.

Second table: the upper-case spellings that ftfy 6 also knows ("&EACUTE;").  It takes a name that is
all lower case, upper-cases it, and accepts that unless HTML5 itself would read something into it.

usage: tools/make_html_entities.py > src/text/html_table.c
"""
import html
from html.entities import html5


def upper_case_names():
    names = {}
    for name, text in html5.items():
        if name.endswith(";") and name == name.lower():
            upper = "&" + name.upper()
            if html.unescape(upper) == upper:
                names[name.upper()] = text.upper()
    return names


def table(symbol, names):
    rows = []
    for name, text in sorted(names.items()):
        codes = ", ".join(f"0x{ord(c):x}" for c in text)
        rows.append('{"%s", {%s}},' % (name, codes))
    print(f"const vmt_html_entity {symbol}[] = {{")
    line = ""
    for row in rows:
        if len(line) + len(row) + 1 > 96:
            print("    " + line)
            line = ""
        line += (" " if line else "") + row
    print("    " + line)
    print("};")
    print(f"const size_t {symbol}_count = sizeof {symbol} / sizeof *{symbol};")


print("""/* SPDX-License-Identifier: MIT
 *
 * Made by tools/make_html_entities.py from Python's html.entities; not edited by hand.
 * Sorted by name, bytewise; some names end in a semicolon, as HTML5 lists them.
 */
#include "text/html.h"

/* clang-format off */""")
table("vmt_html_names", html5)
print()
table("vmt_html_upper_names", upper_case_names())
