/* SPDX-License-Identifier: MIT
 *
 * manual: the page fastvmt(1) in roff, from the tables that also parse and print the options.
 */
#include "cli.h"

#include <string.h>

/* Text that roff shall print as it is. */
static void print_text(const char *text)
{
    bool line_start = true;

    for (; *text; text++) {
        if (line_start && (*text == '.' || *text == '\''))
            fputs("\\&", stdout);
        line_start = *text == '\n';
        if (*text == '\\')
            fputs("\\e", stdout);
        else if (*text == '-')
            fputs("\\-", stdout);
        else
            putchar(*text);
    }
}

static void print_commands(void)
{
    printf(".SH COMMANDS\n");
    for (const cli_command *c = cli_commands; c->name; c++) {
        printf(".TP\n.B ");
        print_text(c->name);
        if (c->usage[0]) {
            printf("\\fR ");
            print_text(c->usage);
        }
        printf("\n");
        print_text(c->about);
        printf("\n");
    }
}

static void print_option(const cli_option *o)
{
    printf(".TP\n.B ");
    if (o->letter)
        printf("\\-%c\\fR, \\fB", o->letter);
    printf("\\-\\-");
    print_text(o->name);
    if (o->value) {
        printf(" \\fI");
        print_text(o->value);
    }
    printf("\\fR\n");
    print_text(o->help);
    printf("\n");
}

static bool same_option(const cli_option *a, const cli_option *b)
{
    return !strcmp(a->name, b->name) && !strcmp(a->help, b->help);
}

static bool has_option(const cli_command *command, const cli_option *wanted)
{
    cli_option o;

    for (int i = 0; cli_option_at(command, i, &o); i++)
        if (same_option(&o, wanted))
            return true;
    return false;
}

/* The program's own options, each once, with the commands that take it. */
static void print_own_options(void)
{
    cli_option o;

    printf(".SH OPTIONS\n");
    for (const cli_command *c = cli_commands; c->name; c++)
        for (int i = 0; cli_option_at(c, i, &o) && !o.section[0]; i++) {
            bool shown = false, everywhere = true;
            for (const cli_command *before = cli_commands; before != c; before++)
                shown = shown || has_option(before, &o);
            if (shown)
                continue;
            print_option(&o);
            for (const cli_command *of = cli_commands; of->name; of++)
                everywhere = everywhere && has_option(of, &o);
            if (everywhere)
                continue;
            const char *between = "(";
            for (const cli_command *of = c; of->name; of++)
                if (has_option(of, &o)) {
                    printf("%s", between);
                    print_text(of->name);
                    between = ", ";
                }
            printf(")\n");
        }
}

/* The library's options, in sections. */
static void print_settings(void)
{
    const char *section = "";
    const vmt_option *option;

    printf(
        ".SH SETTINGS\nOptions of the commands that compute. Their defaults are the preset's.\n");
    for (size_t i = 0; (option = vmt_option_at(i)); i++) {
        if (strcmp(section, option->section))
            printf(".SS %s\n", option->section);
        section = option->section;
        print_option(&(cli_option){cli_setting_letter(option->name), option->name, option->value,
                                   option->help, section});
    }
}

int cli_manual(cli_options *options)
{
    (void)options;
    printf(
        ".\\\" Printed by: fastvmt manual\n"
        ".TH FASTVMT 1 \"\" \"fastvmt %s\" \"User Commands\"\n"
        ".SH NAME\nfastvmt \\- video motion transfer on Wan2.1 text\\-to\\-video models\n"
        ".SH SYNOPSIS\n.B fastvmt\n.I command\n.RI [ options ]\n"
        ".SH DESCRIPTION\n"
        "A clip goes in, a prompt goes in, and a video comes out that shows the prompt and moves "
        "like the clip.\nNothing is trained: the first denoising steps are steered by the "
        "gradient of an attention motion flow.\n",
        vmt_version());
    print_commands();
    print_own_options();
    print_settings();
    printf(".SH EXIT STATUS\n.nf\n");
    print_text(cli_exit_codes);
    printf(".fi\n.SH EXAMPLES\n.nf\n");
    for (const cli_command *c = cli_commands; c->name; c++)
        print_text(c->examples);
    printf(".fi\n.SH SEE ALSO\n.BR ffmpeg (1)\n");
    return 0;
}
