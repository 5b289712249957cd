/* SPDX-License-Identifier: MIT */
#include "text/umt5.h"

#include "base/half.h"
#include "model/read_ahead.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

enum { MATRICES = 7 }; /* of a layer */

typedef struct umt5_layer {
    vmt_tensor norm1, norm2;               /* [dim] */
    vmt_tensor positions;                  /* [buckets, heads], mapped */
    vmt_weight q, k, v, o, gate, fc1, fc2; /* mapped but for the time of their use */
} umt5_layer;

struct vmt_umt5 {
    vmt_text_config config;
    const vmt_tensor_file *file;
    umt5_layer *layers;
    vmt_weight embedding; /* [vocab, dim], mapped */
    vmt_tensor norm;      /* [dim] */
    vmt_arena vectors;    /* the norms in R */
    bool keeps;           /* the layers' weights stay with the backend */
};

static void layer_matrices(umt5_layer *layer, vmt_weight *matrices[MATRICES])
{
    vmt_weight *const all[MATRICES] = {&layer->q,    &layer->k,   &layer->v,  &layer->o,
                                       &layer->gate, &layer->fc1, &layer->fc2};
    memcpy(matrices, all, sizeof all);
}

/* ---------------------------------------------------------------- weights */

static enum vmt_status need_layer(vmt_ctx *ctx, vmt_needs *needs, umt5_layer *layer,
                                  const vmt_text_config *c, int64_t i)
{
    const struct {
        vmt_weight *weight;
        int64_t out, in;
        const char *name;
    } matrices[MATRICES] = {
        {&layer->q, c->dim_attn, c->dim, "attn.q"},
        {&layer->k, c->dim_attn, c->dim, "attn.k"},
        {&layer->v, c->dim_attn, c->dim, "attn.v"},
        {&layer->o, c->dim, c->dim_attn, "attn.o"},
        {&layer->gate, c->dim_ffn, c->dim, "ffn.gate.0"},
        {&layer->fc1, c->dim_ffn, c->dim, "ffn.fc1"},
        {&layer->fc2, c->dim, c->dim_ffn, "ffn.fc2"},
    };
    for (int m = 0; m < MATRICES; m++) {
        VMT_TRY(vmt_needs_add(ctx, needs, &matrices[m].weight->w,
                              VMT_SHAPE(matrices[m].out, matrices[m].in),
                              "blocks.%" PRId64 ".%s.weight", i, matrices[m].name));
        vmt_needs_packs(needs);
    }
    VMT_TRY(vmt_needs_add(ctx, needs, &layer->norm1, VMT_SHAPE(c->dim),
                          "blocks.%" PRId64 ".norm1.weight", i));
    VMT_TRY(vmt_needs_add(ctx, needs, &layer->norm2, VMT_SHAPE(c->dim),
                          "blocks.%" PRId64 ".norm2.weight", i));
    return vmt_needs_add(ctx, needs, &layer->positions, VMT_SHAPE(c->buckets, c->heads),
                         "blocks.%" PRId64 ".pos_embedding.embedding.weight", i);
}

static enum vmt_status bind(vmt_ctx *ctx, vmt_umt5 *umt5, vmt_needs *needs,
                            const vmt_tensor_file *file)
{
    const vmt_text_config *c = &umt5->config;
    VMT_TRY(vmt_needs_add(ctx, needs, &umt5->embedding.w, VMT_SHAPE(c->vocab, c->dim),
                          "token_embedding.weight"));
    vmt_needs_packs(needs);
    for (int64_t i = 0; i < c->layers; i++)
        VMT_TRY(need_layer(ctx, needs, &umt5->layers[i], c, i));
    VMT_TRY(vmt_needs_add(ctx, needs, &umt5->norm, VMT_SHAPE(c->dim), "norm.weight"));
    return vmt_needs_bind(ctx, needs, file, "text encoder");
}

/* The mapped vector becomes one in R. */
static enum vmt_status take_vector(vmt_ctx *ctx, vmt_arena *arena, vmt_tensor *vector)
{
    const vmt_tensor mapped = *vector;
    vmt_tensor own;
    VMT_TRY(vmt_take(ctx, arena, &own, ctx->real, mapped.rank, mapped.shape));
    if (vmt_arena_measures(arena))
        return VMT_OK;
    VMT_TRY(vmt_upload(ctx, &own, &mapped));
    *vector = own;
    return VMT_OK;
}

static enum vmt_status take_vectors(vmt_ctx *ctx, vmt_umt5 *umt5, vmt_arena *arena)
{
    for (int64_t i = 0; i < umt5->config.layers; i++) {
        VMT_TRY(take_vector(ctx, arena, &umt5->layers[i].norm1));
        VMT_TRY(take_vector(ctx, arena, &umt5->layers[i].norm2));
    }
    return take_vector(ctx, arena, &umt5->norm);
}

static enum vmt_status open_weights(vmt_ctx *ctx, vmt_umt5 *umt5, const vmt_tensor_file *file)
{
    vmt_arena measure = vmt_arena_measure();
    vmt_needs needs = {0};
    void *layers;
    VMT_TRY(vmt_alloc(ctx, &layers, (size_t)umt5->config.layers, sizeof *umt5->layers));
    umt5->layers = layers;
    const enum vmt_status status = bind(ctx, umt5, &needs, file);
    vmt_needs_free(&needs);
    VMT_TRY(status);
    VMT_TRY(take_vectors(ctx, umt5, &measure));
    VMT_TRY(vmt_arena_open(ctx, &umt5->vectors, measure.peak));
    return take_vectors(ctx, umt5, &umt5->vectors);
}

enum vmt_status vmt_umt5_open(vmt_ctx *ctx, vmt_umt5 **umt5, const vmt_tensor_file *file,
                              const vmt_text_config *config)
{
    void *memory;
    *umt5 = NULL;
    VMT_TRY(vmt_alloc(ctx, &memory, 1, sizeof **umt5));
    *umt5 = memory;
    (*umt5)->config = *config;
    (*umt5)->file = file;
    const enum vmt_status status = open_weights(ctx, *umt5, file);
    if (status != VMT_OK) {
        vmt_umt5_close(ctx, *umt5);
        *umt5 = NULL;
    }
    return status;
}

static enum vmt_status prepare_layer(vmt_ctx *ctx, umt5_layer *layer)
{
    vmt_weight *matrices[MATRICES];
    layer_matrices(layer, matrices);
    for (int m = 0; m < MATRICES; m++)
        VMT_TRY(vmt_weight_prepare(ctx, matrices[m], VMT_USE_LINEAR));
    return VMT_OK;
}

/* No layer is wanted twice: the file's pages go with the copies. */
static void release_layer(vmt_ctx *ctx, const vmt_umt5 *umt5, umt5_layer *layer)
{
    vmt_weight *matrices[MATRICES];
    layer_matrices(layer, matrices);
    for (int m = 0; m < MATRICES; m++) {
        ctx->ops->weight_release(ctx, matrices[m]);
        vmt_tensor_file_leave(umt5->file, &matrices[m]->w);
    }
}

void vmt_umt5_close(vmt_ctx *ctx, vmt_umt5 *umt5)
{
    if (!umt5)
        return;
    for (int64_t i = 0; umt5->keeps && i < umt5->config.layers; i++)
        release_layer(ctx, umt5, &umt5->layers[i]);
    vmt_arena_close(ctx, &umt5->vectors);
    vmt_free(umt5->layers);
    vmt_free(umt5);
}

const vmt_text_config *vmt_umt5_get_config(const vmt_umt5 *umt5)
{
    return &umt5->config;
}

/* ---------------------------------------------------------------- relative positions */

int64_t vmt_umt5_bucket(const vmt_text_config *config, int64_t distance)
{
    const int64_t half = config->buckets / 2, exact = half / 2;
    const int64_t base = distance > 0 ? half : 0, far = distance < 0 ? -distance : distance;
    if (far < exact)
        return base + far;
    /* The original computes this in float; each step is rounded to it here too. */
    const float ratio = (float)log((double)((float)far / (float)exact));
    const float range = (float)log((double)config->max_distance / (double)exact);
    const int64_t bucket = exact + (int64_t)(ratio / range * (float)(half - exact));
    return base + (bucket < half ? bucket : half - 1);
}

static float positions_at(const vmt_tensor *positions, int64_t i)
{
    if (positions->dtype == VMT_F32)
        return ((const float *)positions->data)[i];
    const uint16_t bits = ((const uint16_t *)positions->data)[i];
    return positions->dtype == VMT_BF16 ? vmt_f32_of_bf16(bits) : vmt_f32_of_f16(bits);
}

/* bias[h, count - 1 + distance] = positions[bucket(distance), h], |distance| < count. */
static void fill_bias(float *bias, const umt5_layer *layer, const vmt_text_config *c, int64_t count)
{
    const int64_t width = 2 * count - 1;
    for (int64_t r = 0; r < width; r++) {
        const int64_t bucket = vmt_umt5_bucket(c, r - (count - 1));
        for (int64_t h = 0; h < c->heads; h++)
            bias[h * width + r] = positions_at(&layer->positions, bucket * c->heads + h);
    }
}

/* ---------------------------------------------------------------- forward */

/* Memory of one call.  All but the residual stream is shared by the sequences, sized for the
 * longest. */
typedef struct umt5_buffers {
    vmt_tensor x;          /* [all tokens, dim] R */
    vmt_tensor ids;        /* [longest] I32 */
    vmt_tensor y, branch;  /* [longest, dim] A; R */
    vmt_tensor q, k, v, o; /* [longest, dim_attn] A */
    vmt_tensor up, gate;   /* [longest, dim_ffn] A */
    vmt_tensor bias;       /* [heads, 2 longest - 1] R */
    vmt_tensor bad;   /* [layers + 2] I32: the embedding, each layer, the result is not finite */
    float *host_bias; /* bias on the host */
} umt5_buffers;

static enum vmt_status take_buffers(vmt_ctx *ctx, vmt_arena *arena, umt5_buffers *b,
                                    const vmt_text_config *c, const vmt_umt5_sequence *sequences,
                                    int64_t count)
{
    int64_t tokens = 0, longest = 1;
    for (int64_t s = 0; s < count; s++) {
        tokens += sequences[s].count;
        longest = sequences[s].count > longest ? sequences[s].count : longest;
    }
    VMT_TRY(vmt_take(ctx, arena, &b->x, ctx->real, VMT_SHAPE(tokens, c->dim)));
    VMT_TRY(vmt_take(ctx, arena, &b->ids, VMT_I32, VMT_SHAPE(longest)));
    VMT_TRY(vmt_take(ctx, arena, &b->y, ctx->act, VMT_SHAPE(longest, c->dim)));
    VMT_TRY(vmt_take(ctx, arena, &b->branch, ctx->real, VMT_SHAPE(longest, c->dim)));
    vmt_tensor *const attention[4] = {&b->q, &b->k, &b->v, &b->o};
    for (int i = 0; i < 4; i++)
        VMT_TRY(vmt_take(ctx, arena, attention[i], ctx->act, VMT_SHAPE(longest, c->dim_attn)));
    VMT_TRY(vmt_take(ctx, arena, &b->up, ctx->act, VMT_SHAPE(longest, c->dim_ffn)));
    VMT_TRY(vmt_take(ctx, arena, &b->gate, ctx->act, VMT_SHAPE(longest, c->dim_ffn)));
    VMT_TRY(vmt_take(ctx, arena, &b->bias, ctx->real, VMT_SHAPE(c->heads, 2 * longest - 1)));
    return vmt_take(ctx, arena, &b->bad, VMT_I32, VMT_SHAPE(c->layers + 2));
}

/* y = rms(x) weight.   y, x: [tokens, dim]. */
static enum vmt_status rms_norm(vmt_ctx *ctx, vmt_tensor *y, const vmt_tensor *x,
                                const vmt_tensor *weight, double eps)
{
    vmt_tensor whole = vmt_reshape(y, VMT_SHAPE(y->shape[0], 1, y->shape[1]));
    return vmt_rms_norm_rope(ctx, &whole, x, weight, NULL, NULL, eps);
}

/* x += Wo attention(rms(x) norm1) */
static enum vmt_status attention_branch(vmt_ctx *ctx, const umt5_buffers *b, vmt_tensor *x,
                                        const umt5_layer *layer, const vmt_text_config *c)
{
    const int64_t n = x->shape[0];
    vmt_tensor y = vmt_slice(&b->y, 0, n), branch = vmt_slice(&b->branch, 0, n);
    vmt_tensor flat[4] = {vmt_slice(&b->q, 0, n), vmt_slice(&b->k, 0, n), vmt_slice(&b->v, 0, n),
                          vmt_slice(&b->o, 0, n)};
    vmt_tensor split[4];
    for (int i = 0; i < 4; i++)
        split[i] = vmt_reshape(&flat[i], VMT_SHAPE(n, c->heads, c->dim_attn / c->heads));
    vmt_tensor bias = b->bias;
    bias.shape[1] = 2 * n - 1;
    const vmt_tensor host = vmt_tensor_over(b->host_bias, VMT_F32, bias.rank, bias.shape);

    fill_bias(b->host_bias, layer, c, n);
    VMT_TRY(vmt_upload(ctx, &bias, &host));
    VMT_TRY(rms_norm(ctx, &y, x, &layer->norm1, c->eps));
    VMT_TRY(vmt_linear(ctx, &flat[0], &y, &layer->q, VMT_EPILOGUE_NONE));
    VMT_TRY(vmt_linear(ctx, &flat[1], &y, &layer->k, VMT_EPILOGUE_NONE));
    VMT_TRY(vmt_linear(ctx, &flat[2], &y, &layer->v, VMT_EPILOGUE_NONE));
    VMT_TRY(vmt_attention(ctx, &split[3], NULL, &split[0], &split[1], &split[2], &bias, 1.0));
    VMT_TRY(vmt_linear(ctx, &branch, &flat[3], &layer->o, VMT_EPILOGUE_NONE));
    return vmt_gate_residual(ctx, x, x, NULL, &branch);
}

/* x += fc2 (fc1(y) ⊙ gelu(gate y)),   y = rms(x) norm2 */
static enum vmt_status feed_forward_branch(vmt_ctx *ctx, const umt5_buffers *b, vmt_tensor *x,
                                           const umt5_layer *layer, double eps)
{
    const int64_t n = x->shape[0];
    vmt_tensor y = vmt_slice(&b->y, 0, n), branch = vmt_slice(&b->branch, 0, n);
    vmt_tensor up = vmt_slice(&b->up, 0, n), gate = vmt_slice(&b->gate, 0, n);

    VMT_TRY(rms_norm(ctx, &y, x, &layer->norm2, eps));
    VMT_TRY(vmt_linear(ctx, &up, &y, &layer->fc1, VMT_EPILOGUE_NONE));
    VMT_TRY(vmt_linear(ctx, &gate, &y, &layer->gate, VMT_EPILOGUE_NONE));
    VMT_TRY(vmt_gelu_gate(ctx, &up, &up, &gate));
    VMT_TRY(vmt_linear(ctx, &branch, &up, &layer->fc2, VMT_EPILOGUE_NONE));
    return vmt_gate_residual(ctx, x, x, NULL, &branch);
}

/* The first stage that was marked is the one to be named: 0 the embedding, i + 1 layer i, then the
 * result. */
static enum vmt_status check_marks(vmt_ctx *ctx, const umt5_buffers *b)
{
    const int64_t layers = b->bad.shape[0] - 2;
    int64_t stage = 0;
    char where[64] = "token embedding";

    VMT_TRY(vmt_first_marked(ctx, &b->bad, &stage));
    if (stage == layers + 2)
        return VMT_OK;
    if (stage > layers)
        snprintf(where, sizeof where, "result");
    else if (stage)
        snprintf(where, sizeof where, "layer %" PRId64, stage - 1);
    return vmt_fail(ctx, VMT_E_NUMERIC, "text encoder, %s: NaN or infinity", where);
}

static enum vmt_status embed_all(vmt_ctx *ctx, const vmt_umt5 *umt5, const umt5_buffers *b,
                                 const vmt_umt5_sequence *sequences, int64_t count)
{
    for (int64_t s = 0, first = 0; s < count; first += sequences[s++].count) {
        const vmt_umt5_sequence *q = &sequences[s];
        for (int64_t i = 0; i < q->count; i++)
            if (q->ids[i] < 0 || q->ids[i] >= umt5->config.vocab)
                return vmt_fail(ctx, VMT_E_ARG,
                                "token %" PRId64 " has id %" PRId32
                                ", the text encoder knows 0 to %" PRId64,
                                i, q->ids[i], umt5->config.vocab - 1);
        const vmt_tensor host =
            vmt_tensor_over((void *)(uintptr_t)q->ids, VMT_I32, VMT_SHAPE(q->count));
        vmt_tensor ids = vmt_slice(&b->ids, 0, q->count), x = vmt_slice(&b->x, first, q->count);
        VMT_TRY(vmt_upload(ctx, &ids, &host));
        VMT_TRY(vmt_embed(ctx, &x, &ids, &umt5->embedding));
    }
    return vmt_mark_stage(ctx, &b->bad, 0, &b->x);
}

/* One layer over all sequences, its weights prepared by the caller. */
static enum vmt_status run_layer(vmt_ctx *ctx, const vmt_umt5 *umt5, const umt5_buffers *b,
                                 const vmt_umt5_sequence *sequences, int64_t count, int64_t i)
{
    const umt5_layer *layer = &umt5->layers[i];

    for (int64_t s = 0, first = 0; s < count; first += sequences[s++].count) {
        vmt_tensor x = vmt_slice(&b->x, first, sequences[s].count);
        VMT_TRY(attention_branch(ctx, b, &x, layer, &umt5->config));
        VMT_TRY(feed_forward_branch(ctx, b, &x, layer, umt5->config.eps));
    }
    return vmt_mark_stage(ctx, &b->bad, i + 1, &b->x);
}

static enum vmt_status write_rows(vmt_ctx *ctx, const vmt_umt5 *umt5, const umt5_buffers *b,
                                  const vmt_umt5_sequence *sequences, int64_t count)
{
    for (int64_t s = 0, first = 0; s < count; first += sequences[s++].count) {
        const int64_t n = sequences[s].count;
        const vmt_tensor x = vmt_slice(&b->x, first, n);
        vmt_tensor rows = vmt_slice(&b->branch, 0, n);
        vmt_tensor host =
            vmt_tensor_over(sequences[s].rows, VMT_F32, VMT_SHAPE(n, umt5->config.dim));
        VMT_TRY(rms_norm(ctx, &rows, &x, &umt5->norm, umt5->config.eps));
        VMT_TRY(vmt_mark_stage(ctx, &b->bad, umt5->config.layers + 1, &rows));
        VMT_TRY(vmt_download(ctx, &host, &rows));
    }
    return VMT_OK;
}

/* A backend that does not wait for each call has the next layer's weights brought while it computes
 * this one. */
static int64_t layers_ahead(const vmt_ctx *ctx)
{
    return ctx->ops->wait ? 1 : 0;
}

static enum vmt_status prepare_up_to(vmt_ctx *ctx, vmt_umt5 *umt5, vmt_read_ahead *ahead,
                                     int64_t *prepared, int64_t last)
{
    for (; *prepared <= last && *prepared < umt5->config.layers; ++*prepared) {
        vmt_read_ahead_wait(ahead, (*prepared + 1) * MATRICES - 1);
        VMT_TRY(prepare_layer(ctx, &umt5->layers[*prepared]));
    }
    return VMT_OK;
}

static enum vmt_status run_layers(vmt_ctx *ctx, vmt_umt5 *umt5, const umt5_buffers *b,
                                  const vmt_umt5_sequence *sequences, int64_t count,
                                  vmt_read_ahead *ahead, vmt_umt5_progress_fn *progress, void *user)
{
    int64_t prepared = 0;

    for (int64_t i = 0; i < umt5->config.layers; i++) {
        VMT_TRY(vmt_check_cancelled(ctx));
        VMT_TRY(prepare_up_to(ctx, umt5, ahead, &prepared, i));
        VMT_TRY(run_layer(ctx, umt5, b, sequences, count, i));
        VMT_TRY(prepare_up_to(ctx, umt5, ahead, &prepared, i + layers_ahead(ctx)));
        if (!umt5->keeps)
            release_layer(ctx, umt5, &umt5->layers[i]);
        if (progress)
            VMT_TRY(progress(ctx, user, i + 1, umt5->config.layers));
    }
    return VMT_OK;
}

static enum vmt_status encode(vmt_ctx *ctx, vmt_umt5 *umt5, const umt5_buffers *b,
                              const vmt_umt5_sequence *sequences, int64_t count,
                              vmt_umt5_progress_fn *progress, void *user)
{
    const int64_t layers = umt5->config.layers;
    vmt_tensor bad = b->bad;
    vmt_read_ahead *ahead = NULL;
    void *matrices;

    VMT_TRY(vmt_zero(ctx, &bad));
    VMT_TRY(embed_all(ctx, umt5, b, sequences, count));
    VMT_TRY(vmt_alloc(ctx, &matrices, (size_t)(layers * MATRICES), sizeof(vmt_weight *)));
    for (int64_t i = 0; i < layers; i++)
        layer_matrices(&umt5->layers[i], (vmt_weight **)matrices + i * MATRICES);
    enum vmt_status status =
        vmt_read_ahead_open(ctx, &ahead, umt5->file, matrices, layers * MATRICES);
    vmt_free(matrices);
    if (status == VMT_OK)
        status = run_layers(ctx, umt5, b, sequences, count, ahead, progress, user);
    vmt_read_ahead_close(ahead);
    for (int64_t i = 0; i < layers && !umt5->keeps; i++)
        release_layer(ctx, umt5, &umt5->layers[i]);
    VMT_TRY(status);
    VMT_TRY(write_rows(ctx, umt5, b, sequences, count));
    return check_marks(ctx, b);
}

enum vmt_status vmt_umt5_keep(vmt_ctx *ctx, vmt_umt5 *umt5)
{
    umt5->keeps = true;
    for (int64_t i = 0; i < umt5->config.layers; i++)
        VMT_TRY(prepare_layer(ctx, &umt5->layers[i]));
    return VMT_OK;
}

enum vmt_status vmt_umt5_encode(vmt_ctx *ctx, vmt_umt5 *umt5, const vmt_umt5_sequence *sequences,
                                int64_t count, vmt_umt5_progress_fn *progress, void *user)
{
    vmt_arena arena = vmt_arena_measure();
    umt5_buffers b;
    void *host_bias;
    VMT_TRY(take_buffers(ctx, &arena, &b, &umt5->config, sequences, count));
    VMT_TRY(vmt_arena_open(ctx, &arena, arena.peak));
    enum vmt_status status = take_buffers(ctx, &arena, &b, &umt5->config, sequences, count);
    if (status == VMT_OK)
        status = vmt_alloc(ctx, &host_bias, (size_t)vmt_numel(&b.bias), sizeof(float));
    if (status == VMT_OK) {
        b.host_bias = host_bias;
        status = encode(ctx, umt5, &b, sequences, count, progress, user);
        vmt_free(host_bias);
    }
    vmt_arena_close(ctx, &arena);
    return status;
}

enum vmt_status vmt_umt5_encode_bytes(vmt_ctx *ctx, const vmt_umt5 *umt5,
                                      const vmt_umt5_sequence *sequences, int64_t count,
                                      size_t *bytes, size_t *mapped)
{
    vmt_arena arena = vmt_arena_measure();
    umt5_buffers b;
    size_t largest = 0, before = 0;
    VMT_TRY(take_buffers(ctx, &arena, &b, &umt5->config, sequences, count));
    *mapped = vmt_tensor_bytes(&umt5->embedding.w);
    for (int64_t i = 0; i < umt5->config.layers; i++) {
        vmt_weight *matrices[MATRICES];
        size_t packed = 0, use = 0;
        layer_matrices(&umt5->layers[i], matrices);
        for (int m = 0; m < MATRICES; m++) {
            const size_t for_use = vmt_weight_use_bytes(ctx, matrices[m]);
            use = for_use > use ? for_use : use;
            const size_t own = ctx->ops->weight_prepare_bytes(ctx, matrices[m], VMT_USE_LINEAR);
            packed += own;
            if (!own)
                *mapped += vmt_tensor_bytes(&matrices[m]->w);
        }
        const size_t at_once =
            umt5->keeps ? before + packed : packed + (size_t)layers_ahead(ctx) * before;
        largest = at_once + use > largest ? at_once + use : largest;
        before = umt5->keeps ? at_once : packed;
    }
    *bytes = arena.peak + largest + umt5->vectors.peak +
             (size_t)vmt_numel(&b.bias) * sizeof(float) +
             (size_t)vmt_numel(&b.bad) * sizeof(int32_t);
    return VMT_OK;
}
