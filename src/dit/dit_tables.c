/* SPDX-License-Identifier: MIT
 *
 * What depends on the grid and the timesteps alone: RoPE tables and time embeddings.
 * Source: Wan-Video/Wan2.1 wan/modules/model.py, sinusoidal_embedding_1d and rope_params.
 */
#include "dit/dit_internal.h"

#include <math.h>
#include <string.h>

/* Pairs of a head given to each axis: time gets what rows and columns leave. */
static void rope_split(int64_t head_dim, int64_t pairs[3])
{
    const int64_t all = head_dim / 2;
    pairs[1] = pairs[2] = all / 3;
    pairs[0] = all - 2 * (all / 3);
}

/* Cosines of one axis, then sines, [length, pairs] each: pair j at position p turns by
 * p · theta^(-2j / (2 pairs)). */
static void fill_axis(double *cosine, double *sine, int64_t length, int64_t pairs, double theta)
{
    for (int64_t at = 0; at < length * pairs; at++) {
        const double angle =
            (double)(at / pairs) * (1.0 / pow(theta, (double)(at % pairs) / (double)pairs));
        cosine[at] = cos(angle);
        sine[at] = sin(angle);
    }
}

static enum vmt_status fill_rope(vmt_ctx *ctx, vmt_dit_run *run)
{
    const vmt_dit_config *c = &run->dit->config;
    const vmt_dit_plan *p = &run->plan;
    const int64_t half = c->dim / c->heads / 2;
    const int64_t lengths[3] = {p->grid_f, p->grid_h, p->grid_w};
    const int64_t rows = p->grid_f + p->grid_h + p->grid_w; /* of the axes, `half` wide at most */
    int64_t pairs[3];
    double *table, *axes[3];

    rope_split(2 * half, pairs);
    VMT_TRY(
        vmt_alloc(ctx, (void **)&table, (size_t)(2 * (run->tokens + rows) * half), sizeof *table));
    double *const cosine = table, *const sine = table + run->tokens * half;
    axes[0] = table + 2 * run->tokens * half;
    for (int axis = 0; axis < 3; axis++) {
        const int64_t count = lengths[axis] * pairs[axis];
        fill_axis(axes[axis], axes[axis] + count, lengths[axis], pairs[axis], c->rope_theta);
        if (axis < 2)
            axes[axis + 1] = axes[axis] + 2 * count;
    }
    for (int64_t token = 0; token < run->tokens; token++) {
        const int64_t position[3] = {token / (p->grid_h * p->grid_w), token / p->grid_w % p->grid_h,
                                     token % p->grid_w};
        int64_t column = token * half;
        for (int axis = 0; axis < 3; column += pairs[axis++]) {
            const double *row = axes[axis] + position[axis] * pairs[axis];
            memcpy(cosine + column, row, (size_t)pairs[axis] * sizeof *row);
            row += lengths[axis] * pairs[axis];
            memcpy(sine + column, row, (size_t)pairs[axis] * sizeof *row);
        }
    }
    const vmt_tensor host_cos = vmt_tensor_over(cosine, VMT_F64, VMT_SHAPE(run->tokens, half));
    const vmt_tensor host_sin = vmt_tensor_over(sine, VMT_F64, VMT_SHAPE(run->tokens, half));
    enum vmt_status status = vmt_upload(ctx, &run->rope_cos, &host_cos);
    if (status == VMT_OK)
        status = vmt_upload(ctx, &run->rope_sin, &host_sin);
    vmt_free(table);
    return status;
}

/* Cosines first, then sines, of timestep · 10000^(-i / half); angles in double, values rounded to
 * float. */
static void timestep_features(float *features, int64_t freq_dim, float timestep)
{
    const int64_t half = freq_dim / 2;

    for (int64_t i = 0; i < half; i++) {
        const double angle = (double)timestep * pow(10000.0, -((double)i / (double)half));
        features[i] = (float)cos(angle);
        features[half + i] = (float)sin(angle);
    }
}

/* e = W2 silu(W1 features);  e0 = Wp silu(e) as [6, D].  Rows: the plan's timesteps. */
static enum vmt_status embed_times(vmt_ctx *ctx, vmt_dit_run *run, vmt_arena *arena,
                                   const float *features)
{
    const vmt_dit *dit = run->dit;
    const int64_t count = run->plan.timestep_count, dim = dit->config.dim;
    const vmt_tensor host = {.data = (void *)(uintptr_t)features,
                             .shape = {count, dit->config.freq_dim, 1, 1, 1},
                             .dtype = VMT_F32,
                             .rank = 2};
    vmt_tensor input, hidden, lora = {0};
    vmt_tensor e0 = vmt_reshape(&run->time_e0, VMT_SHAPE(count, 6 * dim));

    VMT_TRY(vmt_take(ctx, arena, &input, ctx->real, host.rank, host.shape));
    VMT_TRY(vmt_take(ctx, arena, &hidden, ctx->real, VMT_SHAPE(count, dim)));
    if (dit_lora_rank(dit))
        VMT_TRY(vmt_take(ctx, arena, &lora, ctx->real, VMT_SHAPE(count, dit_lora_rank(dit))));
    if (vmt_arena_measures(arena))
        return VMT_OK;
    VMT_TRY(vmt_upload(ctx, &input, &host));
    VMT_TRY(
        dit_linear(ctx, dit, &lora, vmt_linear, &hidden, &input, &dit->time_in, VMT_EPILOGUE_SILU));
    VMT_TRY(dit_linear(ctx, dit, &lora, vmt_linear, &run->time_e, &hidden, &dit->time_out,
                       VMT_EPILOGUE_NONE));
    VMT_TRY(vmt_silu(ctx, &hidden, &run->time_e));
    return dit_linear(ctx, dit, &lora, vmt_linear, &e0, &hidden, &dit->time_projection,
                      VMT_EPILOGUE_NONE);
}

/* The same, its matrices lent. */
static enum vmt_status embed_times_lent(vmt_ctx *ctx, vmt_dit_run *run, vmt_arena *arena,
                                        const float *features)
{
    const vmt_dit *dit = run->dit;
    const vmt_weight *const lent[] = {&dit->time_in, &dit->time_out, &dit->time_projection};

    for (size_t i = 0; i < sizeof lent / sizeof *lent; i++)
        VMT_TRY(dit_stream_lend(ctx, dit, lent[i]));
    VMT_TRY(embed_times(ctx, run, arena, features));
    for (size_t i = 0; i < sizeof lent / sizeof *lent; i++)
        dit_stream_return(ctx, dit, lent[i]);
    return VMT_OK;
}

static enum vmt_status fill_times(vmt_ctx *ctx, vmt_dit_run *run)
{
    const int64_t count = run->plan.timestep_count, freq_dim = run->dit->config.freq_dim;
    vmt_arena arena = vmt_arena_measure();
    float *features;

    VMT_TRY(vmt_alloc(ctx, (void **)&features, (size_t)(count * freq_dim), sizeof *features));
    for (int64_t i = 0; i < count; i++)
        timestep_features(features + i * freq_dim, freq_dim, run->plan.timesteps[i]);
    enum vmt_status status = embed_times(ctx, run, &arena, features);
    if (status == VMT_OK)
        status = vmt_arena_open(ctx, &arena, arena.peak);
    if (status == VMT_OK) {
        status = embed_times_lent(ctx, run, &arena, features);
        vmt_arena_close(ctx, &arena);
    }
    vmt_free(features);
    return status;
}

enum vmt_status dit_tables_fill(vmt_ctx *ctx, vmt_dit_run *run)
{
    VMT_TRY(fill_rope(ctx, run));
    return fill_times(ctx, run);
}

enum vmt_status vmt_dit_time_changes(vmt_ctx *ctx, const vmt_dit_run *run, double *changes)
{
    const int64_t count = run->plan.timestep_count, dim = run->dit->config.dim;
    double *e;

    VMT_TRY(vmt_alloc(ctx, (void **)&e, (size_t)(count * dim), sizeof *e));
    vmt_tensor host = vmt_tensor_over(e, VMT_F64, VMT_SHAPE(count, dim));
    const enum vmt_status status = vmt_download(ctx, &host, &run->time_e);
    for (int64_t i = 0; status == VMT_OK && i < count; i++) {
        const double *now = e + i * dim, *before = i ? now - dim : now;
        double change = 0, size = 0;
        for (int64_t k = 0; k < dim; k++) {
            change += fabs(now[k] - before[k]);
            size += fabs(before[k]);
        }
        changes[i] = size > 0 ? change / size : 0;
    }
    vmt_free(e);
    return status;
}
