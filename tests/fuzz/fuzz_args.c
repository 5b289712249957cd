/* SPDX-License-Identifier: MIT
 *
 * A command line, one word a line: the parser, then every setting as the program applies it.
 * Whatever was accepted reads back as the same text.
 */
#include "input.h"

#include "cli.h"

#include <string.h>

enum { MOST_WORDS = 64 };

static void apply(vmt_ctx *ctx, const cli_options *options)
{
    vmt_settings settings;
    char text[256], again[256];

    if (vmt_settings_init(ctx, &settings, NULL, options->preset) != VMT_OK) {
        FUZZ_REFUSED(*ctx);
        return;
    }
    for (int i = 0; i < options->setting_count; i++) {
        const char *name = options->settings[i].name;
        if (vmt_settings_set(ctx, &settings, name, options->settings[i].value) != VMT_OK) {
            FUZZ_REFUSED(*ctx);
        } else if (vmt_settings_get(ctx, &settings, name, text, sizeof text) == VMT_OK) {
            if (vmt_settings_set(ctx, &settings, name, text) != VMT_OK ||
                vmt_settings_get(ctx, &settings, name, again, sizeof again) != VMT_OK ||
                strcmp(text, again) != 0)
                abort();
        }
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
    char program[] = "fastvmt", message[512] = "", *argv[MOST_WORDS + 2] = {program};
    int argc = 1;
    cli_options options;
    vmt_ctx ctx;

    char *text = malloc(length + 1);
    if (!text)
        abort();
    if (length)
        memcpy(text, bytes, length);
    text[length] = '\0';
    for (char *word = text; word && argc <= MOST_WORDS;) {
        char *end = strchr(word, '\n');
        if (end)
            *end++ = '\0';
        argv[argc++] = word;
        word = end;
    }
    vmt_ctx_init(&ctx);
    for (const cli_command *c = cli_commands; c->name; c++) {
        if (strcmp(c->name, argv[1]) != 0)
            continue;
        if (cli_parse(&options, c, argc, argv, message, sizeof message) == VMT_OK)
            apply(&ctx, &options);
        else if (!message[0] || strchr(message, '\n'))
            abort();
    }
    const char *known[] = {"transfer", "generate", "probe"};
    (void)cli_nearest(argv[1], known, 3);
    free(text);
    return 0;
}
