/* SPDX-License-Identifier: MIT
 *
 * Character references of HTML: "&amp;", "&#62;", "&eacute".  Two readers of them, because the
 * official prompt cleaning uses two: a strict one inside ftfy, then Python's html.unescape twice.
 */
#ifndef VMT_TEXT_HTML_H
#define VMT_TEXT_HTML_H

#include "text/codepoints.h"

enum { VMT_HTML_NAME_CHARS = 32, VMT_HTML_TEXT_CHARS = 3 };

typedef struct vmt_html_entity {
    const char *name;                   /* without "&"; with ";" unless HTML5 allows none */
    uint32_t text[VMT_HTML_TEXT_CHARS]; /* 0 after the last */
} vmt_html_entity;

/* Sorted by name; html_table.c. */
extern const vmt_html_entity vmt_html_names[], vmt_html_upper_names[];
extern const size_t vmt_html_names_count, vmt_html_upper_names_count;

/* What browsers make of U+0080 to U+009F: Windows-1252's character where it has one.  Any other
 * code is returned as it is. */
uint32_t vmt_windows_1252(uint32_t code);

/* Appends `text` to *out with its references replaced, by the rules of HTML5 as Python's
 * html.unescape has them: the semicolon is optional where HTML5 lists the name without one, and the
 * longest known prefix of an unknown name counts. */
enum vmt_status vmt_html_unescape(vmt_ctx *ctx, vmt_codepoints *out, const vmt_codepoints *text);

/* The same by ftfy's rules: references end in a semicolon and are at most 24 letters or digits
 * long; upper-case spellings count ("&EACUTE;"); a numeric reference must be used up entirely. */
enum vmt_status vmt_html_unescape_strict(vmt_ctx *ctx, vmt_codepoints *out,
                                         const vmt_codepoints *text);

#endif
