/* SPDX-License-Identifier: MIT */
#include "table/report.h"

#include <stdarg.h>
#include <string.h>

void report_escape(FILE *html, const char *text)
{
    for (; *text; text++) {
        const unsigned char c = (unsigned char)*text;
        if (c == '<')
            fputs("&lt;", html);
        else if (c == '>')
            fputs("&gt;", html);
        else if (c == '&')
            fputs("&amp;", html);
        else if (c == '"')
            fputs("&quot;", html);
        else if (c >= 32 || c == '\n')
            fputc(c, html);
    }
}

/* What would end a cell or begin markup. */
static void escape_markdown(FILE *to, const char *text)
{
    for (; *text; text++) {
        if (strchr("|<>&\\`*_[]", *text))
            fputc('\\', to);
        if ((unsigned char)*text >= 32)
            fputc(*text, to);
    }
}

void report_heading(report_doc *doc, const char *text)
{
    fprintf(doc->markdown, "\n## %s\n\n", text);
    fputs("<h2>", doc->html);
    report_escape(doc->html, text);
    fputs("</h2>\n", doc->html);
}

void report_text(report_doc *doc, const char *format, ...)
{
    char text[2048];
    va_list args;

    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    escape_markdown(doc->markdown, text);
    fputs("\n\n", doc->markdown);
    fputs("<p>", doc->html);
    report_escape(doc->html, text);
    fputs("</p>\n", doc->html);
}

static void row(report_doc *doc, const char *const *cells, int count, const char *tag)
{
    fputs("|", doc->markdown);
    fputs("<tr>", doc->html);
    for (int i = 0; i < count; i++) {
        fputs(" ", doc->markdown);
        escape_markdown(doc->markdown, cells[i]);
        fputs(" |", doc->markdown);
        fprintf(doc->html, "<%s>", tag);
        report_escape(doc->html, cells[i]);
        fprintf(doc->html, "</%s>", tag);
    }
    fputs("\n", doc->markdown);
    fputs("</tr>\n", doc->html);
}

void report_table_begin(report_doc *doc, const char *const *cells, int count)
{
    fputs("<table>\n", doc->html);
    row(doc, cells, count, "th");
    fputs("|", doc->markdown);
    for (int i = 0; i < count; i++)
        fputs(" --- |", doc->markdown);
    fputs("\n", doc->markdown);
}

void report_table_row(report_doc *doc, const char *const *cells, int count)
{
    row(doc, cells, count, "td");
}

void report_table_end(report_doc *doc)
{
    fputs("\n", doc->markdown);
    fputs("</table>\n", doc->html);
}
