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

/* A tile's queries and its box of keys, each as tensors of their own. */
typedef struct tile_memory {
    vmt_tensor q, o, dout, dq; /* [queries, n, d] */
    vmt_tensor lse;            /* [n, queries] R */
    vmt_tensor k, v;           /* [keys, n, d] */
    vmt_tensor dk, dv;         /* the same, R */
    vmt_tensor dk_sum, dv_sum; /* [N, n, d] R, where the outputs are not */
} tile_memory;

/* sums: dk and dv are not of dtype R. */
static enum vmt_status lay_out(vmt_ctx *ctx, vmt_arena *arena, tile_memory *m,
                               const vmt_local_geometry *g, int64_t heads, int64_t d,
                               enum vmt_dtype dq, bool backward, bool sums)
{
    const int64_t queries[3] = {g->tile[0] * g->tile[1] * g->tile[2], heads, d};
    const int64_t keys[3] = {local_box_tokens(g), heads, d};
    const int64_t tokens[3] = {g->grid[0] * g->grid[1] * g->grid[2], heads, d};

    VMT_TRY(vmt_take(ctx, arena, &m->q, ctx->act, 3, queries));
    VMT_TRY(vmt_take(ctx, arena, &m->o, ctx->act, 3, queries));
    VMT_TRY(vmt_take(ctx, arena, &m->lse, ctx->real, VMT_SHAPE(heads, queries[0])));
    VMT_TRY(vmt_take(ctx, arena, &m->k, ctx->act, 3, keys));
    VMT_TRY(vmt_take(ctx, arena, &m->v, ctx->act, 3, keys));
    if (!backward)
        return VMT_OK;
    VMT_TRY(vmt_take(ctx, arena, &m->dout, ctx->act, 3, queries));
    VMT_TRY(vmt_take(ctx, arena, &m->dq, dq, 3, queries));
    VMT_TRY(vmt_take(ctx, arena, &m->dk, ctx->real, 3, keys));
    VMT_TRY(vmt_take(ctx, arena, &m->dv, ctx->real, 3, keys));
    if (!sums)
        return VMT_OK;
    VMT_TRY(vmt_take(ctx, arena, &m->dk_sum, ctx->real, 3, tokens));
    return vmt_take(ctx, arena, &m->dv_sum, ctx->real, 3, tokens);
}

size_t vmt_local_bytes(vmt_ctx *ctx, const vmt_local_geometry *geometry, int64_t heads, int64_t d,
                       bool backward)
{
    vmt_arena arena = vmt_arena_measure();
    tile_memory m = {0};

    /* cannot fail: nothing is taken */
    (void)!lay_out(ctx, &arena, &m, geometry, heads, d, ctx->act, backward, ctx->act != ctx->real);
    return arena.peak;
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

/* dq NULL: a forward. */
static enum vmt_status take_memory(vmt_ctx *ctx, tile_memory *m, const vmt_local_geometry *g,
                                   const vmt_tensor *q, const vmt_tensor *dq, bool sums)
{
    vmt_ref_scratch *const kept = &((vmt_host_state *)ctx->backend)->tiles;
    const int64_t heads = q->shape[1], d = q->shape[2];
    const enum vmt_dtype dtype = dq ? dq->dtype : ctx->act;
    vmt_arena arena = vmt_arena_measure();

    *m = (tile_memory){0};
    VMT_TRY(lay_out(ctx, &arena, m, g, heads, d, dtype, dq != NULL, sums));
    VMT_TRY(grow(ctx, kept, arena.peak));
    arena = (vmt_arena){.base = kept->memory, .capacity = kept->bytes};
    return lay_out(ctx, &arena, m, g, heads, d, dtype, dq != NULL, sums);
}

/* ---- between the grid and a tile */

/* The tokens of a tile, of which those at the far sides have fewer. */
static vmt_tensor span_of(const vmt_tensor *tile, const local_span *s)
{
    return vmt_slice(tile, 0, local_tokens(s));
}

static size_t run_bytes(const vmt_tensor *t, const local_span *s)
{
    return (size_t)(s->count[2] * t->shape[1] * t->shape[2]) * vmt_dtype_bytes(t->dtype);
}

static unsigned char *run_in_grid(const vmt_tensor *t, const vmt_local_geometry *g,
                                  const local_span *s, int64_t run)
{
    const int64_t token = local_run_token(g, s, run) * t->shape[1] * t->shape[2];
    return (unsigned char *)t->data + (size_t)token * vmt_dtype_bytes(t->dtype);
}

static vmt_tensor gather(vmt_ctx *ctx, vmt_tensor *tile, const vmt_tensor *x,
                         const vmt_local_geometry *g, const local_span *s)
{
    const size_t bytes = run_bytes(x, s);

    (void)ctx;
    LOCAL_PARALLEL_FOR(ctx)
    for (int64_t run = 0; run < s->count[0] * s->count[1]; run++)
        memcpy((unsigned char *)tile->data + (size_t)run * bytes, run_in_grid(x, g, s, run), bytes);
    return span_of(tile, s);
}

static void scatter(vmt_ctx *ctx, vmt_tensor *y, const vmt_tensor *tile,
                    const vmt_local_geometry *g, const local_span *s)
{
    const size_t bytes = run_bytes(y, s);

    (void)ctx;
    LOCAL_PARALLEL_FOR(ctx)
    for (int64_t run = 0; run < s->count[0] * s->count[1]; run++)
        memcpy(run_in_grid(y, g, s, run), (const unsigned char *)tile->data + (size_t)run * bytes,
               bytes);
}

/* y += tile, both R; a token comes once in a box, so that runs do not meet. */
static void scatter_add(vmt_ctx *ctx, vmt_tensor *y, const vmt_tensor *tile,
                        const vmt_local_geometry *g, const local_span *s)
{
    const int64_t count = s->count[2] * y->shape[1] * y->shape[2];

    (void)ctx;
    LOCAL_PARALLEL_FOR(ctx)
    for (int64_t run = 0; run < s->count[0] * s->count[1]; run++) {
        void *const to = run_in_grid(y, g, s, run);
        if (y->dtype == VMT_F64) {
            const double *from = (const double *)tile->data + run * count;
            for (int64_t i = 0; i < count; i++)
                ((double *)to)[i] += from[i];
        } else {
            const float *from = (const float *)tile->data + run * count;
            for (int64_t i = 0; i < count; i++)
                ((float *)to)[i] += from[i];
        }
    }
}

/* [n, N] to or from [n, queries] of a tile. */
static void move_lse(vmt_tensor *all, vmt_tensor *tile, const vmt_local_geometry *g,
                     const local_span *s, bool to_tile)
{
    const size_t item = vmt_dtype_bytes(all->dtype), bytes = (size_t)s->count[2] * item;
    unsigned char *part = tile->data;

    for (int64_t h = 0; h < all->shape[0]; h++)
        for (int64_t run = 0; run < s->count[0] * s->count[1]; run++, part += bytes) {
            const int64_t token = h * all->shape[1] + local_run_token(g, s, run);
            unsigned char *const row = (unsigned char *)all->data + (size_t)token * item;
            memcpy(to_tile ? part : row, to_tile ? row : part, bytes);
        }
}

static vmt_tensor lse_of(const tile_memory *m, const local_span *s)
{
    return vmt_tensor_over(m->lse.data, m->lse.dtype, VMT_SHAPE(m->lse.shape[0], local_tokens(s)));
}

/* ---- the ops */

enum vmt_status vmt_local_forward(vmt_ctx *ctx, vmt_op_attention *attention, vmt_tensor *o,
                                  vmt_tensor *lse, const vmt_tensor *q, const vmt_tensor *k,
                                  const vmt_tensor *v, const vmt_local_geometry *geometry,
                                  double scale)
{
    tile_memory m;

    VMT_TRY(take_memory(ctx, &m, geometry, q, NULL, false));
    for (int64_t t = 0; t < local_tile_count(geometry); t++) {
        local_span queries, keys;
        local_tile_at(geometry, t, &queries, &keys);
        const vmt_tensor tile_q = gather(ctx, &m.q, q, geometry, &queries);
        const vmt_tensor tile_k = gather(ctx, &m.k, k, geometry, &keys);
        const vmt_tensor tile_v = gather(ctx, &m.v, v, geometry, &keys);
        vmt_tensor tile_o = span_of(&m.o, &queries), tile_lse = lse_of(&m, &queries);
        VMT_TRY(attention(ctx, &tile_o, lse ? &tile_lse : NULL, &tile_q, &tile_k, &tile_v, NULL,
                          scale));
        scatter(ctx, o, &tile_o, geometry, &queries);
        if (lse)
            move_lse(lse, &tile_lse, geometry, &queries, false);
    }
    return VMT_OK;
}

enum vmt_status vmt_local_backward(vmt_ctx *ctx, vmt_op_attention_bwd *attention_bwd,
                                   vmt_tensor *dq, vmt_tensor *dk, vmt_tensor *dv,
                                   const vmt_tensor *dout, const vmt_tensor *q, const vmt_tensor *k,
                                   const vmt_tensor *v, const vmt_tensor *o, const vmt_tensor *lse,
                                   const vmt_local_geometry *geometry, double scale)
{
    const bool sums = dk->dtype != ctx->real || dv->dtype != ctx->real;
    vmt_tensor all_lse = *lse;
    tile_memory m;

    VMT_TRY(take_memory(ctx, &m, geometry, q, dq, sums));
    vmt_tensor *const dk_sum = sums ? &m.dk_sum : dk, *const dv_sum = sums ? &m.dv_sum : dv;
    VMT_TRY(ctx->ops->zero(ctx, dk_sum));
    VMT_TRY(ctx->ops->zero(ctx, dv_sum));
    for (int64_t t = 0; t < local_tile_count(geometry); t++) {
        local_span queries, keys;
        local_tile_at(geometry, t, &queries, &keys);
        const vmt_tensor tile_q = gather(ctx, &m.q, q, geometry, &queries);
        const vmt_tensor tile_o = gather(ctx, &m.o, o, geometry, &queries);
        const vmt_tensor tile_dout = gather(ctx, &m.dout, dout, geometry, &queries);
        const vmt_tensor tile_k = gather(ctx, &m.k, k, geometry, &keys);
        const vmt_tensor tile_v = gather(ctx, &m.v, v, geometry, &keys);
        vmt_tensor tile_lse = lse_of(&m, &queries), tile_dq = span_of(&m.dq, &queries);
        move_lse(&all_lse, &tile_lse, geometry, &queries, true);
        VMT_TRY(attention_bwd(ctx, &tile_dq, &m.dk, &m.dv, &tile_dout, &tile_q, &tile_k, &tile_v,
                              &tile_o, &tile_lse, scale));
        scatter(ctx, dq, &tile_dq, geometry, &queries);
        scatter_add(ctx, dk_sum, &m.dk, geometry, &keys);
        scatter_add(ctx, dv_sum, &m.dv, geometry, &keys);
    }
    if (!sums)
        return VMT_OK;
    VMT_TRY(ctx->ops->copy(ctx, dk, dk_sum));
    return ctx->ops->copy(ctx, dv, dv_sum);
}
