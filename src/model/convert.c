/* SPDX-License-Identifier: MIT */
#include "model/convert.h"

#include "base/half.h"
#include "base/json.h"
#include "base/quant.h"
#include "model/gguf_writer.h"
#include "model/model_config.h"
#include "model/safetensors.h"
#include "model/tensor_names.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { PIECE = 1 << 20, META_PAIRS = 8, META_BYTES = 32, F8_MAX = 448 };

static const struct {
    const char *name;
    enum vmt_dtype dtype;
    bool is_gguf, is_scaled;
} TYPES[] = {{"bf16", VMT_BF16, false, false},   {"f16", VMT_F16, false, false},
             {"fp8", VMT_F8_E4M3, false, false}, {"fp8_scaled", VMT_F8_E4M3, false, true},
             {"q8_0", VMT_Q8_0, true, false},    {"q4_k", VMT_Q4_K, true, false}};

/* Its two elements say: multiply by the widened weights, do not round activations to 8 bits.
 * Source: ComfyUI, comfy/utils.py convert_old_quants. */
static const char MARK[] = "scaled_fp8";
static unsigned char mark_bytes[2];

enum part { DIT, VAE, TEXT };

/* A tensor of the output and what it is made of. */
typedef struct item {
    const vmt_tensor *source; /* NULL: the factors of the weight `of`, or the mark */
    char name[VMT_TENSOR_NAME_BYTES];
    int64_t of; /* index of a weight among the items */
} item;

typedef struct job {
    vmt_ctx *ctx;
    const vmt_conversion *c;
    vmt_tensor_file *in;
    enum part part;
    enum vmt_dtype dtype;
    bool is_gguf;
    bool is_scaled; /* as ComfyUI writes 8 bits: one factor a matrix, and its mark */
    item *items;
    vmt_named_tensor *tensors; /* the output's, same order; data: factors of an F8 weight */
    int64_t count;
    char text[META_PAIRS][META_BYTES];
    char *vae_config; /* of cJSON */
    const char *meta[2 * META_PAIRS + 1];
    float *values;
    unsigned char *bytes;
    vmt_atomic_file file;
    uint64_t done, total;
} job;

/* ---------------------------------------------------------------- what becomes of each tensor */

static bool is_plain_float(enum vmt_dtype dtype)
{
    return dtype == VMT_F32 || dtype == VMT_F16 || dtype == VMT_BF16;
}

/* Matrices that nearly all of the weight is in; the few around the blocks stay as they are. */
static bool is_large(const vmt_tensor *t, const char *name)
{
    return t->rank == 2 &&
           (strncmp(name, "blocks.", 7) == 0 || !strcmp(name, "token_embedding.weight")) &&
           !strstr(name, ".pos_embedding.");
}

static enum vmt_dtype type_of(const job *j, const vmt_tensor *t, const char *name)
{
    const bool is_table = strcmp(name, "token_embedding.weight") == 0;
    const enum vmt_dtype kept = is_plain_float(t->dtype) ? t->dtype : VMT_BF16;

    if (!vmt_is_quantised(t->dtype) && !is_plain_float(t->dtype) && t->dtype != VMT_F64)
        return t->dtype; /* integers */
    if (j->dtype == VMT_BF16 || j->dtype == VMT_F16)
        return j->dtype;
    if (!is_large(t, name))
        return !j->is_gguf                                        ? kept
               : t->rank == 2 && !strstr(name, ".pos_embedding.") ? kept
                                                                  : VMT_F32;
    if (j->dtype == VMT_F8_E4M3)
        return is_table ? kept : VMT_F8_E4M3;
    if (j->dtype == VMT_Q4_K && !is_table && t->shape[1] % vmt_dtype_block(VMT_Q4_K) == 0)
        return VMT_Q4_K;
    return t->shape[1] % vmt_dtype_block(VMT_Q8_0) == 0 ? VMT_Q8_0 : kept;
}

static enum vmt_status add_item(job *j, const vmt_tensor *source, enum vmt_dtype dtype, int rank,
                                const int64_t *shape, const char *name)
{
    item *made = &j->items[j->count];

    made->source = source;
    if (snprintf(made->name, sizeof made->name, "%s", name) >= (int)sizeof made->name)
        return vmt_fail(j->ctx, VMT_E_MODEL, "%s: a tensor's name of %zu bytes", j->c->in,
                        strlen(name));
    j->tensors[j->count] =
        (vmt_named_tensor){made->name, vmt_tensor_over(NULL, dtype, rank, shape)};
    j->total += vmt_tensor_bytes(&j->tensors[j->count].tensor);
    j->count++;
    return VMT_OK;
}

/* X.scale_weight of X.weight, [rows, 1], or one number. */
static enum vmt_status add_factors(job *j, int64_t weight)
{
    const vmt_tensor *t = &j->tensors[weight].tensor;
    char name[VMT_TENSOR_NAME_BYTES + 16];
    void *memory;

    snprintf(name, sizeof name, "%.*s.scale_weight",
             (int)(strlen(j->items[weight].name) - strlen(".weight")), j->items[weight].name);
    VMT_TRY(vmt_alloc(j->ctx, &memory, (size_t)t->shape[0], sizeof(float)));
    j->tensors[weight].tensor.data = memory;
    j->items[j->count].of = weight;
    if (j->is_scaled)
        return add_item(j, NULL, VMT_F32, 0, NULL, name);
    return add_item(j, NULL, VMT_F32, VMT_SHAPE(t->shape[0], 1), name);
}

static enum vmt_status add_mark(job *j)
{
    const int64_t at = j->count;

    j->items[at].of = at;
    VMT_TRY(add_item(j, NULL, VMT_F8_E4M3, VMT_SHAPE(2), MARK));
    j->tensors[at].tensor.data = mark_bytes;
    return VMT_OK;
}

static enum vmt_status list_items(job *j)
{
    const int64_t count = vmt_tensor_file_count(j->in);
    void *memory;

    VMT_TRY(vmt_alloc(j->ctx, &memory, 2 * (size_t)count + 1, sizeof(item)));
    j->items = memory;
    VMT_TRY(vmt_alloc(j->ctx, &memory, 2 * (size_t)count + 1, sizeof(vmt_named_tensor)));
    j->tensors = memory;
    for (int64_t i = 0; i < count; i++) {
        const char *name = vmt_tensor_file_name(j->in, i);
        const vmt_tensor *t = vmt_tensor_file_find(j->in, name);
        const enum vmt_dtype dtype = type_of(j, t, name);
        char theirs[VMT_TENSOR_NAME_BYTES];
        const bool is_theirs = j->is_gguf && j->part == TEXT;
        if (is_theirs && vmt_name_to_llama(name, theirs))
            name = theirs;
        VMT_TRY(add_item(j, t, dtype, t->rank, t->shape, name));
        if (dtype == VMT_F8_E4M3)
            VMT_TRY(add_factors(j, j->count - 1));
    }
    return j->is_scaled ? add_mark(j) : VMT_OK;
}

/* ---------------------------------------------------------------- metadata */

static void say(job *j, int *pairs, const char *key, double value)
{
    snprintf(j->text[*pairs], META_BYTES, "%.9g", value);
    j->meta[2 * *pairs] = key;
    j->meta[2 * *pairs + 1] = j->text[*pairs];
    ++*pairs;
}

/* Of what shapes do not tell. */
static enum vmt_status read_sizes(job *j, const vmt_config_file *config)
{
    vmt_dit_config dit;
    vmt_text_config text;
    vmt_vae_config vae;
    int pairs = 0;

    if (j->part == DIT) {
        VMT_TRY(vmt_dit_config_read(j->ctx, &dit, config, j->in));
        say(j, &pairs, "heads", (double)dit.heads);
        say(j, &pairs, "text_len", (double)dit.text_len);
        say(j, &pairs, "eps", dit.eps);
        say(j, &pairs, "rope_theta", dit.rope_theta);
    } else if (j->part == TEXT) {
        VMT_TRY(vmt_text_config_read(j->ctx, &text, config, j->in));
        say(j, &pairs, "max_distance", (double)text.max_distance);
        say(j, &pairs, "text_len", (double)text.text_len);
        say(j, &pairs, "eps", text.eps);
    } else {
        VMT_TRY(vmt_vae_config_read(j->ctx, &vae, config, j->in));
        VMT_TRY(vmt_vae_config_text(j->ctx, &j->vae_config, &vae));
        j->meta[0] = VMT_VAE_META;
        j->meta[1] = j->vae_config;
    }
    return VMT_OK;
}

static enum vmt_status read_meta(job *j)
{
    const char *slash = strrchr(j->c->in, '/');
    const int folder = slash ? (int)(slash + 1 - j->c->in) : 0;
    vmt_config_file *config = NULL;
    char path[4096];
    struct stat info;

    const int length = snprintf(path, sizeof path, "%.*sconfig.json", folder, j->c->in);
    if (length > 0 && (size_t)length < sizeof path && stat(path, &info) == 0)
        VMT_TRY(vmt_config_file_open(j->ctx, &config, path));
    const enum vmt_status status = read_sizes(j, config);
    vmt_config_file_close(config);
    return status;
}

/* ---------------------------------------------------------------- values */

static void load(const job *j, const vmt_tensor *t, int64_t first, int64_t count)
{
    const int64_t piece = 4096;

#ifdef _OPENMP
#pragma omp parallel for num_threads(j->ctx->threads) schedule(static)
#endif
    for (int64_t at = 0; at < count; at += piece) {
        const int64_t n = count - at < piece ? count - at : piece;
        float *y = j->values + at;
        if (vmt_is_quantised(t->dtype)) {
            vmt_tensor_unpack(y, t, first + at, n);
            continue;
        }
        for (int64_t i = 0; i < n; i++) {
            const int64_t from = first + at + i;
            if (t->dtype == VMT_F32)
                y[i] = ((const float *)t->data)[from];
            else if (t->dtype == VMT_F64)
                y[i] = (float)((const double *)t->data)[from];
            else if (t->dtype == VMT_F16)
                y[i] = vmt_f32_of_f16(((const uint16_t *)t->data)[from]);
            else
                y[i] = vmt_f32_of_bf16(((const uint16_t *)t->data)[from]);
        }
    }
}

static enum vmt_status check_values(const job *j, const char *name, int64_t count,
                                    enum vmt_dtype dtype)
{
    const float most = dtype == VMT_F16 ? 65519.99f : INFINITY;

    int64_t bad = count; /* the first */

#ifdef _OPENMP
#pragma omp parallel for num_threads(j->ctx->threads) schedule(static) reduction(min : bad)
#endif
    for (int64_t i = 0; i < count; i++)
        if ((!isfinite(j->values[i]) || fabsf(j->values[i]) > most) && i < bad)
            bad = i;
    if (bad < count)
        return vmt_fail(j->ctx, VMT_E_NUMERIC, "%s: tensor '%.200s' holds %g, which %s cannot",
                        j->c->in, name, (double)j->values[bad], vmt_dtype_name(dtype));
    return VMT_OK;
}

/* The largest of each row, or of all, over the largest 8-bit float; of zeros it is 1. */
static enum vmt_status find_factors(job *j, int64_t i)
{
    const vmt_tensor *t = j->items[i].source;
    float *factors = j->tensors[i].tensor.data;
    const int64_t cols = t->shape[1], rows = PIECE / cols > 0 ? PIECE / cols : 1;

    if (cols > PIECE)
        return vmt_fail(j->ctx, VMT_E_UNSUPPORTED,
                        "%s: tensor '%.200s' has rows of %" PRId64 " values, supported are %d",
                        j->c->in, j->items[i].name, cols, (int)PIECE);
    for (int64_t r = 0; r < t->shape[0]; r += rows) {
        const int64_t n = t->shape[0] - r < rows ? t->shape[0] - r : rows;
        VMT_TRY(vmt_check_cancelled(j->ctx));
        load(j, t, r * cols, n * cols);
        VMT_TRY(check_values(j, j->items[i].name, n * cols, VMT_F32));
#ifdef _OPENMP
#pragma omp parallel for num_threads(j->ctx->threads) schedule(static)
#endif
        for (int64_t k = 0; k < n; k++) {
            float most = 0;
            for (int64_t c = 0; c < cols; c++)
                most = fmaxf(most, fabsf(j->values[k * cols + c]));
            factors[r + k] = most;
        }
    }
    for (int64_t r = 1; j->is_scaled && r < t->shape[0]; r++)
        factors[0] = fmaxf(factors[0], factors[r]);
    for (int64_t r = 0; r < (j->is_scaled ? 1 : t->shape[0]); r++)
        factors[r] = factors[r] > 0 ? factors[r] / F8_MAX : 1;
    return VMT_OK;
}

/* Values of elements first … in the output's type. */
static void store(const job *j, const vmt_tensor *to, int64_t first, int64_t count)
{
    const int64_t piece = 4096; /* a multiple of every block */

#ifdef _OPENMP
#pragma omp parallel for num_threads(j->ctx->threads) schedule(static)
#endif
    for (int64_t at = 0; at < count; at += piece) {
        const int64_t n = count - at < piece ? count - at : piece;
        float *x = j->values + at;
        uint16_t *half = (uint16_t *)(void *)j->bytes + at;
        if (to->dtype == VMT_F32) {
            memcpy(j->bytes + (size_t)at * sizeof *x, x, (size_t)n * sizeof *x);
        } else if (to->dtype == VMT_F16) {
            for (int64_t i = 0; i < n; i++)
                half[i] = vmt_f16_of_f32(x[i]);
        } else if (to->dtype == VMT_BF16) {
            for (int64_t i = 0; i < n; i++)
                half[i] = vmt_bf16_of_f32(x[i]);
        } else {
            const float *factors = to->data;
            for (int64_t i = 0; to->dtype == VMT_F8_E4M3 && i < n; i++)
                x[i] /= factors[j->is_scaled ? 0 : (first + at + i) / to->shape[1]];
            vmt_pack(j->bytes +
                         (size_t)(at / vmt_dtype_block(to->dtype)) * vmt_dtype_bytes(to->dtype),
                     to->dtype, x, n);
        }
    }
}

static enum vmt_status write_bytes(job *j, const void *bytes, size_t length)
{
    VMT_TRY(vmt_check_cancelled(j->ctx));
    VMT_TRY(vmt_atomic_file_write(j->ctx, &j->file, bytes, length));
    j->done += length;
    if (j->c->progress && j->c->progress(j->c->user, j->done, j->total) != 0)
        return vmt_fail(j->ctx, VMT_E_CANCELLED, "stopped");
    return VMT_OK;
}

static enum vmt_status write_item(job *j, int64_t i)
{
    const vmt_tensor *to = &j->tensors[i].tensor, *from = j->items[i].source;
    const int64_t count = vmt_numel(to), piece = PIECE;

    if (!from)
        return write_bytes(j, j->tensors[j->items[i].of].tensor.data, vmt_tensor_bytes(to));
    if (!is_plain_float(to->dtype) && !vmt_is_quantised(to->dtype))
        return write_bytes(j, from->data, vmt_tensor_bytes(to));
    for (int64_t first = 0; first < count; first += piece) {
        const int64_t n = count - first < piece ? count - first : piece;
        load(j, from, first, n);
        VMT_TRY(check_values(j, j->items[i].name, n, to->dtype));
        store(j, to, first, n);
        VMT_TRY(write_bytes(j, j->bytes,
                            (size_t)(n / vmt_dtype_block(to->dtype)) * vmt_dtype_bytes(to->dtype)));
    }
    vmt_tensor_file_leave(j->in, from);
    return VMT_OK;
}

/* ---------------------------------------------------------------- files */

static enum vmt_status write_gguf(job *j)
{
    VMT_TRY(vmt_gguf_write_header(j->ctx, &j->file, j->part == DIT ? "wan" : "t5encoder",
                                  j->tensors, j->count, j->meta));
    for (int64_t i = 0; i < j->count; i++) {
        VMT_TRY(write_item(j, i));
        VMT_TRY(vmt_gguf_write_padding(j->ctx, &j->file));
    }
    return VMT_OK;
}

/* Its header says the wide dtypes first, so the data goes in that order, too. */
static enum vmt_status write_safetensors(job *j)
{
    VMT_TRY(vmt_safetensors_write_header(j->ctx, &j->file, j->tensors, j->count, j->meta));
    for (size_t width = 8; width > 0; width /= 2)
        for (int64_t i = 0; i < j->count; i++)
            if (vmt_dtype_bytes(j->tensors[i].tensor.dtype) == width)
                VMT_TRY(write_item(j, i));
    return VMT_OK;
}

static enum vmt_status write_file(job *j)
{
    VMT_TRY(vmt_atomic_file_open(j->ctx, &j->file, j->c->out));
    const enum vmt_status status = j->is_gguf ? write_gguf(j) : write_safetensors(j);
    if (status == VMT_OK)
        return vmt_atomic_file_commit(j->ctx, &j->file);
    vmt_atomic_file_abort(&j->file);
    return status;
}

static enum vmt_status find_part(job *j)
{
    static const char *const marks[] = {"patch_embedding.weight", "encoder.conv1.weight",
                                        "token_embedding.weight"};

    for (int part = 0; part < 3; part++)
        if (vmt_tensor_file_scheme(j->in) && vmt_tensor_file_find(j->in, marks[part])) {
            j->part = (enum part)part;
            if (j->part == TEXT && j->is_scaled)
                return vmt_fail(j->ctx, VMT_E_UNSUPPORTED,
                                "%s: fp8_scaled is for transformers: ComfyUI's text encoders hold "
                                "their tokenizer, too; expected --type fp8",
                                j->c->in);
            if (j->part != VAE || j->dtype == VMT_BF16 || j->dtype == VMT_F16)
                return VMT_OK;
            return vmt_fail(j->ctx, VMT_E_UNSUPPORTED,
                            "%s: the VAE's filters have no form in few bits; expected --type bf16 "
                            "or f16",
                            j->c->in);
        }
    return vmt_fail(j->ctx, VMT_E_MODEL,
                    "%s: its tensors are not those of a transformer, VAE or text encoder",
                    j->c->in);
}

static enum vmt_status run(job *j)
{
    void *memory;

    VMT_TRY(vmt_tensor_file_open(j->ctx, &j->in, j->c->in));
    VMT_TRY(find_part(j));
    VMT_TRY(read_meta(j));
    VMT_TRY(list_items(j));
    VMT_TRY(vmt_alloc(j->ctx, &memory, PIECE, sizeof(float)));
    j->values = memory;
    VMT_TRY(vmt_alloc(j->ctx, &memory, PIECE, sizeof(float)));
    j->bytes = memory;
    for (int64_t i = 0; i < j->count; i++)
        if (j->items[i].source && j->tensors[i].tensor.dtype == VMT_F8_E4M3)
            VMT_TRY(find_factors(j, i));
    return write_file(j);
}

enum vmt_status vmt_convert(vmt_ctx *ctx, const vmt_conversion *conversion)
{
    job j = {.ctx = ctx, .c = conversion};
    size_t type = 0;

    while (type < sizeof TYPES / sizeof *TYPES && strcmp(TYPES[type].name, conversion->type) != 0)
        type++;
    if (type == sizeof TYPES / sizeof *TYPES)
        return vmt_fail(ctx, VMT_E_ARG, "--type is '%.40s', expected " VMT_CONVERT_TYPES,
                        conversion->type);
    j.dtype = TYPES[type].dtype;
    j.is_gguf = TYPES[type].is_gguf;
    j.is_scaled = TYPES[type].is_scaled;
    const enum vmt_status status = run(&j);
    for (int64_t i = 0; i < j.count; i++)
        if (j.items[i].source)
            vmt_free(j.tensors[i].tensor.data);
    vmt_free(j.items);
    vmt_free(j.tensors);
    vmt_free(j.values);
    vmt_free(j.bytes);
    cJSON_free(j.vae_config);
    vmt_tensor_file_close(j.in);
    return status;
}
