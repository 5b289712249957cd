/* SPDX-License-Identifier: MIT
 *
 * Attention forward in blocks of queries and keys.  Keys and values of a head are packed once; then
 * each task takes some queries of a head through all blocks of keys with an online softmax:
 *     m' = max(m, max z);  o' = 2^(m - m') o + P v,  P = 2^(z - m');  l' = 2^(m - m') l + Σ P
 * with z = log2 e · logits.  Logits never leave the core's cache.  A row's result depends neither
 * on the other rows of its block nor on who computes it.
 */
#include "backend/cpu/cpu_attention.h"

#include "backend/local_host.h"

#include <math.h>
#include <omp.h>

enum { QUERY_BLOCK = 96, MIN_QUERY_BLOCK = 12, KEY_BLOCK = 512 };

#define LOG2_E 1.44269504088896341
#define LN_2 0.693147180559945309

typedef struct forward {
    cpu_heads h;
    const vmt_tensor *q, *k, *v, *bias;
    vmt_tensor *o, *lse;
    double scale;
    int64_t rows;   /* queries of a block */
    int64_t blocks; /* of queries, of a head */
    uint32_t *packed;
    int64_t k_units, head_units; /* of a head's keys; of keys and values */
    cpu_parts scratch;
} forward;

/* A thread's scratch. */
typedef struct block {
    uint32_t *q, *p;        /* left operands; p NULL: in place of the logits */
    float *s, *o;           /* logits [rows, KEY_BLOCK]; sums [rows, width] */
    float *max, *sum, *fix; /* of each row */
} block;

static block lay_out(const forward *f, vmt_arena *arena)
{
    const int64_t rows = cpu_round_up(f->rows, CPU_TILE_ROWS);
    const size_t row_bytes = (size_t)rows * sizeof(float);
    block b = {.q = vmt_arena_take(arena, row_bytes * (size_t)f->h.steps)};

    b.s = vmt_arena_take(arena, row_bytes * KEY_BLOCK);
    if (f->h.pairs)
        b.p = vmt_arena_take(arena, row_bytes * KEY_BLOCK / 2);
    b.o = vmt_arena_take(arena, row_bytes * (size_t)f->h.width);
    b.max = vmt_arena_take(arena, row_bytes);
    b.sum = vmt_arena_take(arena, row_bytes);
    b.fix = vmt_arena_take(arena, row_bytes);
    return b;
}

/* Keys and values of one block of keys. */
static void pack(const forward *f, int64_t head, int64_t slot, int64_t first)
{
    const cpu_heads *h = &f->h;
    const int64_t count = cpu_min(KEY_BLOCK, h->nk - first);
    uint32_t *const k = f->packed + slot * f->head_units, *const v = k + f->k_units;

    h->kernels->pack_across(k + first * h->steps, cpu_head_rows(h, f->k, head, first), count, h->d,
                            h->pairs);
    h->kernels->pack_along(v + first / h->per_unit * h->kernels->panel, cpu_along_panel(h, h->nk),
                           cpu_head_rows(h, f->v, head, first), count, h->d, h->pairs);
}

/* o = fix o + P v. */
static void mix(const forward *f, const block *b, const uint32_t *v, int64_t rows, int64_t first,
                int64_t count)
{
    const cpu_heads *h = &f->h;
    const cpu_product product = {.a = b->p ? b->p : (const uint32_t *)(const void *)b->s,
                                 .a_row = KEY_BLOCK / h->per_unit,
                                 .a_step = 1,
                                 .b = v + first / h->per_unit * h->kernels->panel,
                                 .b_panel = cpu_along_panel(h, h->nk),
                                 .b_step = h->kernels->panel,
                                 .c_row = h->width,
                                 .rows = rows,
                                 .columns = h->d,
                                 .steps = (count + h->per_unit - 1) / h->per_unit,
                                 .factor = first ? b->fix : NULL,
                                 .pairs = h->pairs};
    h->kernels->product(b->o, &product);
}

static void store(const forward *f, const block *b, int64_t head, int64_t first, int64_t rows)
{
    const cpu_heads *h = &f->h;

    for (int64_t i = 0; i < rows; i++) {
        float *const o = b->o + i * h->width;
        h->kernels->scale(o, o, 1 / b->sum[i], h->d);
        cpu_head_store(h, f->o, head, first + i, o);
        if (f->lse)
            ((float *)f->lse->data)[head * h->nq + first + i] =
                (float)((double)b->max[i] * LN_2 + log((double)b->sum[i]));
    }
}

static void run_block(const forward *f, int64_t head, int64_t slot, int64_t first)
{
    const cpu_heads *h = &f->h;
    vmt_arena arena = cpu_own_arena(&f->scratch);
    const block b = lay_out(f, &arena);
    const uint32_t *const k = f->packed + slot * f->head_units, *const v = k + f->k_units;
    const int64_t rows = cpu_min(f->rows, h->nq - first), p_row = KEY_BLOCK / h->per_unit;
    const float scale = (float)(f->scale * LOG2_E);

    h->kernels->pack_rows(b.q, h->steps, cpu_head_rows(h, f->q, head, first), rows, h->d, h->pairs);
    for (int64_t i = 0; i < rows; i++)
        b.max[i] = -INFINITY, b.sum[i] = 0;
    for (int64_t j = 0; j < h->nk; j += KEY_BLOCK) {
        const int64_t count = cpu_min(KEY_BLOCK, h->nk - j);
        cpu_head_product(h, b.s, KEY_BLOCK, b.q, rows, k + j * h->steps, count);
        for (int64_t i = 0; i < rows; i++) {
            float *const s = b.s + i * KEY_BLOCK;
            const float *bias = f->bias ? (const float *)f->bias->data +
                                              head * (h->nq + h->nk - 1) + h->nq - 1 - first - i + j
                                        : NULL;
            h->kernels->softmax_next(b.p ? (void *)(b.p + i * p_row) : s, s, scale, bias, &b.max[i],
                                     &b.sum[i], &b.fix[i], count, h->pairs);
        }
        mix(f, &b, v, rows, j, count);
    }
    store(f, &b, head, first, rows);
}

/* The largest block that gives each thread some, so that they end at about the same time. */
static void choose_blocks(forward *f, int threads)
{
    int64_t most = QUERY_BLOCK;

    while (most > MIN_QUERY_BLOCK && f->h.heads * ((f->h.nq + most - 1) / most) < 4 * threads)
        most /= 2;
    f->blocks = (f->h.nq + most - 1) / most;
    f->rows = cpu_round_up((f->h.nq + f->blocks - 1) / f->blocks, CPU_TILE_ROWS);
    f->blocks = (f->h.nq + f->rows - 1) / f->rows;
}

/* Packed heads for all threads, then each thread's own; returns how many heads at a time. */
static enum vmt_status take_memory(vmt_ctx *ctx, forward *f, int64_t *at_once)
{
    vmt_arena measure = vmt_arena_measure();
    size_t head_bytes, packed;

    f->k_units = cpu_across_units(&f->h, f->h.nk);
    f->head_units = f->k_units + f->h.panels * cpu_along_panel(&f->h, f->h.nk);
    head_bytes = (size_t)f->head_units * sizeof(uint32_t);
    *at_once = cpu_heads_at_once(&f->h, head_bytes);
    (void)lay_out(f, &measure);
    if (!vmt_mul_size(head_bytes,
                      cpu_whole_heads(&f->h, ctx->threads) ? (size_t)ctx->threads
                                                           : (size_t)*at_once,
                      &packed))
        packed = SIZE_MAX;
    VMT_TRY(cpu_scratch_parts(ctx, &f->scratch, packed, measure.used));
    f->packed = (uint32_t *)(void *)f->scratch.shared;
    return VMT_OK;
}

static enum vmt_status run(vmt_ctx *ctx, forward *f)
{
    const int64_t key_blocks = (f->h.nk + KEY_BLOCK - 1) / KEY_BLOCK;
    int64_t at_once;

    choose_blocks(f, ctx->threads);
    VMT_TRY(take_memory(ctx, f, &at_once));
    if (cpu_whole_heads(&f->h, ctx->threads)) {
#pragma omp parallel for num_threads(ctx->threads) schedule(dynamic)
        for (int64_t head = 0; head < f->h.heads; head++) {
            const int64_t slot = omp_get_thread_num();
            for (int64_t i = 0; i < key_blocks; i++)
                pack(f, head, slot, i * KEY_BLOCK);
            for (int64_t i = 0; i < f->blocks; i++)
                run_block(f, head, slot, i * f->rows);
        }
        return VMT_OK;
    }
    for (int64_t head = 0; head < f->h.heads; head += at_once) {
        const int64_t heads = cpu_min(at_once, f->h.heads - head);
#pragma omp parallel num_threads(ctx->threads)
        {
#pragma omp for schedule(static)
            for (int64_t t = 0; t < heads * key_blocks; t++)
                pack(f, head + t / key_blocks, t / key_blocks, t % key_blocks * KEY_BLOCK);
#pragma omp for schedule(dynamic)
            for (int64_t t = 0; t < heads * f->blocks; t++)
                run_block(f, head + t / f->blocks, t / f->blocks, t % f->blocks * f->rows);
        }
    }
    return VMT_OK;
}

static enum vmt_status attend(vmt_ctx *ctx, int64_t sequences, vmt_tensor *o, vmt_tensor *lse,
                              const vmt_tensor *q, const vmt_tensor *k, const vmt_tensor *v,
                              const vmt_tensor *bias, double scale)
{
    forward f = {.h = cpu_heads_of(ctx, sequences, q, k),
                 .q = q,
                 .k = k,
                 .v = v,
                 .bias = bias,
                 .o = o,
                 .lse = lse,
                 .scale = scale};

    return run(ctx, &f);
}

/* o = softmax(scale q kᵀ + B) v per head.   o, q: [Nq, n, d] A; k, v: [Nk, n, d] A; lse: [n, Nq] R
 * or NULL; bias: [n, Nq + Nk - 1] R or NULL, B[h, i, j] = bias[h, j - i + Nq - 1]. */
enum vmt_status cpu_attention(vmt_ctx *ctx, vmt_tensor *o, vmt_tensor *lse, const vmt_tensor *q,
                              const vmt_tensor *k, const vmt_tensor *v, const vmt_tensor *bias,
                              double scale)
{
    if (cpu_of(ctx)->dnnl_attention && ctx->act == VMT_BF16)
        return cpu_attention_dnnl(ctx, o, lse, q, k, v, bias, scale);
    return attend(ctx, 1, o, lse, q, k, v, bias, scale);
}

static enum vmt_status attend_local(vmt_ctx *ctx, int64_t sequences, vmt_tensor *o, vmt_tensor *lse,
                                    const vmt_tensor *q, const vmt_tensor *k, const vmt_tensor *v,
                                    double scale)
{
    if (cpu_of(ctx)->dnnl_attention && ctx->act == VMT_BF16)
        return vmt_each_sequence(ctx, cpu_attention_dnnl, sequences, o, lse, q, k, v, scale);
    return attend(ctx, sequences, o, lse, q, k, v, NULL, scale);
}

enum vmt_status cpu_attention_local(vmt_ctx *ctx, vmt_tensor *o, vmt_tensor *lse,
                                    const vmt_tensor *q, const vmt_tensor *k, const vmt_tensor *v,
                                    const vmt_local_geometry *geometry, double scale)
{
    return vmt_local_forward(ctx, attend_local, o, lse, q, k, v, geometry, scale);
}
