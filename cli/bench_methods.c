/* SPDX-License-Identifier: MIT
 *
 * bench methods: each method's parts and its whole schedule beside those of ditflow-10, which is
 * FastVMT without its two reductions.
 */
#include "cli.h"

#include <cJSON.h>

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_METHODS = 32 };

static const char BASE[] = "ditflow-10";

typedef struct methods_bench {
    cli_session s;
    const vmt_method_row *rows[MAX_METHODS];
    vmt_method_cost costs[MAX_METHODS];
    int count;
    int64_t width, height, frames;
} methods_bench;

static const vmt_method_cost *base_of(const methods_bench *b)
{
    for (int i = 0; i < b->count; i++)
        if (!strcmp(b->rows[i]->name, BASE))
            return &b->costs[i];
    return NULL;
}

/* How many times faster than the base; 0: not known. */
static double ratio(double base, double own)
{
    return base > 0 && own > 0 ? base / own : 0;
}

static void print_seconds(double seconds, int width, int digits)
{
    if (seconds > 0)
        printf(" %*.*f", width, digits, seconds);
    else
        printf(" %*s", width, "-");
}

static void print_table(const methods_bench *b)
{
    const vmt_method_cost *base = base_of(b);

    printf("fastvmt %s: backend %s; %" PRId64 "x%" PRId64 ", %" PRId64 " frames (%" PRId64
           " tokens); seconds\n",
           vmt_version(), vmt_backend_name(b->s.ctx), b->width, b->height, b->frames,
           b->costs[0].tokens);
    printf("%-12s %6s %6s %9s %8s %8s %8s %8s %8s %8s %8s %8s %8s %8s %8s", "method", "steps",
           "guided", "gradients", "referen.", "computed", "reused", "guided", "plain", "guidance",
           "loop", "whole", "ran", "MiB plan", "taken");
    printf(base ? "  x %s: guidance, loop, whole\n" : "\n", BASE);
    for (int i = 0; i < b->count; i++) {
        const vmt_method_cost *c = &b->costs[i];
        printf("%-12s %6" PRId32 " %6" PRId32 " %9" PRId32, b->rows[i]->name, c->steps,
               c->guided_steps, c->gradients);
        print_seconds(c->reference, 8, 4);
        print_seconds(c->computed, 8, 4);
        print_seconds(c->reused, 8, 4);
        print_seconds(c->guided_step, 8, 3);
        print_seconds(c->plain, 8, 4);
        print_seconds(c->guidance, 8, 2);
        print_seconds(c->loop, 8, 2);
        print_seconds(c->whole, 8, 2);
        print_seconds(c->loop_ran, 8, 2);
        printf(" %8.0f %8.0f", (double)c->planned / (1 << 20), (double)c->taken / (1 << 20));
        if (base) {
            print_seconds(ratio(base->guidance, c->guidance), 7, 2);
            print_seconds(ratio(base->loop, c->loop), 7, 2);
            print_seconds(ratio(base->whole, c->whole), 7, 2);
        }
        putchar('\n');
    }
}

static bool add_method(cJSON *list, const methods_bench *b, int index)
{
    const vmt_method_cost *c = &b->costs[index], *base = base_of(b);
    const struct {
        const char *key;
        double value;
    } numbers[] = {
        {"steps", c->steps},
        {"guided_steps", c->guided_steps},
        {"gradients", c->gradients},
        {"reference_seconds", c->reference},
        {"computed_inner_step_seconds", c->computed},
        {"reused_inner_step_seconds", c->reused},
        {"guided_step_seconds", c->guided_step},
        {"plain_step_seconds", c->plain},
        {"encode_seconds", c->encode},
        {"decode_seconds", c->decode},
        {"guidance_seconds", c->guidance},
        {"loop_seconds", c->loop},
        {"whole_seconds", c->whole},
        {"loop_ran_seconds", c->loop_ran},
        {"planned_bytes", (double)c->planned},
        {"taken_bytes", (double)c->taken},
        {"guidance_faster", base ? ratio(base->guidance, c->guidance) : 0},
        {"loop_faster", base ? ratio(base->loop, c->loop) : 0},
        {"whole_faster", base ? ratio(base->whole, c->whole) : 0},
    };
    cJSON *row = cJSON_CreateObject();
    bool good = row && cJSON_AddItemToArray(list, row) &&
                cJSON_AddStringToObject(row, "method", b->rows[index]->name);

    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        if (numbers[i].value > 0)
            good = good && cJSON_AddNumberToObject(row, numbers[i].key, numbers[i].value);
    return good;
}

static int print_json(const methods_bench *b)
{
    cJSON *root = cJSON_CreateObject();
    cJSON *list = cJSON_AddArrayToObject(root, "methods");
    bool good = list && cJSON_AddStringToObject(root, "version", vmt_version()) &&
                cJSON_AddStringToObject(root, "backend", vmt_backend_name(b->s.ctx)) &&
                cJSON_AddNumberToObject(root, "width", (double)b->width) &&
                cJSON_AddNumberToObject(root, "height", (double)b->height) &&
                cJSON_AddNumberToObject(root, "frames", (double)b->frames) &&
                cJSON_AddNumberToObject(root, "tokens", (double)b->costs[0].tokens) &&
                cJSON_AddStringToObject(root, "base", BASE);

    for (int i = 0; i < b->count && good; i++)
        good = add_method(list, b, i);
    char *text = good ? cJSON_Print(root) : NULL;
    cJSON_Delete(root);
    return cli_print_json(text);
}

/* Sizes as asked, else the model's. */
static void note_sizes(methods_bench *b)
{
    vmt_clip native;

    vmt_model_native(b->s.model, &native);
    b->width = b->s.settings.width ? b->s.settings.width : native.width;
    b->height = b->s.settings.height ? b->s.settings.height : native.height;
    b->frames = b->s.settings.frames ? b->s.settings.frames : native.frames;
}

static enum vmt_status measure(methods_bench *b, const char *only)
{
    const cli_options *o = b->s.options;
    const vmt_method_row *row;

    for (size_t i = 0; (row = vmt_method_at(i)) && b->count < MAX_METHODS; i++) {
        if (only && strcmp(only, row->name) != 0)
            continue;
        enum vmt_status status = cli_fill_settings(&b->s, row->name);
        if (status == VMT_OK && !o->quiet)
            fprintf(stderr, "%s...\n", row->name);
        if (status == VMT_OK)
            status = vmt_bench_method(b->s.ctx, b->s.model, &b->s.settings, o->embeddings,
                                      o->full   ? 0
                                      : o->runs ? (int32_t)o->runs
                                                : 1,
                                      b->count > 0, &b->costs[b->count]);
        if (status != VMT_OK)
            return status;
        b->rows[b->count++] = row;
        note_sizes(b);
    }
    return VMT_OK;
}

int cli_bench_methods(cli_options *o)
{
    static methods_bench b;
    const char *only = NULL;
    int code = 0;

    if (!o->paths.dir && !o->paths.dit)
        return cli_fail_text(VMT_E_ARG, "bench methods needs a model: -m DIR");
    if (o->parts || o->op || o->shape)
        return cli_fail_text(VMT_E_ARG, "bench methods takes no --parts, --op or --shape");
    if (o->full && o->runs)
        return cli_fail_text(VMT_E_ARG,
                             "bench methods takes --full or --runs: both say how many steps");
    for (int i = 0; i < o->setting_count; i++)
        if (!strcmp(o->settings[i].name, "method"))
            only = o->settings[i].value;
    b = (methods_bench){0};
    code = cli_session_open(&b.s, o, true);
    if (!code) {
        const enum vmt_status status = measure(&b, only);
        if (status != VMT_OK)
            code = cli_fail(&b.s, status);
        else if (o->json)
            code = print_json(&b);
        else
            print_table(&b);
    }
    cli_session_close(&b.s);
    return code;
}
