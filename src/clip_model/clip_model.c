/* SPDX-License-Identifier: MIT
 *
 * Both towers are the same transformer: pre-norm blocks, x·sigmoid(1.702 x) between the two
 * matrices of the feed-forward.  Source: openai/CLIP clip/model.py; names as Hugging Face's
 * transformers write them.
 */
#include "clip_model/clip_model.h"

#include "base/json.h"
#include "base/mapped_file.h"
#include "clip_model/clip_tokenizer.h"
#include "model/tensor_file.h"

#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { MOST_LAYERS = 64, MATRICES = 6, VECTORS = 4 };

#define EPS 1e-5
#define STEEP 1.702
#define MASKED -1e9f

typedef struct clip_layer {
    vmt_weight matrices[MATRICES]; /* q, k, v, out, fc1, fc2 */
    vmt_tensor vectors[VECTORS];   /* norm 1 weight, bias; norm 2 weight, bias */
} clip_layer;

typedef struct clip_tower {
    const char *prefix; /* "text_model" */
    int64_t dim, ffn, heads, layers, positions;
    clip_layer *layer;
    vmt_tensor position; /* [positions, dim] */
    vmt_tensor norm[2];  /* of the result */
    vmt_weight projection;
} clip_tower;

struct vmt_clip_model {
    vmt_tensor_file *file;
    vmt_clip_tokenizer *tokenizer;
    clip_tower text, vision;
    vmt_weight tokens;      /* [vocab, dim] */
    vmt_weight patches;     /* [dim, 3 patch²] */
    vmt_tensor first;       /* [dim]: the vision tower's class token */
    vmt_tensor pre_norm[2]; /* its norm before the blocks */
    vmt_arena vectors;
    int64_t out, vocab, patch, side;
};

/* ---- weights */

/* A tensor by its name; sizes that are 0 are taken from it. */
static enum vmt_status need(vmt_ctx *ctx, const vmt_clip_model *m, vmt_tensor *view, int rank,
                            const int64_t *shape, const char *format, ...) VMT_PRINTF(6, 7);

static enum vmt_status need(vmt_ctx *ctx, const vmt_clip_model *m, vmt_tensor *view, int rank,
                            const int64_t *shape, const char *format, ...)
{
    const char *path = vmt_tensor_file_path(m->file);
    char name[VMT_TENSOR_NAME_BYTES], text[128];
    va_list args;

    va_start(args, format);
    vsnprintf(name, sizeof name, format, args);
    va_end(args);
    const vmt_tensor *found = vmt_tensor_file_find(m->file, name);
    if (!found)
        return vmt_fail(ctx, VMT_E_MODEL,
                        "%s: no tensor '%s': not a CLIP model as transformers "
                        "write it",
                        path, name);
    bool good = found->rank == rank;
    for (int i = 0; good && i < rank; i++)
        good = shape[i] ? found->shape[i] == shape[i]
                        : found->shape[i] > 0 && found->shape[i] <= INT32_MAX;
    good = good && (found->dtype == VMT_F32 || found->dtype == VMT_F16 || found->dtype == VMT_BF16);
    if (!good)
        return vmt_fail(ctx, VMT_E_MODEL, "%s: tensor '%s' is %s %s, which does not fit the others",
                        path, name, vmt_dtype_name(found->dtype), vmt_shape_text(found, text));
    *view = *found;
    return VMT_OK;
}

static enum vmt_status need_layer(vmt_ctx *ctx, const vmt_clip_model *m, clip_tower *t, int64_t i)
{
    static const char *const matrices[MATRICES] = {"self_attn.q_proj", "self_attn.k_proj",
                                                   "self_attn.v_proj", "self_attn.out_proj",
                                                   "mlp.fc1",          "mlp.fc2"};
    static const char *const vectors[VECTORS] = {"layer_norm1.weight", "layer_norm1.bias",
                                                 "layer_norm2.weight", "layer_norm2.bias"};
    clip_layer *l = &t->layer[i];

    for (int k = 0; k < MATRICES; k++) {
        const int64_t out = k == 4 ? t->ffn : t->dim, in = k == 5 ? t->ffn : t->dim;
        VMT_TRY(need(ctx, m, &l->matrices[k].w, VMT_SHAPE(out, in),
                     "%s.encoder.layers.%" PRId64 ".%s.weight", t->prefix, i, matrices[k]));
        VMT_TRY(need(ctx, m, &l->matrices[k].bias, VMT_SHAPE(out),
                     "%s.encoder.layers.%" PRId64 ".%s.bias", t->prefix, i, matrices[k]));
    }
    for (int k = 0; k < VECTORS; k++)
        VMT_TRY(need(ctx, m, &l->vectors[k], VMT_SHAPE(t->dim), "%s.encoder.layers.%" PRId64 ".%s",
                     t->prefix, i, vectors[k]));
    return VMT_OK;
}

/* Sizes come from the tensors, heads of 64 unless config.json says otherwise. */
static enum vmt_status need_tower(vmt_ctx *ctx, const vmt_clip_model *m, clip_tower *t,
                                  const char *norm, const char *projection)
{
    char name[VMT_TENSOR_NAME_BYTES];
    vmt_tensor fc1;

    VMT_TRY(need(ctx, m, &t->position, VMT_SHAPE(0, 0), "%s.embeddings.position_embedding.weight",
                 t->prefix));
    t->positions = t->position.shape[0];
    t->dim = t->position.shape[1];
    if (!t->heads)
        t->heads = t->dim / 64;
    if (t->heads < 1 || t->dim % t->heads)
        return vmt_fail(ctx, VMT_E_MODEL, "%s: %" PRId64 " heads do not divide %" PRId64,
                        vmt_tensor_file_path(m->file), t->heads, t->dim);
    VMT_TRY(
        need(ctx, m, &fc1, VMT_SHAPE(0, t->dim), "%s.encoder.layers.0.mlp.fc1.weight", t->prefix));
    t->ffn = fc1.shape[0];
    for (; t->layers < MOST_LAYERS; t->layers++) {
        snprintf(name, sizeof name, "%s.encoder.layers.%" PRId64 ".mlp.fc1.weight", t->prefix,
                 t->layers);
        if (!vmt_tensor_file_find(m->file, name))
            break;
    }
    VMT_TRY(vmt_alloc(ctx, (void **)&t->layer, (size_t)t->layers, sizeof *t->layer));
    for (int64_t i = 0; i < t->layers; i++)
        VMT_TRY(need_layer(ctx, m, t, i));
    VMT_TRY(need(ctx, m, &t->norm[0], VMT_SHAPE(t->dim), "%s.%s.weight", t->prefix, norm));
    VMT_TRY(need(ctx, m, &t->norm[1], VMT_SHAPE(t->dim), "%s.%s.bias", t->prefix, norm));
    return need(ctx, m, &t->projection.w, VMT_SHAPE(0, t->dim), "%s", projection);
}

static enum vmt_status need_all(vmt_ctx *ctx, vmt_clip_model *m)
{
    clip_tower *v = &m->vision;
    vmt_tensor filter;

    VMT_TRY(need_tower(ctx, m, &m->text, "final_layer_norm", "text_projection.weight"));
    VMT_TRY(need_tower(ctx, m, v, "post_layernorm", "visual_projection.weight"));
    m->out = m->text.projection.w.shape[0];
    VMT_TRY(need(ctx, m, &v->projection.w, VMT_SHAPE(m->out, v->dim), "visual_projection.weight"));
    VMT_TRY(need(ctx, m, &m->tokens.w, VMT_SHAPE(0, m->text.dim),
                 "text_model.embeddings.token_embedding.weight"));
    m->vocab = m->tokens.w.shape[0];
    VMT_TRY(need(ctx, m, &m->first, VMT_SHAPE(v->dim), "vision_model.embeddings.class_embedding"));
    VMT_TRY(need(ctx, m, &m->pre_norm[0], VMT_SHAPE(v->dim), "vision_model.pre_layrnorm.weight"));
    VMT_TRY(need(ctx, m, &m->pre_norm[1], VMT_SHAPE(v->dim), "vision_model.pre_layrnorm.bias"));
    VMT_TRY(need(ctx, m, &filter, VMT_SHAPE(v->dim, 3, 0, 0),
                 "vision_model.embeddings.patch_embedding.weight"));
    m->patch = filter.shape[2];
    m->patches.w = vmt_reshape(&filter, VMT_SHAPE(v->dim, 3 * filter.shape[2] * filter.shape[3]));
    const int64_t grid = (int64_t)lround(sqrt((double)(v->positions - 1)));
    m->side = grid * m->patch;
    if (filter.shape[3] != m->patch || m->patch > 1024 || grid * grid != v->positions - 1 ||
        !grid || m->side > 4096 || m->text.positions < 2)
        return vmt_fail(ctx, VMT_E_MODEL,
                        "%s: patches of %" PRId64 "x%" PRId64 ", %" PRId64 " and %" PRId64
                        " positions make no CLIP model",
                        vmt_tensor_file_path(m->file), filter.shape[3], filter.shape[2],
                        v->positions, m->text.positions);
    return VMT_OK;
}

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

static enum vmt_status take_vectors(vmt_ctx *ctx, vmt_clip_model *m, vmt_arena *arena)
{
    clip_tower *const towers[2] = {&m->text, &m->vision};

    for (int i = 0; i < 2; i++) {
        VMT_TRY(take_vector(ctx, arena, &towers[i]->position));
        VMT_TRY(take_vector(ctx, arena, &towers[i]->norm[0]));
        VMT_TRY(take_vector(ctx, arena, &towers[i]->norm[1]));
        for (int64_t l = 0; l < towers[i]->layers; l++)
            for (int k = 0; k < VECTORS; k++)
                VMT_TRY(take_vector(ctx, arena, &towers[i]->layer[l].vectors[k]));
    }
    VMT_TRY(take_vector(ctx, arena, &m->first));
    VMT_TRY(take_vector(ctx, arena, &m->pre_norm[0]));
    return take_vector(ctx, arena, &m->pre_norm[1]);
}

/* Calls `use` on every matrix. */
static enum vmt_status each_matrix(vmt_ctx *ctx, vmt_clip_model *m,
                                   enum vmt_status (*use)(vmt_ctx *, vmt_weight *))
{
    clip_tower *const towers[2] = {&m->text, &m->vision};

    for (int i = 0; i < 2; i++) {
        for (int64_t l = 0; towers[i]->layer && l < towers[i]->layers; l++)
            for (int k = 0; k < MATRICES; k++)
                VMT_TRY(use(ctx, &towers[i]->layer[l].matrices[k]));
        VMT_TRY(use(ctx, &towers[i]->projection));
    }
    return use(ctx, &m->patches);
}

static enum vmt_status prepare(vmt_ctx *ctx, vmt_weight *weight)
{
    return vmt_weight_prepare(ctx, weight, VMT_USE_LINEAR);
}

static enum vmt_status release(vmt_ctx *ctx, vmt_weight *weight)
{
    if (weight->w.data)
        ctx->ops->weight_release(ctx, weight);
    return VMT_OK;
}

/* ---- opening */

static enum vmt_status read_section(vmt_ctx *ctx, const cJSON *root, const char *name,
                                    int64_t *heads, const char *label)
{
    const cJSON *section = cJSON_GetObjectItemCaseSensitive(root, name);
    const cJSON *count = cJSON_GetObjectItemCaseSensitive(section, "num_attention_heads");
    const char *act = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(section, "hidden_act"));

    if (count && (!vmt_json_int(count, heads) || *heads < 1 || *heads > 1024))
        return vmt_fail(ctx, VMT_E_FORMAT,
                        "%s: %s: num_attention_heads is no number from 1 to 1024", label, name);
    if (act && strcmp(act, "quick_gelu"))
        return vmt_fail(ctx, VMT_E_UNSUPPORTED,
                        "%s: %s: activation '%.40s'; only quick_gelu, that of OpenAI's models, is "
                        "supported",
                        label, name, act);
    return VMT_OK;
}

static enum vmt_status read_config(vmt_ctx *ctx, vmt_clip_model *m, const char *folder)
{
    char path[4096];
    vmt_mapped_file file;
    cJSON *root;

    snprintf(path, sizeof path, "%s/config.json", folder);
    if (access(path, F_OK))
        return VMT_OK;
    VMT_TRY(vmt_mapped_file_open(ctx, &file, path));
    enum vmt_status status = vmt_json_parse(ctx, &root, file.bytes, file.length, path);
    if (status == VMT_OK) {
        status = read_section(ctx, root, "text_config", &m->text.heads, path);
        if (status == VMT_OK)
            status = read_section(ctx, root, "vision_config", &m->vision.heads, path);
        cJSON_Delete(root);
    }
    vmt_mapped_file_close(&file);
    return status;
}

static enum vmt_status open_all(vmt_ctx *ctx, vmt_clip_model *m, const char *folder)
{
    vmt_arena measure = vmt_arena_measure();
    char path[4096];

    snprintf(path, sizeof path, "%s/model.safetensors", folder);
    VMT_TRY(vmt_tensor_file_open(ctx, &m->file, path));
    VMT_TRY(read_config(ctx, m, folder));
    VMT_TRY(vmt_clip_tokenizer_open(ctx, &m->tokenizer, folder));
    VMT_TRY(need_all(ctx, m));
    VMT_TRY(take_vectors(ctx, m, &measure));
    VMT_TRY(vmt_arena_open(ctx, &m->vectors, measure.peak));
    VMT_TRY(take_vectors(ctx, m, &m->vectors));
    return each_matrix(ctx, m, prepare);
}

enum vmt_status vmt_clip_model_open(vmt_ctx *ctx, vmt_clip_model **model, const char *folder)
{
    *model = NULL;
    VMT_TRY(vmt_alloc(ctx, (void **)model, 1, sizeof **model));
    (*model)->text.prefix = "text_model";
    (*model)->vision.prefix = "vision_model";
    const enum vmt_status status = open_all(ctx, *model, folder);
    if (status != VMT_OK) {
        vmt_clip_model_close(ctx, *model);
        *model = NULL;
    }
    return status;
}

void vmt_clip_model_close(vmt_ctx *ctx, vmt_clip_model *m)
{
    if (!m)
        return;
    (void)each_matrix(ctx, m, release);
    vmt_arena_close(ctx, &m->vectors);
    vmt_free(m->text.layer);
    vmt_free(m->vision.layer);
    vmt_clip_tokenizer_close(m->tokenizer);
    vmt_tensor_file_close(m->file);
    vmt_free(m);
}

int64_t vmt_clip_model_side(const vmt_clip_model *m)
{
    return m->side;
}

int64_t vmt_clip_model_dim(const vmt_clip_model *m)
{
    return m->out;
}

/* ---- forward */

typedef struct clip_buffers {
    vmt_tensor x, branch;     /* [n, dim] R */
    vmt_tensor y, q, k, v, o; /* [n, dim] A */
    vmt_tensor up;            /* [n, ffn] R */
    vmt_tensor bias;          /* [heads, 2n - 1] R */
    vmt_tensor last;          /* [1, dim] A */
    vmt_tensor result;        /* [1, out] R */
    vmt_tensor ids;           /* [n] I32 */
    vmt_tensor picture, rows; /* [3, 1, side, side] R; [n - 1, 3 patch²] A */
} clip_buffers;

static enum vmt_status take_buffers(vmt_ctx *ctx, vmt_arena *arena, clip_buffers *b,
                                    const vmt_clip_model *m, const clip_tower *t, int64_t n)
{
    vmt_tensor *const act[5] = {&b->y, &b->q, &b->k, &b->v, &b->o};

    VMT_TRY(vmt_take(ctx, arena, &b->x, ctx->real, VMT_SHAPE(n, t->dim)));
    VMT_TRY(vmt_take(ctx, arena, &b->branch, ctx->real, VMT_SHAPE(n, t->dim)));
    for (int i = 0; i < 5; i++)
        VMT_TRY(vmt_take(ctx, arena, act[i], ctx->act, VMT_SHAPE(n, t->dim)));
    VMT_TRY(vmt_take(ctx, arena, &b->up, ctx->real, VMT_SHAPE(n, t->ffn)));
    VMT_TRY(vmt_take(ctx, arena, &b->bias, ctx->real, VMT_SHAPE(t->heads, 2 * n - 1)));
    VMT_TRY(vmt_take(ctx, arena, &b->last, ctx->act, VMT_SHAPE(1, t->dim)));
    VMT_TRY(vmt_take(ctx, arena, &b->result, ctx->real, VMT_SHAPE(1, m->out)));
    if (t == &m->text)
        return vmt_take(ctx, arena, &b->ids, VMT_I32, VMT_SHAPE(n));
    VMT_TRY(vmt_take(ctx, arena, &b->picture, ctx->real, VMT_SHAPE(3, 1, m->side, m->side)));
    return vmt_take(ctx, arena, &b->rows, ctx->act, VMT_SHAPE(n - 1, 3 * m->patch * m->patch));
}

static enum vmt_status run_layer(vmt_ctx *ctx, clip_buffers *b, const clip_tower *t,
                                 const clip_layer *l, const vmt_tensor *bias)
{
    const int64_t n = b->x.shape[0], head = t->dim / t->heads;
    const vmt_weight *w = l->matrices;
    vmt_tensor split[4];
    vmt_tensor *const flat[4] = {&b->q, &b->k, &b->v, &b->o};

    for (int i = 0; i < 4; i++)
        split[i] = vmt_reshape(flat[i], VMT_SHAPE(n, t->heads, head));
    VMT_TRY(vmt_layer_norm(ctx, &b->y, &b->x, &l->vectors[0], &l->vectors[1], EPS));
    for (int i = 0; i < 3; i++)
        VMT_TRY(vmt_linear(ctx, flat[i], &b->y, &w[i], VMT_EPILOGUE_NONE));
    VMT_TRY(vmt_attention(ctx, &split[3], NULL, &split[0], &split[1], &split[2], bias,
                          1 / sqrt((double)head)));
    VMT_TRY(vmt_linear(ctx, &b->branch, &b->o, &w[3], VMT_EPILOGUE_NONE));
    VMT_TRY(vmt_gate_residual(ctx, &b->x, &b->x, NULL, &b->branch));
    VMT_TRY(vmt_layer_norm(ctx, &b->y, &b->x, &l->vectors[2], &l->vectors[3], EPS));
    VMT_TRY(vmt_linear(ctx, &b->up, &b->y, &w[4], VMT_EPILOGUE_NONE));
    /* u sigmoid(a u) = silu(a u) / a */
    VMT_TRY(vmt_lincomb(ctx, &b->up, &b->up, &b->up, STEEP, 0));
    VMT_TRY(vmt_silu(ctx, &b->up, &b->up));
    VMT_TRY(vmt_lincomb(ctx, &b->up, &b->up, &b->up, 1 / STEEP, 0));
    VMT_TRY(vmt_linear(ctx, &b->branch, &b->up, &w[5], VMT_EPILOGUE_NONE));
    return vmt_gate_residual(ctx, &b->x, &b->x, NULL, &b->branch);
}

/* The blocks, then row `row` normalised and projected. */
static enum vmt_status run_tower(vmt_ctx *ctx, clip_buffers *b, const clip_tower *t, int64_t row,
                                 const vmt_tensor *bias, float *vector)
{
    for (int64_t i = 0; i < t->layers; i++) {
        VMT_TRY(vmt_check_cancelled(ctx));
        VMT_TRY(run_layer(ctx, b, t, &t->layer[i], bias));
    }
    const vmt_tensor x = vmt_slice(&b->x, row, 1);
    vmt_tensor host = vmt_tensor_over(vector, VMT_F32, VMT_SHAPE(1, b->result.shape[1]));
    VMT_TRY(vmt_layer_norm(ctx, &b->last, &x, &t->norm[0], &t->norm[1], EPS));
    VMT_TRY(vmt_linear(ctx, &b->result, &b->last, &t->projection, VMT_EPILOGUE_NONE));
    VMT_TRY(vmt_require_finite(ctx, &b->result, "CLIP"));
    return vmt_download(ctx, &host, &b->result);
}

static enum vmt_status add_positions(vmt_ctx *ctx, clip_buffers *b, const clip_tower *t)
{
    const vmt_tensor positions = vmt_slice(&t->position, 0, b->x.shape[0]);

    return vmt_lincomb(ctx, &b->x, &b->x, &positions, 1, 1);
}

/* No token sees a later one. */
static enum vmt_status upload_mask(vmt_ctx *ctx, vmt_tensor *bias, int64_t n)
{
    float *mask;

    VMT_TRY(vmt_alloc(ctx, (void **)&mask, (size_t)vmt_numel(bias), sizeof *mask));
    for (int64_t i = 0; i < vmt_numel(bias); i++)
        mask[i] = i % (2 * n - 1) > n - 1 ? MASKED : 0;
    const vmt_tensor host = vmt_tensor_over(mask, VMT_F32, bias->rank, bias->shape);
    const enum vmt_status status = vmt_upload(ctx, bias, &host);
    vmt_free(mask);
    return status;
}

static enum vmt_status run_text(vmt_ctx *ctx, vmt_clip_model *m, clip_buffers *b, int32_t *ids,
                                int64_t n, float *vector)
{
    const vmt_tensor host = vmt_tensor_over(ids, VMT_I32, VMT_SHAPE(n));

    for (int64_t i = 0; i < n; i++)
        if (ids[i] >= m->vocab)
            return vmt_fail(ctx, VMT_E_MODEL,
                            "CLIP: token %" PRId32 ", the model knows %" PRId64
                            ": tokenizer and weights do not belong together",
                            ids[i], m->vocab);
    VMT_TRY(vmt_upload(ctx, &b->ids, &host));
    VMT_TRY(vmt_embed(ctx, &b->x, &b->ids, &m->tokens));
    VMT_TRY(add_positions(ctx, b, &m->text));
    VMT_TRY(upload_mask(ctx, &b->bias, n));
    return run_tower(ctx, b, &m->text, n - 1, &b->bias, vector);
}

enum vmt_status vmt_clip_model_text(vmt_ctx *ctx, vmt_clip_model *m, float *vector,
                                    const char *text)
{
    vmt_arena arena = vmt_arena_measure();
    clip_buffers b;
    int32_t *ids;
    int64_t n;

    VMT_TRY(vmt_alloc(ctx, (void **)&ids, (size_t)m->text.positions, sizeof *ids));
    enum vmt_status status =
        vmt_clip_tokenizer_encode(ctx, m->tokenizer, ids, &n, m->text.positions, text);
    if (status == VMT_OK)
        status = take_buffers(ctx, &arena, &b, m, &m->text, n);
    if (status == VMT_OK)
        status = vmt_arena_open(ctx, &arena, arena.peak);
    if (status == VMT_OK) {
        status = take_buffers(ctx, &arena, &b, m, &m->text, n);
        if (status == VMT_OK)
            status = run_text(ctx, m, &b, ids, n, vector);
        vmt_arena_close(ctx, &arena);
    }
    vmt_free(ids);
    return status;
}

/* Mean and deviation of the training pictures' channels. */
static enum vmt_status upload_picture(vmt_ctx *ctx, vmt_tensor *picture, const uint8_t *pixels)
{
    static const double mean[3] = {0.48145466, 0.4578275, 0.40821073};
    static const double deviation[3] = {0.26862954, 0.26130258, 0.27577711};
    const int64_t count = vmt_numel(picture) / 3;
    float *values;

    VMT_TRY(vmt_alloc(ctx, (void **)&values, (size_t)count, 3 * sizeof *values));
    for (int64_t i = 0; i < count; i++)
        for (int c = 0; c < 3; c++)
            values[c * count + i] = (float)((pixels[3 * i + c] / 255.0 - mean[c]) / deviation[c]);
    const vmt_tensor host = vmt_tensor_over(values, VMT_F32, picture->rank, picture->shape);
    const enum vmt_status status = vmt_upload(ctx, picture, &host);
    vmt_free(values);
    return status;
}

static enum vmt_status run_picture(vmt_ctx *ctx, vmt_clip_model *m, clip_buffers *b,
                                   const uint8_t *pixels, float *vector)
{
    const int64_t patch[3] = {1, m->patch, m->patch};
    const int64_t n = b->x.shape[0];
    vmt_tensor head = vmt_index(&b->x, 0), rest = vmt_slice(&b->x, 1, n - 1);

    VMT_TRY(upload_picture(ctx, &b->picture, pixels));
    VMT_TRY(vmt_patchify(ctx, &b->rows, &b->picture, patch));
    VMT_TRY(vmt_linear(ctx, &rest, &b->rows, &m->patches, VMT_EPILOGUE_NONE));
    VMT_TRY(vmt_copy(ctx, &head, &m->first));
    VMT_TRY(add_positions(ctx, b, &m->vision));
    VMT_TRY(vmt_layer_norm(ctx, &b->y, &b->x, &m->pre_norm[0], &m->pre_norm[1], EPS));
    VMT_TRY(vmt_copy(ctx, &b->x, &b->y));
    return run_tower(ctx, b, &m->vision, 0, NULL, vector);
}

enum vmt_status vmt_clip_model_picture(vmt_ctx *ctx, vmt_clip_model *m, float *vector,
                                       const uint8_t *pixels)
{
    const int64_t n = m->vision.positions;
    vmt_arena arena = vmt_arena_measure();
    clip_buffers b;

    VMT_TRY(take_buffers(ctx, &arena, &b, m, &m->vision, n));
    VMT_TRY(vmt_arena_open(ctx, &arena, arena.peak));
    enum vmt_status status = take_buffers(ctx, &arena, &b, m, &m->vision, n);
    if (status == VMT_OK)
        status = run_picture(ctx, m, &b, pixels, vector);
    vmt_arena_close(ctx, &arena);
    return status;
}
