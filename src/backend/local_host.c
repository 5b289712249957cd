/* SPDX-License-Identifier: MIT */
#include "backend/local_host.h"

#include "backend/backend.h"
#include "tensor/local_tiles.h"

#include <string.h>

#ifdef _OPENMP
#define LOCAL_PRAGMA(text) _Pragma(#text)
#define LOCAL_PARALLEL_FOR(ctx)                                                                    \
    LOCAL_PRAGMA(omp parallel for num_threads((ctx)->threads) schedule(static))
#else
#define LOCAL_PARALLEL_FOR(ctx)
#endif

/* Tiles of a class are gathered as long as they take no more than this, so that small ones keep all
 * threads busy together; more would not stay in a cache. */
static const size_t GATHERED_BYTES = (size_t)16 << 20;

/* What one call works on: some tiles of a class. */
typedef struct local {
    vmt_ctx *ctx;
    const vmt_local_geometry *g;
    int64_t heads, d, at_once; /* tiles */
    enum vmt_dtype dq;
    bool backward, sums; /* sums: dk and dv are not of dtype R */
    vmt_tensor q, o, dout, dv_sum, dk_sum, dq_tiles, k, v, dk, dv, lse;
    local_class class;
    int64_t first, count; /* tiles at hand */
} local;

static enum vmt_status lay_out(local *l, vmt_arena *arena, int64_t tiles)
{
    vmt_ctx *ctx = l->ctx;
    const vmt_local_geometry *g = l->g;
    const int64_t heads = l->heads, d = l->d;
    const int64_t queries[3] = {tiles * g->tile[0] * g->tile[1] * g->tile[2], heads, d};
    const int64_t keys[3] = {tiles * local_box_tokens(g), heads, d};
    const int64_t tokens[3] = {g->grid[0] * g->grid[1] * g->grid[2], heads, d};

    VMT_TRY(vmt_take(ctx, arena, &l->q, ctx->act, 3, queries));
    VMT_TRY(vmt_take(ctx, arena, &l->o, ctx->act, 3, queries));
    VMT_TRY(vmt_take(ctx, arena, &l->lse, ctx->real, VMT_SHAPE(heads, queries[0])));
    VMT_TRY(vmt_take(ctx, arena, &l->k, ctx->act, 3, keys));
    VMT_TRY(vmt_take(ctx, arena, &l->v, ctx->act, 3, keys));
    if (!l->backward)
        return VMT_OK;
    VMT_TRY(vmt_take(ctx, arena, &l->dout, ctx->act, 3, queries));
    VMT_TRY(vmt_take(ctx, arena, &l->dq_tiles, l->dq, 3, queries));
    VMT_TRY(vmt_take(ctx, arena, &l->dk, ctx->real, 3, keys));
    VMT_TRY(vmt_take(ctx, arena, &l->dv, ctx->real, 3, keys));
    if (!l->sums)
        return VMT_OK;
    VMT_TRY(vmt_take(ctx, arena, &l->dk_sum, ctx->real, 3, tokens));
    return vmt_take(ctx, arena, &l->dv_sum, ctx->real, 3, tokens);
}

/* Chooses l->at_once; returns the bytes of everything. */
static enum vmt_status count_bytes(local *l, size_t *bytes)
{
    const bool sums = l->sums;
    int64_t most = 1;
    vmt_arena one = vmt_arena_measure(), all = vmt_arena_measure();

    for (int i = 0; i < LOCAL_CLASSES; i++) {
        const int64_t tiles = local_class_at(l->g, i).tiles;
        most = tiles > most ? tiles : most;
    }
    l->sums = false;
    VMT_TRY(lay_out(l, &one, 1));
    l->sums = sums;
    l->at_once = (int64_t)(GATHERED_BYTES / one.peak);
    l->at_once = l->at_once < 1 ? 1 : l->at_once < most ? l->at_once : most;
    VMT_TRY(lay_out(l, &all, l->at_once));
    *bytes = all.peak;
    return VMT_OK;
}

size_t vmt_local_bytes(vmt_ctx *ctx, const vmt_local_geometry *geometry, int64_t heads, int64_t d,
                       bool backward, size_t *scratch)
{
    local l = {.ctx = ctx,
               .g = geometry,
               .heads = heads,
               .d = d,
               .dq = ctx->act,
               .backward = backward,
               .sums = ctx->act != ctx->real};
    size_t bytes = 0;

    *scratch = 0;
    return count_bytes(&l, &bytes) == VMT_OK ? bytes : SIZE_MAX;
}

/* The backend's memory for tiles; content undefined. */
static enum vmt_status grow(vmt_ctx *ctx, vmt_ref_scratch *kept, size_t bytes)
{
    if (bytes <= kept->bytes && kept->memory) {
        vmt_arena_forget(kept->memory, kept->bytes); /* of the call before */
        return VMT_OK;
    }
    ctx->ops->release(ctx, kept->memory);
    kept->bytes = 0;
    kept->memory = ctx->ops->alloc(ctx, bytes);
    if (!kept->memory)
        return vmt_fail(ctx, VMT_E_MEMORY, "backend %s: out of memory: %zu bytes for tiles",
                        ctx->ops->name, bytes);
    kept->bytes = bytes;
    return VMT_OK;
}

static enum vmt_status take_memory(local *l)
{
    vmt_ref_scratch *const kept = &((vmt_host_state *)l->ctx->backend)->tiles;
    size_t bytes;

    VMT_TRY(count_bytes(l, &bytes));
    VMT_TRY(grow(l->ctx, kept, bytes));
    vmt_arena arena = {.base = kept->memory, .capacity = kept->bytes};
    return lay_out(l, &arena, l->at_once);
}

/* ---- between the grid and the tiles at hand */

static void spans_of(const local *l, int64_t tile, local_span *queries, local_span *keys)
{
    local_tile_at(l->g, &l->class, l->first + tile, queries, keys);
}

static unsigned char *run_in_grid(const local *l, const vmt_tensor *t, const local_span *s,
                                  int64_t run)
{
    const int64_t token = local_run_token(l->g, s, run) * l->heads * l->d;
    return (unsigned char *)t->data + (size_t)token * vmt_dtype_bytes(t->dtype);
}

/* Runs of all tiles, numbered on: copied one way or the other. */
static void move(const local *l, vmt_tensor *tiles, const vmt_tensor *grid, bool keys, bool to_tile)
{
    local_span spans[2];

    spans_of(l, 0, &spans[0], &spans[1]);
    const int64_t runs = local_runs(&spans[keys]);
    const size_t bytes =
        (size_t)(spans[keys].count[2] * l->heads * l->d) * vmt_dtype_bytes(grid->dtype);
    LOCAL_PARALLEL_FOR(l->ctx)
    for (int64_t i = 0; i < l->count * runs; i++) {
        local_span own[2];
        spans_of(l, i / runs, &own[0], &own[1]);
        unsigned char *const in_tile = (unsigned char *)tiles->data + (size_t)i * bytes;
        unsigned char *const in_grid = run_in_grid(l, grid, &own[keys], i % runs);
        memcpy(to_tile ? in_tile : in_grid, to_tile ? in_grid : in_tile, bytes);
    }
}

static vmt_tensor gather(const local *l, vmt_tensor *tiles, const vmt_tensor *x, bool keys)
{
    move(l, tiles, x, keys, true);
    return vmt_slice(tiles, 0, l->count * (keys ? local_box_tokens(l->g) : l->class.size));
}

static vmt_tensor queries_of(const local *l, const vmt_tensor *tiles)
{
    return vmt_slice(tiles, 0, l->count * l->class.size);
}

/* y += what the boxes hold, both R: each row of a frame takes its runs of all tiles, in order. */
static void add_boxes(const local *l, vmt_tensor *y, const vmt_tensor *boxes)
{
    const vmt_local_geometry *g = l->g;
    const int64_t count = g->box[2] * l->heads * l->d;

    LOCAL_PARALLEL_FOR(l->ctx)
    for (int64_t line = 0; line < g->grid[0] * g->grid[1]; line++)
        for (int64_t t = 0; t < l->count; t++) {
            local_span queries, keys;
            spans_of(l, t, &queries, &keys);
            const int64_t frame = line / g->grid[1] - keys.first[0];
            const int64_t row = line % g->grid[1] - keys.first[1];
            if (frame < 0 || frame >= g->box[0] || row < 0 || row >= g->box[1])
                continue;
            const int64_t run = frame * g->box[1] + row;
            const int64_t from = (t * local_runs(&keys) + run) * count;
            void *const to = run_in_grid(l, y, &keys, run);
            if (y->dtype == VMT_F64)
                for (int64_t i = 0; i < count; i++)
                    ((double *)to)[i] += ((const double *)boxes->data)[from + i];
            else
                for (int64_t i = 0; i < count; i++)
                    ((float *)to)[i] += ((const float *)boxes->data)[from + i];
        }
}

/* [n, N] to or from [tiles · n, queries]. */
static vmt_tensor move_lse(const local *l, const vmt_tensor *all, bool to_tile)
{
    const size_t item = vmt_dtype_bytes(all->dtype);
    const size_t bytes = (size_t)l->class.queries[2] * item;

    LOCAL_PARALLEL_FOR(l->ctx)
    for (int64_t i = 0; i < l->count * l->heads; i++) {
        unsigned char *part = (unsigned char *)l->lse.data + (size_t)(i * l->class.size) * item;
        local_span s, keys;
        spans_of(l, i / l->heads, &s, &keys);
        for (int64_t run = 0; run < local_runs(&s); run++, part += bytes) {
            const int64_t token = i % l->heads * all->shape[1] + local_run_token(l->g, &s, run);
            unsigned char *const row = (unsigned char *)all->data + (size_t)token * item;
            memcpy(to_tile ? part : row, to_tile ? row : part, bytes);
        }
    }
    return vmt_tensor_over(l->lse.data, all->dtype, VMT_SHAPE(l->count * l->heads, l->class.size));
}

/* ---- the ops */

/* The next tiles; false when there are none left.  Begin with class -1. */
static bool next_tiles(local *l, int *class)
{
    l->first += l->count;
    while (*class < 0 || l->first >= l->class.tiles) {
        if (++*class == LOCAL_CLASSES)
            return false;
        l->class = local_class_at(l->g, *class);
        l->first = 0;
    }
    l->count = l->class.tiles - l->first < l->at_once ? l->class.tiles - l->first : l->at_once;
    return true;
}

static enum vmt_status forward_tiles(local *l, vmt_sequences_attention *attention, vmt_tensor *o,
                                     vmt_tensor *lse, const vmt_tensor *q, const vmt_tensor *k,
                                     const vmt_tensor *v, double scale)
{
    const vmt_tensor tile_q = gather(l, &l->q, q, false);
    const vmt_tensor tile_k = gather(l, &l->k, k, true), tile_v = gather(l, &l->v, v, true);
    vmt_tensor tile_o = queries_of(l, &l->o);
    vmt_tensor tile_lse =
        vmt_tensor_over(l->lse.data, l->lse.dtype, VMT_SHAPE(l->count * l->heads, l->class.size));

    VMT_TRY(attention(l->ctx, l->count, &tile_o, lse ? &tile_lse : NULL, &tile_q, &tile_k, &tile_v,
                      scale));
    move(l, &l->o, o, false, false);
    if (lse)
        (void)move_lse(l, lse, false);
    return VMT_OK;
}

enum vmt_status vmt_local_forward(vmt_ctx *ctx, vmt_sequences_attention *attention, vmt_tensor *o,
                                  vmt_tensor *lse, const vmt_tensor *q, const vmt_tensor *k,
                                  const vmt_tensor *v, const vmt_local_geometry *geometry,
                                  double scale)
{
    local l = {.ctx = ctx, .g = geometry, .heads = q->shape[1], .d = q->shape[2]};
    int class = -1;

    VMT_TRY(take_memory(&l));
    while (next_tiles(&l, &class))
        VMT_TRY(forward_tiles(&l, attention, o, lse, q, k, v, scale));
    return VMT_OK;
}

enum vmt_status vmt_local_backward(vmt_ctx *ctx, vmt_sequences_attention_bwd *attention_bwd,
                                   vmt_tensor *dq, vmt_tensor *dk, vmt_tensor *dv,
                                   const vmt_tensor *dout, const vmt_tensor *q, const vmt_tensor *k,
                                   const vmt_tensor *v, const vmt_tensor *o, const vmt_tensor *lse,
                                   const vmt_local_geometry *geometry, double scale)
{
    local l = {.ctx = ctx,
               .g = geometry,
               .heads = q->shape[1],
               .d = q->shape[2],
               .dq = dq->dtype,
               .backward = true,
               .sums = dk->dtype != ctx->real || dv->dtype != ctx->real};
    int class = -1;

    VMT_TRY(take_memory(&l));
    vmt_tensor *const dk_sum = l.sums ? &l.dk_sum : dk, *const dv_sum = l.sums ? &l.dv_sum : dv;
    VMT_TRY(ctx->ops->zero(ctx, dk_sum));
    VMT_TRY(ctx->ops->zero(ctx, dv_sum));
    while (next_tiles(&l, &class)) {
        const vmt_tensor tile_q = gather(&l, &l.q, q, false), tile_o = gather(&l, &l.o, o, false);
        const vmt_tensor tile_dout = gather(&l, &l.dout, dout, false);
        const vmt_tensor tile_k = gather(&l, &l.k, k, true), tile_v = gather(&l, &l.v, v, true);
        const vmt_tensor tile_lse = move_lse(&l, lse, true);
        const int64_t keys = l.count * local_box_tokens(geometry);
        vmt_tensor tile_dq = queries_of(&l, &l.dq_tiles);
        vmt_tensor tile_dk = vmt_slice(&l.dk, 0, keys), tile_dv = vmt_slice(&l.dv, 0, keys);
        VMT_TRY(attention_bwd(ctx, l.count, &tile_dq, &tile_dk, &tile_dv, &tile_dout, &tile_q,
                              &tile_k, &tile_v, &tile_o, &tile_lse, scale));
        move(&l, &l.dq_tiles, dq, false, false);
        add_boxes(&l, dk_sum, &l.dk);
        add_boxes(&l, dv_sum, &l.dv);
    }
    if (!l.sums)
        return VMT_OK;
    VMT_TRY(ctx->ops->copy(ctx, dk, dk_sum));
    return ctx->ops->copy(ctx, dv, dv_sum);
}

/* ---- sequence by sequence */

static vmt_tensor sequence_of(const vmt_tensor *t, int64_t sequences, int64_t i)
{
    const int64_t rows = t->shape[0] / sequences;
    return vmt_slice(t, i * rows, rows);
}

enum vmt_status vmt_each_sequence(vmt_ctx *ctx, vmt_op_attention *attention, int64_t sequences,
                                  vmt_tensor *o, vmt_tensor *lse, const vmt_tensor *q,
                                  const vmt_tensor *k, const vmt_tensor *v, double scale)
{
    for (int64_t i = 0; i < sequences; i++) {
        const vmt_tensor own_q = sequence_of(q, sequences, i), own_k = sequence_of(k, sequences, i),
                         own_v = sequence_of(v, sequences, i);
        vmt_tensor own_o = sequence_of(o, sequences, i), own_lse = {0};
        if (lse)
            own_lse = sequence_of(lse, sequences, i);
        VMT_TRY(attention(ctx, &own_o, lse ? &own_lse : NULL, &own_q, &own_k, &own_v, NULL, scale));
    }
    return VMT_OK;
}

enum vmt_status vmt_each_sequence_bwd(vmt_ctx *ctx, vmt_op_attention_bwd *attention_bwd,
                                      int64_t sequences, vmt_tensor *dq, vmt_tensor *dk,
                                      vmt_tensor *dv, const vmt_tensor *dout, const vmt_tensor *q,
                                      const vmt_tensor *k, const vmt_tensor *v, const vmt_tensor *o,
                                      const vmt_tensor *lse, double scale)
{
    for (int64_t i = 0; i < sequences; i++) {
        const vmt_tensor own_q = sequence_of(q, sequences, i), own_k = sequence_of(k, sequences, i),
                         own_v = sequence_of(v, sequences, i), own_o = sequence_of(o, sequences, i),
                         own_dout = sequence_of(dout, sequences, i),
                         own_lse = sequence_of(lse, sequences, i);
        vmt_tensor own_dq = sequence_of(dq, sequences, i), own_dk = sequence_of(dk, sequences, i),
                   own_dv = sequence_of(dv, sequences, i);
        VMT_TRY(attention_bwd(ctx, &own_dq, &own_dk, &own_dv, &own_dout, &own_q, &own_k, &own_v,
                              &own_o, &own_lse, scale));
    }
    return VMT_OK;
}
