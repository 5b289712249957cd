/* SPDX-License-Identifier: MIT
 *
 *   x = embedding[ids];  per layer:  x += Wo attention(q, k, v + bias)      q, k, v from rms(x) ·
 * norm1 x += W2 (W1 y ⊙ gelu(Wg y))           y = rms(x) · norm2 rows = rms(x) · norm No 1/√d in
 * the attention, no biases in the linears; each layer has its own relative position bias.
 */
#include "text/umt5.h"

#include <inttypes.h>
#include <math.h>

typedef struct umt5_layer {
    vmt_tensor norm1, norm2;   /* [D] R */
    vmt_weight q, k, v, o;     /* [attn, D], [D, attn] */
    vmt_weight gate, fc1, fc2; /* [ffn, D], [ffn, D], [D, ffn] */
    vmt_tensor position_bias;  /* [buckets, heads], as mapped */
} umt5_layer;

enum { LAYER_MATRICES = 7, LAYER_VECTORS = 2 };

struct vmt_umt5 {
    vmt_text_config config;
    vmt_weight embedding; /* [vocab, D] */
    umt5_layer *layers;
    vmt_tensor norm;   /* [D] R */
    vmt_arena vectors; /* memory of the R vectors */
};

/* ---- weights */

static void layer_matrices(umt5_layer *l, vmt_weight *matrices[LAYER_MATRICES])
{
    vmt_weight *const list[LAYER_MATRICES] = {&l->q,    &l->k,   &l->v,  &l->o,
                                              &l->gate, &l->fc1, &l->fc2};

    for (int i = 0; i < LAYER_MATRICES; i++)
        matrices[i] = list[i];
}

static enum vmt_status need_layer(vmt_ctx *ctx, vmt_needs *needs, const vmt_text_config *c,
                                  umt5_layer *l, int64_t i)
{
    static const char *const names[LAYER_MATRICES] = {"attn.q",     "attn.k",  "attn.v", "attn.o",
                                                      "ffn.gate.0", "ffn.fc1", "ffn.fc2"};
    const int64_t shapes[LAYER_MATRICES][2] = {
        {c->dim_attn, c->dim}, {c->dim_attn, c->dim}, {c->dim_attn, c->dim}, {c->dim, c->dim_attn},
        {c->dim_ffn, c->dim},  {c->dim_ffn, c->dim},  {c->dim, c->dim_ffn}};
    vmt_weight *matrices[LAYER_MATRICES];

    layer_matrices(l, matrices);
    for (int j = 0; j < LAYER_MATRICES; j++)
        VMT_TRY(vmt_needs_add(ctx, needs, &matrices[j]->w, 2, shapes[j],
                              "blocks.%" PRId64 ".%s.weight", i, names[j]));
    VMT_TRY(vmt_needs_add(ctx, needs, &l->norm1, VMT_SHAPE(c->dim),
                          "blocks.%" PRId64 ".norm1.weight", i));
    VMT_TRY(vmt_needs_add(ctx, needs, &l->norm2, VMT_SHAPE(c->dim),
                          "blocks.%" PRId64 ".norm2.weight", i));
    return vmt_needs_add(ctx, needs, &l->position_bias, VMT_SHAPE(c->buckets, c->heads),
                         "blocks.%" PRId64 ".pos_embedding.embedding.weight", i);
}

/* Vector i of all: two a layer, then the last norm. */
static vmt_tensor *vector_at(vmt_umt5 *umt5, int64_t i)
{
    if (i == LAYER_VECTORS * umt5->config.layers)
        return &umt5->norm;
    umt5_layer *l = &umt5->layers[i / LAYER_VECTORS];
    return i % LAYER_VECTORS ? &l->norm2 : &l->norm1;
}

static enum vmt_status take_vectors(vmt_ctx *ctx, vmt_umt5 *umt5, vmt_arena *arena)
{
    for (int64_t i = 0; i <= LAYER_VECTORS * umt5->config.layers; i++) {
        vmt_tensor *vector = vector_at(umt5, i), own;
        VMT_TRY(vmt_take(ctx, arena, &own, ctx->real, vector->rank, vector->shape));
        if (vmt_arena_measures(arena))
            continue;
        VMT_TRY(vmt_upload(ctx, &own, vector));
        *vector = own;
    }
    return VMT_OK;
}

static enum vmt_status bind(vmt_ctx *ctx, vmt_umt5 *umt5, const vmt_tensor_file *file,
                            vmt_needs *needs)
{
    const vmt_text_config *c = &umt5->config;
    vmt_arena measure = vmt_arena_measure();

    VMT_TRY(vmt_alloc(ctx, (void **)&umt5->layers, (size_t)c->layers, sizeof *umt5->layers));
    VMT_TRY(vmt_needs_add(ctx, needs, &umt5->embedding.w, VMT_SHAPE(c->vocab, c->dim),
                          "token_embedding.weight"));
    for (int64_t i = 0; i < c->layers; i++)
        VMT_TRY(need_layer(ctx, needs, c, &umt5->layers[i], i));
    VMT_TRY(vmt_needs_add(ctx, needs, &umt5->norm, VMT_SHAPE(c->dim), "norm.weight"));
    VMT_TRY(vmt_needs_bind(ctx, needs, file, "text encoder"));
    VMT_TRY(take_vectors(ctx, umt5, &measure));
    VMT_TRY(vmt_arena_open(ctx, &umt5->vectors, measure.peak));
    return take_vectors(ctx, umt5, &umt5->vectors);
}

enum vmt_status vmt_umt5_open(vmt_ctx *ctx, vmt_umt5 **result, const vmt_tensor_file *file,
                              const vmt_text_config *config)
{
    vmt_needs needs = {0};
    vmt_umt5 *umt5;

    *result = NULL;
    VMT_TRY(vmt_alloc(ctx, (void **)&umt5, 1, sizeof *umt5));
    umt5->config = *config;
    const enum vmt_status status = bind(ctx, umt5, file, &needs);
    vmt_needs_free(&needs);
    if (status != VMT_OK) {
        vmt_umt5_close(ctx, umt5);
        return status;
    }
    *result = umt5;
    return VMT_OK;
}

void vmt_umt5_close(vmt_ctx *ctx, vmt_umt5 *umt5)
{
    if (!umt5)
        return;
    vmt_arena_close(ctx, &umt5->vectors);
    vmt_free(umt5->layers);
    vmt_free(umt5);
}

/* ---- position bias */

int64_t vmt_umt5_bucket(const vmt_text_config *c, int64_t distance)
{
    const int64_t half = c->buckets / 2, exact = half / 2;
    const int64_t base = distance > 0 ? half : 0, a = distance < 0 ? -distance : distance;

    if (a < exact)
        return base + a;
    const float scale = (float)log((double)c->max_distance / (double)exact);
    const int64_t far =
        exact + (int64_t)(logf((float)a / (float)exact) / scale * (float)(half - exact));
    return base + (far < half - 1 ? far : half - 1);
}

/* bias[h, d + count - 1] = table[bucket(d), h] for d = key - query; host, double. */
static enum vmt_status upload_bias(vmt_ctx *ctx, const vmt_umt5 *umt5, const umt5_layer *l,
                                   vmt_tensor *bias, double *table, double *values, int64_t count)
{
    const vmt_text_config *c = &umt5->config;
    const int64_t width = 2 * count - 1;
    vmt_tensor host_table = vmt_tensor_over(table, VMT_F64, VMT_SHAPE(c->buckets, c->heads));
    const vmt_tensor host = vmt_tensor_over(values, VMT_F64, VMT_SHAPE(c->heads, width));

    VMT_TRY(vmt_download(ctx, &host_table, &l->position_bias));
    for (int64_t i = 0; i < width; i++) {
        const int64_t bucket = vmt_umt5_bucket(c, i - (count - 1));
        for (int64_t h = 0; h < c->heads; h++)
            values[h * width + i] = table[bucket * c->heads + h];
    }
    return vmt_upload(ctx, bias, &host);
}

/* ---- encode */

typedef struct umt5_run {
    int64_t count;
    vmt_arena arena;
    vmt_tensor ids;          /* [count] I32 */
    vmt_tensor x;            /* [count, D] R */
    vmt_tensor normed;       /* [count, D] A */
    vmt_tensor q, k, v, att; /* [count, heads, d] A */
    vmt_tensor bias;         /* [heads, 2 count - 1] R */
    vmt_tensor branch;       /* [count, D] A */
    vmt_tensor gate, hidden; /* [count, ffn] A */
    vmt_tensor rows;         /* [count, D] R */
    double *table, *values;  /* host: a layer's bias table, and the bias */
} umt5_run;

static enum vmt_status layout(vmt_ctx *ctx, const vmt_umt5 *umt5, umt5_run *r)
{
    const vmt_text_config *c = &umt5->config;
    const int64_t head[3] = {r->count, c->heads, c->dim_attn / c->heads};
    vmt_tensor *const heads[] = {&r->q, &r->k, &r->v, &r->att};
    vmt_arena *a = &r->arena;

    VMT_TRY(vmt_take(ctx, a, &r->ids, VMT_I32, VMT_SHAPE(r->count)));
    VMT_TRY(vmt_take(ctx, a, &r->x, ctx->real, VMT_SHAPE(r->count, c->dim)));
    VMT_TRY(vmt_take(ctx, a, &r->rows, ctx->real, VMT_SHAPE(r->count, c->dim)));
    VMT_TRY(vmt_take(ctx, a, &r->normed, ctx->act, VMT_SHAPE(r->count, c->dim)));
    VMT_TRY(vmt_take(ctx, a, &r->branch, ctx->act, VMT_SHAPE(r->count, c->dim)));
    for (int i = 0; i < 4; i++)
        VMT_TRY(vmt_take(ctx, a, heads[i], ctx->act, 3, head));
    VMT_TRY(vmt_take(ctx, a, &r->bias, ctx->real, VMT_SHAPE(c->heads, 2 * r->count - 1)));
    VMT_TRY(vmt_take(ctx, a, &r->gate, ctx->act, VMT_SHAPE(r->count, c->dim_ffn)));
    return vmt_take(ctx, a, &r->hidden, ctx->act, VMT_SHAPE(r->count, c->dim_ffn));
}

static vmt_tensor rows_of(const vmt_tensor *t)
{
    return vmt_reshape(t, VMT_SHAPE(t->shape[0], t->shape[1] * t->shape[2]));
}

/* x: [N, D] as the [N, 1, D] a norm without heads writes. */
static vmt_tensor one_head(const vmt_tensor *t)
{
    return vmt_reshape(t, VMT_SHAPE(t->shape[0], 1, t->shape[1]));
}

static enum vmt_status attention(vmt_ctx *ctx, const vmt_umt5 *umt5, umt5_run *r,
                                 const umt5_layer *l)
{
    vmt_tensor normed = one_head(&r->normed);
    vmt_tensor q = rows_of(&r->q), k = rows_of(&r->k), v = rows_of(&r->v);
    const vmt_tensor att = rows_of(&r->att);

    VMT_TRY(vmt_rms_norm_rope(ctx, &normed, &r->x, &l->norm1, NULL, NULL, umt5->config.eps));
    VMT_TRY(vmt_linear(ctx, &q, &r->normed, &l->q, VMT_EPILOGUE_NONE));
    VMT_TRY(vmt_linear(ctx, &k, &r->normed, &l->k, VMT_EPILOGUE_NONE));
    VMT_TRY(vmt_linear(ctx, &v, &r->normed, &l->v, VMT_EPILOGUE_NONE));
    VMT_TRY(upload_bias(ctx, umt5, l, &r->bias, r->table, r->values, r->count));
    VMT_TRY(vmt_attention(ctx, &r->att, NULL, &r->q, &r->k, &r->v, &r->bias, 1.0));
    VMT_TRY(vmt_linear(ctx, &r->branch, &att, &l->o, VMT_EPILOGUE_NONE));
    return vmt_gate_residual(ctx, &r->x, &r->x, NULL, &r->branch);
}

static enum vmt_status feed_forward(vmt_ctx *ctx, const vmt_umt5 *umt5, umt5_run *r,
                                    const umt5_layer *l)
{
    vmt_tensor normed = one_head(&r->normed);

    VMT_TRY(vmt_rms_norm_rope(ctx, &normed, &r->x, &l->norm2, NULL, NULL, umt5->config.eps));
    VMT_TRY(vmt_linear(ctx, &r->gate, &r->normed, &l->gate, VMT_EPILOGUE_NONE));
    VMT_TRY(vmt_linear(ctx, &r->hidden, &r->normed, &l->fc1, VMT_EPILOGUE_NONE));
    VMT_TRY(vmt_gelu_gate(ctx, &r->hidden, &r->hidden, &r->gate));
    VMT_TRY(vmt_linear(ctx, &r->branch, &r->hidden, &l->fc2, VMT_EPILOGUE_NONE));
    return vmt_gate_residual(ctx, &r->x, &r->x, NULL, &r->branch);
}

static enum vmt_status run_layer(vmt_ctx *ctx, const vmt_umt5 *umt5, umt5_run *r, umt5_layer *l)
{
    vmt_weight *matrices[LAYER_MATRICES];
    enum vmt_status status = vmt_check_cancelled(ctx);

    layer_matrices(l, matrices);
    for (int i = 0; i < LAYER_MATRICES && status == VMT_OK; i++)
        status = vmt_weight_prepare(ctx, matrices[i], VMT_USE_LINEAR);
    if (status == VMT_OK)
        status = attention(ctx, umt5, r, l);
    if (status == VMT_OK)
        status = feed_forward(ctx, umt5, r, l);
    for (int i = 0; i < LAYER_MATRICES; i++)
        ctx->ops->weight_release(ctx, matrices[i]);
    return status == VMT_OK ? vmt_require_finite(ctx, &r->x, "hidden state") : status;
}

static enum vmt_status encode(vmt_ctx *ctx, vmt_umt5 *umt5, umt5_run *r, float *out,
                              const int32_t *ids)
{
    const vmt_text_config *c = &umt5->config;
    const vmt_tensor host_ids = {.data = (void *)(uintptr_t)ids,
                                 .shape = {r->count, 1, 1, 1, 1},
                                 .dtype = VMT_I32,
                                 .rank = 1};
    vmt_tensor host = vmt_tensor_over(out, VMT_F32, VMT_SHAPE(r->count, c->dim));
    vmt_tensor rows = one_head(&r->rows);

    VMT_TRY(vmt_upload(ctx, &r->ids, &host_ids));
    VMT_TRY(vmt_embed(ctx, &r->x, &r->ids, &umt5->embedding));
    for (int64_t i = 0; i < c->layers; i++)
        VMT_TRY(vmt_prefix(ctx, run_layer(ctx, umt5, r, &umt5->layers[i]),
                           "text encoder, layer %" PRId64, i));
    VMT_TRY(vmt_rms_norm_rope(ctx, &rows, &r->x, &umt5->norm, NULL, NULL, c->eps));
    VMT_TRY(vmt_require_finite(ctx, &rows, "text encoder, last norm"));
    return vmt_download(ctx, &host, &r->rows);
}

static enum vmt_status check_ids(vmt_ctx *ctx, const vmt_text_config *c, const int32_t *ids,
                                 int64_t count)
{
    if (count < 1 || count > 65536)
        return vmt_fail(ctx, VMT_E_ARG, "%" PRId64 " tokens: must be 1 to 65536", count);
    for (int64_t i = 0; i < count; i++)
        if (ids[i] < 0 || ids[i] >= c->vocab)
            return vmt_fail(ctx, VMT_E_ARG, "token id %" PRId32 ": the vocabulary has %" PRId64,
                            ids[i], c->vocab);
    return VMT_OK;
}

enum vmt_status vmt_umt5_encode(vmt_ctx *ctx, vmt_umt5 *umt5, float *rows, const int32_t *ids,
                                int64_t count)
{
    const vmt_text_config *c = &umt5->config;
    umt5_run r = {.count = count, .arena = vmt_arena_measure()};

    VMT_TRY(check_ids(ctx, c, ids, count));
    VMT_TRY(layout(ctx, umt5, &r));
    VMT_TRY(vmt_arena_open(ctx, &r.arena, r.arena.peak));
    enum vmt_status status = layout(ctx, umt5, &r);
    if (status == VMT_OK)
        status =
            vmt_alloc(ctx, (void **)&r.table, (size_t)(c->buckets * c->heads), sizeof *r.table);
    if (status == VMT_OK)
        status = vmt_alloc(ctx, (void **)&r.values, (size_t)(c->heads * (2 * count - 1)),
                           sizeof *r.values);
    if (status == VMT_OK)
        status = encode(ctx, umt5, &r, rows, ids);
    vmt_free(r.table);
    vmt_free(r.values);
    vmt_arena_close(ctx, &r.arena);
    return status;
}

enum vmt_status vmt_umt5_encode_bytes(vmt_ctx *ctx, const vmt_umt5 *umt5, int64_t count,
                                      size_t *bytes)
{
    umt5_run r = {.count = count, .arena = vmt_arena_measure()};
    vmt_weight *matrices[LAYER_MATRICES];

    VMT_TRY(layout(ctx, umt5, &r));
    *bytes = r.arena.peak;
    layer_matrices(&umt5->layers[0], matrices);
    for (int i = 0; i < LAYER_MATRICES; i++)
        *bytes += ctx->ops->weight_prepare_bytes(ctx, matrices[i], VMT_USE_LINEAR);
    return VMT_OK;
}
