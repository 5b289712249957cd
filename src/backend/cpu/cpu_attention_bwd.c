/* SPDX-License-Identifier: MIT
 *
 * Attention backward in blocks of queries and keys: P is formed anew from the logits and lse, five
 * products in all.  A task takes one block of keys of a head through all blocks of queries and sums
 * dk and dv of its keys by itself; dq of a block of queries is summed over the tasks of the head,
 * in the order of the keys: a task waits until the one before has added its part.  Tasks begin in
 * that order, so the first unfinished one never waits, and the sums depend on the shape alone.
 */
#include "backend/cpu/cpu_attention.h"

#include "backend/local_host.h"

#include <omp.h>

enum { QUERY_BLOCK = 144, KEY_BLOCK = 192 };

#define LOG2_E 1.44269504088896341

typedef struct backward {
    cpu_heads h;
    const vmt_tensor *q, *k, *v, *o, *dout, *lse;
    vmt_tensor *dq, *dk, *dv;
    double scale;
    int64_t query_blocks, key_blocks;
    size_t head_bytes;
    cpu_parts scratch; /* of heads; of threads */
    cpu_queue *queues;
    atomic_llong next; /* task to begin */
} backward;

/* What the tasks of a head share; everything but `turn` in blocks of queries. */
typedef struct head {
    uint32_t *q_rows, *dout_rows;   /* left operands, [QUERY_BLOCK, steps] */
    uint32_t *q_along, *dout_along; /* right operands, [panels][steps of a block][panel] */
    float *dq;                      /* sums, [QUERY_BLOCK, width] */
    float *lse, *delta;             /* log2 e lse; Σ do o */
    atomic_int *turn;               /* blocks of keys that have added to dq of a block of queries */
    cpu_queue *queue;
} head;

/* A thread's scratch. */
typedef struct block {
    uint32_t *k_across, *v_across, *k_along; /* right operands of the task's keys */
    float *dk, *dv;                          /* sums, [KEY_BLOCK, width] */
    float *s, *dp;                           /* [QUERY_BLOCK, KEY_BLOCK] */
    uint32_t *p, *ds;                        /* with pairs: units of two queries each */
    uint16_t *ds_rows;
    float *rows; /* do and o of a query */
} block;

static int64_t along_units(const cpu_heads *h, int64_t rows)
{
    return h->panels * cpu_along_panel(h, rows);
}

static head lay_out_head(const backward *b, vmt_arena *arena)
{
    const cpu_heads *h = &b->h;
    const size_t queries = (size_t)(b->query_blocks * QUERY_BLOCK), unit = sizeof(uint32_t);
    const size_t along =
        (size_t)(b->query_blocks * along_units(h, QUERY_BLOCK)) * unit * (b->dk != NULL);
    head x = {.q_rows = vmt_arena_take(arena, queries * (size_t)h->steps * unit)};

    x.dout_rows = vmt_arena_take(arena, queries * (size_t)h->steps * unit);
    x.q_along = vmt_arena_take(arena, along);
    x.dout_along = vmt_arena_take(arena, along);
    x.dq = vmt_arena_take(arena, queries * (size_t)h->width * sizeof(float));
    x.lse = vmt_arena_take(arena, queries * sizeof(float));
    x.delta = vmt_arena_take(arena, queries * sizeof(float));
    x.turn = vmt_arena_take(arena, (size_t)b->query_blocks * sizeof(atomic_int));
    return x;
}

static block lay_out(const backward *b, vmt_arena *arena)
{
    const cpu_heads *h = &b->h;
    const size_t across = (size_t)cpu_across_units(h, KEY_BLOCK) * sizeof(uint32_t);
    const size_t logits = (size_t)QUERY_BLOCK * KEY_BLOCK;
    const size_t sums = (size_t)(KEY_BLOCK * h->width) * sizeof(float);
    block x = {.k_across = vmt_arena_take(arena, across)};

    x.v_across = vmt_arena_take(arena, across);
    x.k_along = vmt_arena_take(arena, (size_t)along_units(h, KEY_BLOCK) * sizeof(uint32_t));
    x.dk = vmt_arena_take(arena, sums);
    x.dv = vmt_arena_take(arena, sums);
    x.s = vmt_arena_take(arena, logits * sizeof(float));
    x.dp = vmt_arena_take(arena, logits * sizeof(float));
    if (h->pairs) {
        x.p = vmt_arena_take(arena, logits * sizeof(uint16_t));
        x.ds = vmt_arena_take(arena, logits * sizeof(uint16_t));
        x.ds_rows = vmt_arena_take(arena, logits * sizeof(uint16_t));
    }
    x.rows = vmt_arena_take(arena, 2 * (size_t)h->d * sizeof(float));
    return x;
}

static head head_at(const backward *b, int64_t slot)
{
    vmt_arena arena = {.base = b->scratch.shared + (size_t)slot * b->head_bytes,
                       .capacity = b->head_bytes};
    head x = lay_out_head(b, &arena);

    x.queue = &b->queues[slot % CPU_QUEUES];
    return x;
}

static block own_block(const backward *b)
{
    vmt_arena arena = cpu_own_arena(&b->scratch);
    return lay_out(b, &arena);
}

/* ---------------------------------------------------------------- queries, once per head */

/* Σ do o of a query. */
static float delta_of(const backward *b, int64_t number, int64_t i, float *rows)
{
    const cpu_heads *h = &b->h;
    const cpu_rows o = cpu_head_rows(h, b->o, number, i);
    const cpu_rows dout = cpu_head_rows(h, b->dout, number, i);

    if (!o.is_bf16)
        return h->kernels->dot(o.data, dout.data, h->d);
    h->kernels->f32_of_bf16(rows, o.data, h->d);
    h->kernels->f32_of_bf16(rows + h->d, dout.data, h->d);
    return h->kernels->dot(rows, rows + h->d, h->d);
}

static void pack_queries(const backward *b, int64_t number, int64_t slot, int64_t i)
{
    enum { NEVER = 1 << 20 }; /* log2 e lse of the padding: its P is 0 */
    const cpu_heads *h = &b->h;
    const cpu_kernels *kernels = h->kernels;
    const head x = head_at(b, slot);
    float *const rows = own_block(b).rows;
    const int64_t first = i * QUERY_BLOCK, count = cpu_min(QUERY_BLOCK, h->nq - first);
    const cpu_rows q = cpu_head_rows(h, b->q, number, first);
    const cpu_rows dout = cpu_head_rows(h, b->dout, number, first);
    const int64_t along = i * along_units(h, QUERY_BLOCK);

    kernels->pack_rows(x.q_rows + first * h->steps, h->steps, q, count, h->d, h->pairs);
    kernels->pack_rows(x.dout_rows + first * h->steps, h->steps, dout, count, h->d, h->pairs);
    if (b->dk) {
        const int64_t panel = cpu_along_panel(h, QUERY_BLOCK);
        kernels->pack_along(x.q_along + along, panel, q, count, h->d, h->pairs);
        kernels->pack_along(x.dout_along + along, panel, dout, count, h->d, h->pairs);
    }
    for (int64_t r = 0; r < QUERY_BLOCK; r++) {
        const bool real = r < count;
        x.lse[first + r] =
            real ? (float)((double)((const float *)b->lse->data)[number * h->nq + first + r] *
                           LOG2_E)
                 : (float)NEVER;
        x.delta[first + r] = real ? delta_of(b, number, first + r, rows) : 0;
    }
    atomic_init(&x.turn[i], 0);
}

/* ---------------------------------------------------------------- one block of keys */

static void pack_keys(const backward *b, const block *own, int64_t number, int64_t first,
                      int64_t count)
{
    const cpu_heads *h = &b->h;
    const cpu_rows k = cpu_head_rows(h, b->k, number, first);
    const cpu_rows v = cpu_head_rows(h, b->v, number, first);

    h->kernels->pack_across(own->k_across, k, count, h->d, h->pairs);
    h->kernels->pack_across(own->v_across, v, count, h->d, h->pairs);
    h->kernels->pack_along(own->k_along, cpu_along_panel(h, KEY_BLOCK), k, count, h->d, h->pairs);
}

/* Pᵀ do or dSᵀ q into the sums of the keys. */
static void spread(const backward *b, float *c, const uint32_t *a, const uint32_t *along,
                   int64_t rows, int64_t count, bool add)
{
    const cpu_heads *h = &b->h;
    const cpu_product product = {.a = a,
                                 .a_row = 1,
                                 .a_step = KEY_BLOCK,
                                 .b = along,
                                 .b_panel = cpu_along_panel(h, QUERY_BLOCK),
                                 .b_step = h->kernels->panel,
                                 .c_row = h->width,
                                 .rows = count,
                                 .columns = h->d,
                                 .steps = (rows + h->per_unit - 1) / h->per_unit,
                                 .add = add,
                                 .pairs = h->pairs};
    h->kernels->product(c, &product);
}

/* dS k into the sums of the queries, when it is this block's turn. */
static void mix(const backward *b, const block *own, const head *x, int64_t i, int64_t key_block,
                int64_t rows, int64_t count)
{
    const cpu_heads *h = &b->h;
    const cpu_product product = {.a = own->ds_rows ? (const uint32_t *)(const void *)own->ds_rows
                                                   : (const uint32_t *)(const void *)own->dp,
                                 .a_row = KEY_BLOCK / h->per_unit,
                                 .a_step = 1,
                                 .b = own->k_along,
                                 .b_panel = cpu_along_panel(h, KEY_BLOCK),
                                 .b_step = h->kernels->panel,
                                 .c_row = h->width,
                                 .rows = rows,
                                 .columns = h->d,
                                 .steps = (count + h->per_unit - 1) / h->per_unit,
                                 .add = key_block > 0,
                                 .pairs = h->pairs};

    cpu_turn_await(x->queue, &x->turn[i], (int)key_block);
    h->kernels->product(x->dq + i * QUERY_BLOCK * h->width, &product);
}

/* Rows of sums, times `scale`, to where they belong. */
static void store_rows(const backward *b, vmt_tensor *t, int64_t number, int64_t first, float *sums,
                       int64_t count, float scale)
{
    const cpu_heads *h = &b->h;

    for (int64_t r = 0; r < count; r++, sums += h->width) {
        if (scale != 1)
            h->kernels->scale(sums, sums, scale, h->d);
        cpu_head_store(h, t, number, first + r, sums);
    }
}

/* P and dS of a block, two queries at a time; a row behind the last query is zero. */
static void softmax(const backward *b, const block *own, const head *x, int64_t i, int64_t rows,
                    int64_t count)
{
    const float scale = (float)(b->scale * LOG2_E);
    const int64_t first = i * QUERY_BLOCK;

    for (int64_t r = 0; r < rows; r += 2)
        b->h.kernels->softmax_grad(own->s + r * KEY_BLOCK, own->dp + r * KEY_BLOCK, KEY_BLOCK,
                                   scale, x->lse + first + r, x->delta + first + r, count,
                                   own->p + r / 2 * KEY_BLOCK, own->ds + r / 2 * KEY_BLOCK,
                                   own->ds_rows + r * KEY_BLOCK, b->h.pairs);
}

static void run_task(const backward *b, int64_t number, int64_t slot, int64_t key_block)
{
    const cpu_heads *h = &b->h;
    const block own = own_block(b);
    const head x = head_at(b, slot);
    const int64_t first = key_block * KEY_BLOCK, count = cpu_min(KEY_BLOCK, h->nk - first);
    const uint32_t *const p = own.p ? own.p : (const uint32_t *)(const void *)own.s;
    const uint32_t *const ds = own.ds ? own.ds : (const uint32_t *)(const void *)own.dp;
    const float scale = (float)b->scale;

    pack_keys(b, &own, number, first, count);
    for (int64_t i = 0; i < b->query_blocks; i++) {
        const int64_t query = i * QUERY_BLOCK, rows = cpu_min(QUERY_BLOCK, h->nq - query);
        const int64_t along = i * along_units(h, QUERY_BLOCK);
        cpu_head_product(h, own.s, KEY_BLOCK, x.q_rows + query * h->steps, rows, own.k_across,
                         count);
        cpu_head_product(h, own.dp, KEY_BLOCK, x.dout_rows + query * h->steps, rows, own.v_across,
                         count);
        softmax(b, &own, &x, i, rows, count);
        if (b->dk) {
            spread(b, own.dv, p, x.dout_along + along, rows, count, i > 0);
            spread(b, own.dk, ds, x.q_along + along, rows, count, i > 0);
        }
        mix(b, &own, &x, i, key_block, rows, count);
        if (key_block + 1 == b->key_blocks)
            store_rows(b, b->dq, number, query, x.dq + query * h->width, rows, scale);
        cpu_turn_pass(x.queue, &x.turn[i], (int)key_block + 1);
    }
    if (b->dk) {
        store_rows(b, b->dk, number, first, own.dk, count, scale);
        store_rows(b, b->dv, number, first, own.dv, count, 1);
    }
}

/* ---------------------------------------------------------------- the op */

static enum vmt_status take_memory(vmt_ctx *ctx, backward *b, int64_t *at_once)
{
    const size_t mask = VMT_ARENA_ALIGN - 1;
    vmt_arena one_head = vmt_arena_measure(), one_thread = vmt_arena_measure();
    size_t heads;

    (void)lay_out_head(b, &one_head);
    (void)lay_out(b, &one_thread);
    b->head_bytes = (one_head.used + mask) & ~mask;
    *at_once = cpu_whole_heads(&b->h, ctx->threads) ? ctx->threads
                                                    : cpu_heads_at_once(&b->h, b->head_bytes);
    if (!vmt_mul_size(b->head_bytes, (size_t)*at_once, &heads))
        heads = SIZE_MAX;
    return cpu_scratch_parts(ctx, &b->scratch, heads, one_thread.used);
}

static enum vmt_status run(vmt_ctx *ctx, backward *b)
{
    int64_t at_once;

    b->queues = cpu_of(ctx)->queues;
    b->query_blocks = (b->h.nq + QUERY_BLOCK - 1) / QUERY_BLOCK;
    b->key_blocks = (b->h.nk + KEY_BLOCK - 1) / KEY_BLOCK;
    VMT_TRY(take_memory(ctx, b, &at_once));
    if (cpu_whole_heads(&b->h, ctx->threads)) {
#pragma omp parallel for num_threads(ctx->threads) schedule(dynamic)
        for (int64_t number = 0; number < b->h.heads; number++) {
            const int64_t slot = omp_get_thread_num();
            for (int64_t i = 0; i < b->query_blocks; i++)
                pack_queries(b, number, slot, i);
            for (int64_t i = 0; i < b->key_blocks; i++)
                run_task(b, number, slot, i);
        }
        return VMT_OK;
    }
    for (int64_t first = 0; first < b->h.heads; first += at_once) {
        const int64_t heads = cpu_min(at_once, b->h.heads - first);
        atomic_init(&b->next, 0);
#pragma omp parallel num_threads(ctx->threads)
        {
#pragma omp for schedule(static)
            for (int64_t t = 0; t < heads * b->query_blocks; t++)
                pack_queries(b, first + t / b->query_blocks, t / b->query_blocks,
                             t % b->query_blocks);
            /* Neighbouring tasks are of different heads, so that they seldom wait. */
            for (;;) {
                const int64_t t = atomic_fetch_add(&b->next, 1);
                if (t >= heads * b->key_blocks)
                    break;
                run_task(b, first + t % heads, t % heads, t / heads);
            }
        }
    }
    return VMT_OK;
}

static enum vmt_status attend(vmt_ctx *ctx, int64_t sequences, vmt_tensor *dq, vmt_tensor *dk,
                              vmt_tensor *dv, const vmt_tensor *dout, const vmt_tensor *q,
                              const vmt_tensor *k, const vmt_tensor *v, const vmt_tensor *o,
                              const vmt_tensor *lse, double scale)
{
    backward b = {.h = cpu_heads_of(ctx, sequences, q, k),
                  .q = q,
                  .k = k,
                  .v = v,
                  .o = o,
                  .dout = dout,
                  .lse = lse,
                  .dq = dq,
                  .dk = dk,
                  .dv = dv,
                  .scale = scale};

    return run(ctx, &b);
}

/* δ_i = Σ do_i o_i; dv = Pᵀ do; ds = P ⊙ (do vᵀ - δ); dq = scale ds k; dk = scale dsᵀ q.
 * dq, dk, dv: R|A; dk and dv may both be NULL. */
enum vmt_status cpu_attention_bwd(vmt_ctx *ctx, vmt_tensor *dq, vmt_tensor *dk, vmt_tensor *dv,
                                  const vmt_tensor *dout, const vmt_tensor *q, const vmt_tensor *k,
                                  const vmt_tensor *v, const vmt_tensor *o, const vmt_tensor *lse,
                                  double scale)
{
    if (cpu_of(ctx)->dnnl_attention && ctx->act == VMT_BF16)
        return cpu_attention_dnnl_bwd(ctx, dq, dk, dv, dout, q, k, v, o, lse, scale);
    return attend(ctx, 1, dq, dk, dv, dout, q, k, v, o, lse, scale);
}

static enum vmt_status attend_local(vmt_ctx *ctx, int64_t sequences, vmt_tensor *dq, vmt_tensor *dk,
                                    vmt_tensor *dv, const vmt_tensor *dout, const vmt_tensor *q,
                                    const vmt_tensor *k, const vmt_tensor *v, const vmt_tensor *o,
                                    const vmt_tensor *lse, double scale)
{
    if (cpu_of(ctx)->dnnl_attention && ctx->act == VMT_BF16)
        return vmt_each_sequence_bwd(ctx, cpu_attention_dnnl_bwd, sequences, dq, dk, dv, dout, q, k,
                                     v, o, lse, scale);
    return attend(ctx, sequences, dq, dk, dv, dout, q, k, v, o, lse, scale);
}

enum vmt_status cpu_attention_local_bwd(vmt_ctx *ctx, vmt_tensor *dq, vmt_tensor *dk,
                                        vmt_tensor *dv, const vmt_tensor *dout, const vmt_tensor *q,
                                        const vmt_tensor *k, const vmt_tensor *v,
                                        const vmt_tensor *o, const vmt_tensor *lse,
                                        const vmt_local_geometry *geometry, double scale)
{
    return vmt_local_backward(ctx, attend_local, dq, dk, dv, dout, q, k, v, o, lse, geometry,
                              scale);
}
