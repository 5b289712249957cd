/* SPDX-License-Identifier: MIT
 *
 * The bench: which parts, on which shape.
 */
#include "bench/bench.h"

#include "model/model_paths.h"
#include "model/random_model.h"
#include "pipeline/local_settings.h"
#include "vae/vae.h"

#include <inttypes.h>
#include <string.h>

enum { MAX_SIDE = 8192, MAX_FRAMES = 1024, MAX_RUNS = 1000 };

static const struct {
    const char *name;
    enum vmt_status (*run)(bench *b);
} parts[] = {
    {"dit", bench_dit},   {"block", bench_block},   {"attention", bench_attention},
    {"text", bench_text}, {"encode", bench_encode}, {"decode", bench_decode},
    {"load", bench_load}, {"memory", bench_memory}, {"ops", bench_ops},
};

enum { PARTS = sizeof parts / sizeof *parts, OPS = PARTS - 1 };

const char *vmt_bench_part(size_t index)
{
    return index < PARTS ? parts[index].name : NULL;
}

const char *bench_dtype(const vmt_ctx *ctx)
{
    return ctx->act == VMT_BF16 ? "bf16" : ctx->act == VMT_F32 ? "f32" : "f64";
}

/* ---- parts by name */

static enum vmt_status choose_parts(vmt_ctx *ctx, const char *names, bool chosen[PARTS])
{
    for (int i = 0; i < PARTS; i++)
        chosen[i] = !names && i != OPS;
    if (names && !*names)
        return vmt_fail(ctx, VMT_E_ARG, "the bench is asked for no part");
    for (const char *name = names; name && *name;) {
        const size_t length = strcspn(name, ",");
        int i = 0;
        while (i < PARTS &&
               (strlen(parts[i].name) != length || strncmp(parts[i].name, name, length) != 0))
            i++;
        if (i == PARTS)
            return vmt_fail(ctx, VMT_E_ARG,
                            "the bench has no part '%.*s'; it has dit, block, attention, text, "
                            "encode, decode, load, memory, ops",
                            (int)(length < 40 ? length : 40), name);
        chosen[i] = true;
        name += length + (name[length] == ',');
    }
    return VMT_OK;
}

static int64_t round_up(int64_t value, int64_t unit)
{
    return (value + unit - 1) / unit * unit;
}

static enum vmt_status set_sizes(vmt_ctx *ctx, bench *b)
{
    vmt_bench_options *o = &b->options;
    const int64_t *patch = b->dit.patch;

    if (!o->width && !o->height) {
        o->width = 416;
        o->height = 240;
    }
    o->frames = o->frames ? o->frames : 17;
    o->runs = o->runs ? o->runs : BENCH_RUNS;
    if (o->width < 1 || o->height < 1 || o->width > MAX_SIDE || o->height > MAX_SIDE ||
        o->frames < 1 || o->frames > MAX_FRAMES || o->runs < 1 || o->runs > MAX_RUNS)
        return vmt_fail(ctx, VMT_E_ARG,
                        "bench of %" PRId64 "x%" PRId64 ", %" PRId64
                        " frames, %d runs; possible are sides up to %d, %d frames, %d runs",
                        o->width, o->height, o->frames, (int)o->runs, MAX_SIDE, MAX_FRAMES,
                        MAX_RUNS);
    b->head.width = round_up(o->width, VMT_VAE_CELL * patch[2]);
    b->head.height = round_up(o->height, VMT_VAE_CELL * patch[1]);
    b->latent_f = round_up(o->frames - 1, 4) / 4 + 1;
    b->head.frames = 4 * (b->latent_f - 1) + 1;
    b->latent_h = b->head.height / VMT_VAE_CELL;
    b->latent_w = b->head.width / VMT_VAE_CELL;
    const int64_t grid[3] = {b->latent_f / patch[0], b->latent_h / patch[1],
                             b->latent_w / patch[2]};
    b->head.tokens = grid[0] * grid[1] * grid[2];
    return o->attention ? vmt_local_make(ctx, &b->local, o->attention, grid, b->dit.layers)
                        : VMT_OK;
}

static enum vmt_status set_up(vmt_ctx *ctx, bench *b, const vmt_bench_options *options)
{
    const vmt_random_model model = {.shape = options->shape ? options->shape : "1.3b"};

    b->options = *options;
    VMT_TRY(vmt_random_model_configs(ctx, &model, &b->dit, &b->vae, &b->text));
    if (ctx->act != VMT_F32 && ctx->act != VMT_BF16)
        return vmt_fail(ctx, VMT_E_UNSUPPORTED, "the bench computes in f32 or bf16, not in %s",
                        vmt_dtype_name(ctx->act));
    b->head.backend = ctx->ops->name;
    b->head.dtype = bench_dtype(ctx);
    b->head.shape = model.shape;
    b->head.threads = ctx->threads;
    VMT_TRY(set_sizes(ctx, b));
    b->head.runs = b->options.runs;
    return VMT_OK;
}

/* Mistakes come before anything is measured. */
static enum vmt_status check_names(vmt_ctx *ctx, const vmt_bench_options *o, bool chosen[PARTS])
{
    vmt_model_files files;

    VMT_TRY(choose_parts(ctx, o->parts, chosen));
    if (o->op && !chosen[OPS])
        return vmt_fail(ctx, VMT_E_ARG, "--op belongs to part ops");
    if (o->op && !bench_has_ops(o->op))
        return vmt_fail(ctx, VMT_E_ARG, "no op '%.40s'; such as linear, attention, conv3d", o->op);
    if (o->paths) {
        VMT_TRY(vmt_model_paths_resolve(ctx, &files, o->paths));
        vmt_model_files_free(&files);
    }
    return VMT_OK;
}

enum vmt_status vmt_bench(vmt_ctx *ctx, const vmt_bench_options *options)
{
    bench b = {.ctx = ctx};
    bool chosen[PARTS];

    VMT_TRY(check_names(ctx, options, chosen));
    VMT_TRY(set_up(ctx, &b, options));
    bench_counter_begin(ctx, &b.counter);
    enum vmt_status status = bench_ceiling(&b);
    for (int i = 0; i < PARTS && status == VMT_OK; i++)
        if (chosen[i])
            status = vmt_prefix(ctx, parts[i].run(&b), "bench, %s", parts[i].name);
    bench_counter_end(ctx, &b.counter);
    return status;
}
