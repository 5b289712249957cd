/* SPDX-License-Identifier: MIT
 *
 * bench: what the library measures, as a table or as JSON.
 */
#include "cli.h"

#include <cJSON.h>

#include <stdlib.h>
#include <string.h>

typedef struct bench_job {
    cli_session s;
    bool json;
    cJSON *root, *rows; /* json */
    bool begun;         /* table: its head is printed */
    bool full;          /* out of memory for JSON */
} bench_job;

/* ---- table */

static void print_head(const vmt_bench_head *h)
{
    printf("fastvmt %s: backend %s, %s, %d thread%s; shape %s, %lldx%lld, %lld frames",
           vmt_version(), h->backend, h->dtype, (int)h->threads, h->threads == 1 ? "" : "s",
           h->shape, (long long)h->width, (long long)h->height, (long long)h->frames);
    printf(" (%lld tokens); median of %d run%s\n", (long long)h->tokens, (int)h->runs,
           h->runs == 1 ? "" : "s");
    if (h->ceiling > 0)
        printf("ceiling: the best of %s products, %.1f GFLOP/s\n",
               strcmp(h->backend, "cuda") ? "oneDNN's" : "the device's", h->ceiling * 1e-9);
    printf("%-9s  %-35s %10s %10s %10s %10s %8s %15s %4s  %-10s %7s %7s\n", "part", "", "ms",
           "least", "most", "processor", "GFLOP", "rate", "%", "l/a/c %", "MB plan", "taken");
}

/* "  12.3 GFLOP/s", "  0.31 ns each", "  2.10 GB/s" or "". */
static void rate_text(char text[24], const vmt_bench_row *r)
{
    text[0] = 0;
    if (!(r->median > 0))
        return;
    if (r->flop > 0)
        snprintf(text, 24, "%.1f GFLOP/s", r->flop / r->median * 1e-9);
    else if (r->bytes > 0)
        snprintf(text, 24, "%.2f GB/s", r->bytes / r->median * 1e-9);
    else if (r->elements > 0)
        snprintf(text, 24, "%.2f ns/element", r->median * 1e9 / r->elements);
}

static void print_row(const vmt_bench_head *h, const vmt_bench_row *r)
{
    char times[64] = "", gflop[16] = "", rate[24], share[8] = "", where[24] = "", memory[24] = "";

    if (r->median > 0)
        snprintf(times, sizeof times, "%10.3f %10.3f %10.3f %10.3f", r->median * 1e3,
                 r->least * 1e3, r->most * 1e3, r->processor * 1e3);
    if (r->flop > 0)
        snprintf(gflop, sizeof gflop, "%.4g", r->flop * 1e-9);
    rate_text(rate, r);
    if (r->flop > 0 && r->median > 0 && h->ceiling > 0)
        snprintf(share, sizeof share, "%.0f", 100 * r->flop / r->median / h->ceiling);
    if (r->linear + r->attention + r->conv > 0)
        snprintf(where, sizeof where, "%.0f %.0f %.0f", 100 * r->linear, 100 * r->attention,
                 100 * r->conv);
    if (r->planned || r->taken)
        snprintf(memory, sizeof memory, "%7.1f %7.1f", (double)r->planned * 1e-6,
                 (double)r->taken * 1e-6);
    printf("%-9s  %-35s %43s %8s %15s %4s  %-10s %15s  ", r->part, r->what, times, gflop, rate,
           share, where, memory);
    if (r->ratio_to)
        printf("%.2f x %s; ", r->ratio, r->ratio_to);
    fputs(r->detail ? r->detail : "", stdout);
    if (r->converted || r->mapped)
        printf("; weights: %.0f MB converted, %.0f MB mapped", (double)r->converted * 1e-6,
               (double)r->mapped * 1e-6);
    putchar('\n');
}

/* ---- JSON */

static bool add_head(bench_job *j, const vmt_bench_head *h)
{
    j->root = cJSON_CreateObject();
    const bool good = cJSON_AddStringToObject(j->root, "version", vmt_version()) &&
                      cJSON_AddStringToObject(j->root, "backend", h->backend) &&
                      cJSON_AddStringToObject(j->root, "dtype", h->dtype) &&
                      cJSON_AddStringToObject(j->root, "shape", h->shape) &&
                      cJSON_AddNumberToObject(j->root, "threads", h->threads) &&
                      cJSON_AddNumberToObject(j->root, "runs", h->runs) &&
                      cJSON_AddNumberToObject(j->root, "width", (double)h->width) &&
                      cJSON_AddNumberToObject(j->root, "height", (double)h->height) &&
                      cJSON_AddNumberToObject(j->root, "frames", (double)h->frames) &&
                      cJSON_AddNumberToObject(j->root, "tokens", (double)h->tokens) &&
                      cJSON_AddNumberToObject(j->root, "ceiling_flop_per_second", h->ceiling);
    j->rows = cJSON_AddArrayToObject(j->root, "rows");
    return good && j->rows;
}

static bool add_row(const bench_job *j, const vmt_bench_head *h, const vmt_bench_row *r)
{
    const bool rated = r->flop > 0 && r->median > 0;
    const struct {
        const char *key;
        double value;
    } numbers[] = {
        {"seconds", r->median},
        {"seconds_least", r->least},
        {"seconds_most", r->most},
        {"processor_seconds", r->processor},
        {"flop", r->flop},
        {"flop_per_second", rated ? r->flop / r->median : 0},
        {"of_ceiling", rated && h->ceiling > 0 ? r->flop / r->median / h->ceiling : 0},
        {"linear_share", r->linear},
        {"attention_share", r->attention},
        {"conv_share", r->conv},
        {"elements", r->elements},
        {"file_bytes", r->bytes},
        {"planned_bytes", (double)r->planned},
        {"taken_bytes", (double)r->taken},
        {"converted_weight_bytes", (double)r->converted},
        {"mapped_weight_bytes", (double)r->mapped},
    };
    cJSON *row = cJSON_CreateObject();

    bool good = row && cJSON_AddItemToArray(j->rows, row) &&
                cJSON_AddStringToObject(row, "part", r->part) &&
                cJSON_AddStringToObject(row, "what", r->what) &&
                cJSON_AddStringToObject(row, "detail", r->detail ? r->detail : "");
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        if (numbers[i].value > 0)
            good = good && cJSON_AddNumberToObject(row, numbers[i].key, numbers[i].value);
    if (r->ratio_to)
        good = good && cJSON_AddStringToObject(row, "ratio_to", r->ratio_to) &&
               cJSON_AddNumberToObject(row, "ratio", r->ratio);
    return good;
}

static int on_row(void *user, const vmt_bench_head *head, const vmt_bench_row *row)
{
    bench_job *j = user;

    if (j->json) {
        j->full = (!j->root && !add_head(j, head)) || !add_row(j, head, row);
        return j->full;
    }
    if (!j->begun)
        print_head(head);
    j->begun = true;
    print_row(head, row);
    fflush(stdout);
    return 0;
}

/* ---- command */

/* Without a transfer only size and frames mean something, and attention where the parts have it. */
static bool means_something(const char *name, bool ops)
{
    return !strcmp(name, "size") || !strcmp(name, "frames") ||
           (!ops && (!strncmp(name, "attention", 9) || !strncmp(name, "local-", 6)));
}

static int check_settings(const cli_options *o, bool transfer, bool ops)
{
    const bool has_model = o->paths.dir || o->paths.dit;

    if (transfer && !has_model)
        return cli_fail_text(VMT_E_ARG, "bench transfer needs a model: -m DIR");
    if (transfer && (o->parts || o->op || o->full || o->shape))
        return cli_fail_text(VMT_E_ARG, "bench transfer takes no --parts, --op, --full or --shape");
    if (transfer)
        return 0;
    if (o->preset)
        return cli_fail_text(VMT_E_ARG, "--preset belongs to bench transfer");
    for (int i = 0; i < o->setting_count; i++)
        if (!means_something(o->settings[i].name, ops))
            return cli_fail_text(VMT_E_ARG, "--%s belongs to bench transfer", o->settings[i].name);
    if (o->paths.vae || o->paths.text || o->paths.tokenizer)
        return cli_fail_text(VMT_E_ARG,
                             "bench reads a model's transformer only: -m DIR or --dit FILE");
    return 0;
}

static enum vmt_status run_parts(bench_job *j, const cli_options *o, bool ops)
{
    vmt_settings settings = {0};
    enum vmt_status status = vmt_settings_init(j->s.ctx, &settings, NULL, NULL);

    for (int i = 0; i < o->setting_count && status == VMT_OK; i++)
        status = vmt_settings_set(j->s.ctx, &settings, o->settings[i].name, o->settings[i].value);
    const vmt_bench_options options = {.shape = o->shape,
                                       .width = settings.width,
                                       .height = settings.height,
                                       .frames = settings.frames,
                                       .runs = (int32_t)o->runs,
                                       .full = o->full,
                                       .parts = ops ? "ops" : o->parts,
                                       .op = o->op,
                                       .attention = ops ? NULL : &settings.attention,
                                       .paths = o->paths.dir || o->paths.dit ? &o->paths : NULL,
                                       .row = on_row,
                                       .user = j};
    return status == VMT_OK ? vmt_bench(j->s.ctx, &options) : status;
}

int cli_bench(cli_options *o)
{
    const char *what = o->operand_count ? o->operands[0] : "";
    const bool transfer = !strcmp(what, "transfer"), ops = !strcmp(what, "ops");
    bench_job j = {.json = o->json};

    if (o->embeddings && strcmp(what, "methods") != 0 && strcmp(what, "reuse") != 0)
        return cli_fail_text(VMT_E_ARG, "--embeddings belongs to bench methods and bench reuse");
    if (!strcmp(what, "table"))
        return cli_table(o);
    if (!strcmp(what, "reuse"))
        return cli_bench_reuse(o);
    if (o->cache_dir || o->cache_bytes >= 0)
        return cli_fail_text(VMT_E_ARG, "--cache-dir and --cache-size belong to bench table and "
                                        "bench reuse");
    o->keeps_prompts = false; /* what is measured is not to be found */
    if (o->operand_count > 1 || (*what && !transfer && !ops && strcmp(what, "methods") != 0))
        return cli_fail_text(
            VMT_E_ARG, "bench %s: bench takes nothing, ops, transfer, methods, reuse or table",
            o->operands[o->operand_count - 1]);
    if (o->output || o->jobs || o->shard || o->videos || o->clip || o->list || o->report)
        return cli_fail_text(VMT_E_ARG, "--%s belongs to bench table",
                             o->output   ? "output"
                             : o->jobs   ? "jobs"
                             : o->shard  ? "shard"
                             : o->videos ? "videos"
                             : o->clip   ? "clip"
                             : o->list   ? "list"
                                         : "report");
    if (!strcmp(what, "methods"))
        return cli_bench_methods(o);
    if (ops && o->parts)
        return cli_fail_text(VMT_E_ARG, "bench ops takes no --parts");
    int code = check_settings(o, transfer, ops);
    if (code)
        return code;
    if (!transfer && !o->dtype && (!o->backend || strcmp(o->backend, "ref64")))
        o->dtype = "bf16"; /* what large models run in */
    code = cli_session_open(&j.s, o, transfer);
    if (!code) {
        const enum vmt_status status = transfer
                                           ? vmt_bench_transfer(j.s.ctx, j.s.model, &j.s.settings,
                                                                (int32_t)o->runs, on_row, &j)
                                           : run_parts(&j, o, ops);
        code = j.full             ? cli_fail_text(VMT_E_MEMORY, "out of memory")
               : status != VMT_OK ? cli_fail(&j.s, status)
               : j.json           ? cli_print_json(cJSON_Print(j.root))
                                  : 0;
    }
    cJSON_Delete(j.root);
    cli_session_close(&j.s);
    return code;
}
