/* SPDX-License-Identifier: MIT
 *
 * Local attention: queries of each tile and keys of its box are gathered, tiles of one size run as
 * one batch of cuDNN, and what they give goes back; dk and dv of a token are summed over its boxes
 * in the order of the tiles.  Where cuDNN has no kernel each tile is an attention of its own.  Some
 * heads at a time, as many as the limits below allow.
 */
#include "backend/cuda/cuda_state.h"
#include "tensor/local_tiles.h"

#include <math.h>

/* Of gathered tokens. */
static const size_t MOST_TILE_BYTES = (size_t)1 << 30;

enum { LSE_STEP = 64 }; /* floats of 256 bytes */

typedef struct local {
    cuda_local_grid grid;
    cuda_local_classes all;
    cuda_local_heads h;
    int64_t tokens, box, tiles;
    int64_t tile_count[LOCAL_CLASSES];     /* tiles of a class */
    int64_t queries[LOCAL_CLASSES];        /* of each of them */
    int64_t queries_before[LOCAL_CLASSES]; /* of the classes before it */
    double scale;
    bool backward;
    size_t item;
} local;

/* Gathered: [queries or keys of all tiles, part, d] of A; lse: [tiles, part, queries]. */
typedef struct local_memory {
    unsigned char *q, *o, *dout, *dq, *k, *v, *dk, *dv;
    float *lse;
    size_t bytes;
} local_memory;

static void find_classes(local *l, const vmt_local_geometry *g)
{
    int64_t tile = 0, query = 0;

    for (int a = 0; a < 3; a++) {
        l->grid.grid[a] = (int)g->grid[a];
        l->grid.tile[a] = (int)g->tile[a];
        l->grid.box[a] = (int)g->box[a];
        l->all.whole[a] = (int)(g->grid[a] / g->tile[a]);
    }
    for (int i = 0; i < LOCAL_CLASSES; i++) {
        const local_class from = local_class_at(g, i);
        cuda_local_class *const to = &l->all.classes[i];
        for (int a = 0; a < 3; a++) {
            to->first[a] = (int)from.first[a];
            to->along[a] = (int)from.along[a];
            to->queries[a] = (int)from.queries[a];
        }
        to->tile = tile;
        l->tile_count[i] = from.tiles;
        l->queries[i] = from.size;
        l->queries_before[i] = query;
        tile += from.tiles;
        query += from.tiles * from.size;
    }
    l->tiles = tile;
    l->tokens = query;
    l->box = local_box_tokens(g);
}

/* Takes from memory of NULL when it only counts. */
static local_memory lay_out(const local *l, unsigned char *memory)
{
    const size_t row = (size_t)(l->h.part * l->h.d) * l->item;
    const size_t queries = cuda_padded((size_t)l->tokens * row);
    const size_t keys = cuda_padded((size_t)(l->tiles * l->box) * row);
    local_memory m = {0};
    unsigned char **const by_query[] = {&m.q, &m.o, &m.dout, &m.dq};
    unsigned char **const by_key[] = {&m.k, &m.v, &m.dk, &m.dv};
    const int count = l->backward ? 4 : 2;

    for (int i = 0; i < count; i++, m.bytes += queries)
        *by_query[i] = memory ? memory + m.bytes : NULL;
    for (int i = 0; i < count; i++, m.bytes += keys)
        *by_key[i] = memory ? memory + m.bytes : NULL;
    m.lse = memory ? (float *)(void *)(memory + m.bytes) : NULL;
    m.bytes +=
        cuda_padded((size_t)(l->tokens * l->h.part + LOCAL_CLASSES * LSE_STEP) * sizeof(float));
    return m;
}

/* dS of a class's tiles in one head, as cuDNN's backward in a fixed order keeps it. */
static size_t pair_bytes(const local *l, int64_t tiles, int i)
{
    return (size_t)(tiles * l->queries[i] * l->box) * 2;
}

static local local_of(vmt_ctx *ctx, const vmt_local_geometry *g, int64_t heads, int64_t d,
                      double scale, bool backward)
{
    local l = {.h = {.heads = heads, .d = d, .part = heads},
               .scale = scale,
               .backward = backward,
               .item = vmt_dtype_bytes(ctx->act)};
    size_t pairs = 0;

    find_classes(&l, g);
    for (int i = 0; i < LOCAL_CLASSES && backward && !ctx->nondeterministic; i++)
        if (pair_bytes(&l, l.tile_count[i], i) > pairs)
            pairs = pair_bytes(&l, l.tile_count[i], i);
    while (l.h.part > 1 && (heads % l.h.part || lay_out(&l, NULL).bytes > MOST_TILE_BYTES ||
                            pairs * (size_t)l.h.part > cuda_attention_most_pair_bytes()))
        l.h.part--;
    return l;
}

/* A class's tiles as batches: all at once, or as many as the pairs allow. */
static cuda_attention_batch batch_of(const vmt_ctx *ctx, const local *l, int i, bool has_lse)
{
    cuda_attention_batch b = {.count = l->tile_count[i],
                              .nq = l->queries[i],
                              .nk = l->box,
                              .heads = l->h.part,
                              .d = l->h.d,
                              .scale = l->scale,
                              .backward = l->backward,
                              .has_lse = has_lse};

    while (b.count > 1 && l->backward && !ctx->nondeterministic &&
           (l->tile_count[i] % b.count ||
            pair_bytes(l, b.count, i) * (size_t)l->h.part > cuda_attention_most_pair_bytes()))
        b.count--;
    return b;
}

size_t cuda_attention_local_bytes(vmt_ctx *ctx, const vmt_local_geometry *geometry, int64_t heads,
                                  int64_t d, bool backward, size_t *scratch)
{
    size_t tiles = 0;

    *scratch = 0;
    for (int back = 0; back <= (int)backward; back++) {
        const local l = local_of(ctx, geometry, heads, d, 1 / sqrt((double)d), back);
        const size_t bytes = lay_out(&l, NULL).bytes;
        tiles = bytes > tiles ? bytes : tiles;
        for (int i = 0; i < LOCAL_CLASSES; i++) {
            const cuda_attention_batch b = batch_of(ctx, &l, i, true);
            size_t own = 0;
            if (l.tile_count[i] && !cuda_attention_batch_find(ctx, &b, &own))
                own = cuda_attention_bytes(ctx, l.queries[i], l.box, l.h.part, d, back);
            *scratch = own > *scratch ? own : *scratch;
        }
    }
    return tiles;
}

/* ---- moving */

/* Where a class's tokens begin in gathered memory. */
static unsigned char *part_of(const local *l, unsigned char *memory, int i, bool keys)
{
    const int64_t before = keys ? l->all.classes[i].tile * l->box : l->queries_before[i];
    return memory + (size_t)(before * l->h.part * l->h.d) * l->item;
}

/* Each class at a boundary of 256 bytes. */
static float *lse_of(const local *l, const local_memory *m, int i)
{
    const int64_t before = l->queries_before[i] * l->h.part;
    return m->lse + (before + LSE_STEP - 1) / LSE_STEP * LSE_STEP + (int64_t)i * LSE_STEP;
}

static enum vmt_status move(vmt_ctx *ctx, const local *l, unsigned char *memory,
                            const vmt_tensor *t, bool to_tile, bool keys)
{
    for (int i = 0; i < LOCAL_CLASSES; i++)
        if (l->tile_count[i])
            VMT_TRY(cuda_check(ctx, "attention_local",
                               cuda_local_move(cuda_of(ctx)->stream,
                                               (cuda_view){part_of(l, memory, i, keys), ctx->act},
                                               cuda_view_of(t), to_tile, keys, l->grid,
                                               l->all.classes[i], l->h)));
    return VMT_OK;
}

static enum vmt_status move_lse(vmt_ctx *ctx, const local *l, const local_memory *m,
                                const vmt_tensor *lse, bool to_tile)
{
    for (int i = 0; i < LOCAL_CLASSES; i++)
        if (l->tile_count[i])
            VMT_TRY(cuda_check(ctx, "attention_local",
                               cuda_local_lse(cuda_of(ctx)->stream, lse_of(l, m, i), lse->data,
                                              to_tile, l->grid, l->all.classes[i], l->h)));
    return VMT_OK;
}

/* ---- one class of tiles */

/* Tiles first.. of a class. */
static void pointers_at(const local *l, const local_memory *m, int i, int64_t first,
                        void *data[CUDA_CUDNN_POINTERS])
{
    const size_t row = (size_t)(l->h.part * l->h.d) * l->item;
    const size_t query = (size_t)(first * l->queries[i]) * row;
    const size_t key = (size_t)(first * l->box) * row;

    data[CUDA_CUDNN_Q] = part_of(l, m->q, i, false) + query;
    data[CUDA_CUDNN_O] = part_of(l, m->o, i, false) + query;
    data[CUDA_CUDNN_K] = part_of(l, m->k, i, true) + key;
    data[CUDA_CUDNN_V] = part_of(l, m->v, i, true) + key;
    data[CUDA_CUDNN_LSE] = lse_of(l, m, i) + first * l->queries[i] * l->h.part;
    if (!l->backward)
        return;
    data[CUDA_CUDNN_DO] = part_of(l, m->dout, i, false) + query;
    data[CUDA_CUDNN_DQ] = part_of(l, m->dq, i, false) + query;
    data[CUDA_CUDNN_DK] = part_of(l, m->dk, i, true) + key;
    data[CUDA_CUDNN_DV] = part_of(l, m->dv, i, true) + key;
}

/* One tile as an attention of its own. */
static enum vmt_status run_tile(vmt_ctx *ctx, const local *l, int i, bool has_lse,
                                void *const data[CUDA_CUDNN_POINTERS])
{
    const int64_t query[3] = {l->queries[i], l->h.part, l->h.d};
    const int64_t key[3] = {l->box, l->h.part, l->h.d};
    vmt_tensor t[CUDA_CUDNN_POINTERS];

    for (int p = CUDA_CUDNN_Q; p <= CUDA_CUDNN_DV; p++) {
        const bool keys =
            p == CUDA_CUDNN_K || p == CUDA_CUDNN_V || p == CUDA_CUDNN_DK || p == CUDA_CUDNN_DV;
        t[p] = vmt_tensor_over(data[p], ctx->act, 3, keys ? key : query);
    }
    t[CUDA_CUDNN_LSE] =
        vmt_tensor_over(data[CUDA_CUDNN_LSE], VMT_F32, VMT_SHAPE(l->h.part, l->queries[i]));
    if (!l->backward)
        return cuda_attention(ctx, &t[CUDA_CUDNN_O], has_lse ? &t[CUDA_CUDNN_LSE] : NULL,
                              &t[CUDA_CUDNN_Q], &t[CUDA_CUDNN_K], &t[CUDA_CUDNN_V], NULL, l->scale);
    return cuda_attention_bwd(ctx, &t[CUDA_CUDNN_DQ], &t[CUDA_CUDNN_DK], &t[CUDA_CUDNN_DV],
                              &t[CUDA_CUDNN_DO], &t[CUDA_CUDNN_Q], &t[CUDA_CUDNN_K],
                              &t[CUDA_CUDNN_V], &t[CUDA_CUDNN_O], &t[CUDA_CUDNN_LSE], l->scale);
}

static enum vmt_status run_class(vmt_ctx *ctx, const local *l, const local_memory *m, int i,
                                 bool has_lse)
{
    const cuda_attention_batch b = batch_of(ctx, l, i, has_lse);
    size_t workspace;
    const bool batched = cuda_attention_batch_find(ctx, &b, &workspace);

    for (int64_t first = 0; first < l->tile_count[i]; first += batched ? b.count : 1) {
        void *data[CUDA_CUDNN_POINTERS] = {0};
        pointers_at(l, m, i, first, data);
        VMT_TRY(batched ? cuda_attention_batch_run(ctx, &b, data)
                        : run_tile(ctx, l, i, has_lse, data));
    }
    return VMT_OK;
}

static enum vmt_status run_classes(vmt_ctx *ctx, const local *l, const local_memory *m,
                                   bool has_lse)
{
    for (int i = 0; i < LOCAL_CLASSES; i++)
        if (l->tile_count[i])
            VMT_TRY(run_class(ctx, l, m, i, has_lse));
    return VMT_OK;
}

static enum vmt_status take_memory(vmt_ctx *ctx, const local *l, local_memory *m)
{
    void *memory = NULL;

    VMT_TRY(cuda_tiles(ctx, &memory, lay_out(l, NULL).bytes));
    *m = lay_out(l, memory);
    return VMT_OK;
}

/* ---- the ops */

enum vmt_status cuda_attention_local(vmt_ctx *ctx, vmt_tensor *o, vmt_tensor *lse,
                                     const vmt_tensor *q, const vmt_tensor *k, const vmt_tensor *v,
                                     const vmt_local_geometry *geometry, double scale)
{
    local l = local_of(ctx, geometry, q->shape[1], q->shape[2], scale, false);
    local_memory m;

    VMT_TRY(take_memory(ctx, &l, &m));
    for (; l.h.first < l.h.heads; l.h.first += l.h.part) {
        VMT_TRY(move(ctx, &l, m.q, q, true, false));
        VMT_TRY(move(ctx, &l, m.k, k, true, true));
        VMT_TRY(move(ctx, &l, m.v, v, true, true));
        VMT_TRY(run_classes(ctx, &l, &m, lse != NULL));
        VMT_TRY(move(ctx, &l, m.o, o, false, false));
        if (lse)
            VMT_TRY(move_lse(ctx, &l, &m, lse, false));
    }
    return VMT_OK;
}

static enum vmt_status sum(vmt_ctx *ctx, const local *l, vmt_tensor *y, unsigned char *boxes)
{
    return cuda_check(ctx, "attention_local_bwd",
                      cuda_local_sum(cuda_of(ctx)->stream, cuda_view_of(y),
                                     (cuda_view){boxes, ctx->act}, l->grid, l->all, l->h));
}

enum vmt_status cuda_attention_local_bwd(vmt_ctx *ctx, vmt_tensor *dq, vmt_tensor *dk,
                                         vmt_tensor *dv, const vmt_tensor *dout,
                                         const vmt_tensor *q, const vmt_tensor *k,
                                         const vmt_tensor *v, const vmt_tensor *o,
                                         const vmt_tensor *lse, const vmt_local_geometry *geometry,
                                         double scale)
{
    local l = local_of(ctx, geometry, q->shape[1], q->shape[2], scale, true);
    local_memory m;

    VMT_TRY(take_memory(ctx, &l, &m));
    for (; l.h.first < l.h.heads; l.h.first += l.h.part) {
        VMT_TRY(move(ctx, &l, m.q, q, true, false));
        VMT_TRY(move(ctx, &l, m.o, o, true, false));
        VMT_TRY(move(ctx, &l, m.dout, dout, true, false));
        VMT_TRY(move(ctx, &l, m.k, k, true, true));
        VMT_TRY(move(ctx, &l, m.v, v, true, true));
        VMT_TRY(move_lse(ctx, &l, &m, lse, true));
        VMT_TRY(run_classes(ctx, &l, &m, true));
        VMT_TRY(move(ctx, &l, m.dq, dq, false, false));
        VMT_TRY(sum(ctx, &l, dk, m.dk));
        VMT_TRY(sum(ctx, &l, dv, m.dv));
    }
    return VMT_OK;
}
