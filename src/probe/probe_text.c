/* SPDX-License-Identifier: MIT
 *
 * Case kind "umt5": the text encoder.
 *   in.idsS, in.maskS [batch, tokens] I64 (or I32), for any suffix S ("", "_long", …); mask: ones,
 *   then zeros; without it every token is real
 *   out.promptS [batch, tokens, dim]: rows of the real tokens, then zeros; out.unmasked: the rows
 *   of in.ids with every token real; out.bucket [1199] I64: position buckets of -599..599
 */
#include "probe/probe.h"

#include "text/umt5.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { BUCKET_SPAN = 599 };

typedef struct text_case {
    vmt_probe_case *c;
    vmt_umt5 *umt5;
    int64_t dim, batch, tokens;
    int32_t *ids;                 /* [batch, tokens] */
    float *rows;                  /* [batch, tokens, dim] */
    vmt_umt5_sequence *sequences; /* [batch]; those with tokens only */
} text_case;

/* Integers of rank 2. */
static enum vmt_status check_integers(vmt_ctx *ctx, const text_case *t, const vmt_tensor *input,
                                      const char *name)
{
    if (input->rank == 2 && (input->dtype == VMT_I64 || input->dtype == VMT_I32))
        return VMT_OK;
    return vmt_fail(ctx, VMT_E_FORMAT, "%s: %s is %s of rank %d, expected I64 of rank 2",
                    vmt_tensor_file_path(t->c->file), name, vmt_dtype_name(input->dtype),
                    input->rank);
}

/* Files are mapped unaligned to 8 bytes at worst. */
static int64_t integer_at(const vmt_tensor *input, int64_t i)
{
    int64_t wide;
    int32_t narrow;
    if (input->dtype == VMT_I64) {
        memcpy(&wide, (const char *)input->data + 8 * i, sizeof wide);
        return wide;
    }
    memcpy(&narrow, (const char *)input->data + 4 * i, sizeof narrow);
    return narrow;
}

/* *count: ones at the front of row b. */
static enum vmt_status count_real(vmt_ctx *ctx, const text_case *t, const vmt_tensor *mask,
                                  int64_t b, int64_t *count)
{
    *count = 0;
    for (int64_t i = 0; i < t->tokens; i++) {
        const int64_t real = mask ? integer_at(mask, b * t->tokens + i) : 1;
        if ((real != 0 && real != 1) || (real == 1 && *count != i))
            return vmt_fail(ctx, VMT_E_FORMAT,
                            "%s: the mask of row %" PRId64 " is not ones followed by zeros",
                            vmt_tensor_file_path(t->c->file), b);
        *count += real;
    }
    return VMT_OK;
}

static enum vmt_status add_row(vmt_ctx *ctx, text_case *t, const vmt_tensor *ids,
                               const vmt_tensor *mask, int64_t b, int64_t *sequences)
{
    int64_t count;
    VMT_TRY(count_real(ctx, t, mask, b, &count));
    int32_t *row = t->ids + b * t->tokens;
    for (int64_t i = 0; i < count; i++) {
        const int64_t id = integer_at(ids, b * t->tokens + i);
        if (id < 0 || id >= vmt_umt5_get_config(t->umt5)->vocab)
            return vmt_fail(ctx, VMT_E_FORMAT, "%s: token id %" PRId64 " of row %" PRId64,
                            vmt_tensor_file_path(t->c->file), id, b);
        row[i] = (int32_t)id;
    }
    if (count)
        t->sequences[(*sequences)++] =
            (vmt_umt5_sequence){row, count, t->rows + b * t->tokens * t->dim};
    return VMT_OK;
}

static enum vmt_status run_rows(vmt_ctx *ctx, text_case *t, const vmt_tensor *ids,
                                const vmt_tensor *mask, const char *name, const char *suffix)
{
    const vmt_tensor out =
        vmt_tensor_over(t->rows, VMT_F32, VMT_SHAPE(t->batch, t->tokens, t->dim));
    int64_t sequences = 0;
    memset(t->rows, 0, vmt_tensor_bytes(&out));
    for (int64_t b = 0; b < t->batch; b++)
        VMT_TRY(add_row(ctx, t, ids, mask, b, &sequences));
    if (sequences)
        VMT_TRY(vmt_umt5_encode(ctx, t->umt5, t->sequences, sequences, NULL, NULL));
    return vmt_probe_emit_host(ctx, t->c, &out, "out.%s%s", name, suffix);
}

static enum vmt_status alloc_rows(vmt_ctx *ctx, text_case *t)
{
    void *ids, *rows, *sequences;
    size_t values;
    if (!vmt_mul_size((size_t)(t->batch * t->tokens), (size_t)t->dim, &values))
        return vmt_fail(ctx, VMT_E_MEMORY, "text rows larger than memory can be");
    VMT_TRY(vmt_alloc(ctx, &ids, (size_t)(t->batch * t->tokens), sizeof *t->ids));
    t->ids = ids;
    VMT_TRY(vmt_alloc(ctx, &rows, values, sizeof *t->rows));
    t->rows = rows;
    VMT_TRY(vmt_alloc(ctx, &sequences, (size_t)t->batch, sizeof *t->sequences));
    t->sequences = sequences;
    return VMT_OK;
}

static void free_rows(text_case *t)
{
    vmt_free(t->ids);
    vmt_free(t->rows);
    vmt_free(t->sequences);
    t->ids = NULL;
    t->rows = NULL;
    t->sequences = NULL;
}

/* One pair in.idsS, in.maskS. */
static enum vmt_status run_pair(vmt_ctx *ctx, text_case *t, const char *suffix)
{
    const vmt_tensor_file *file = t->c->file;
    char name[2][VMT_TENSOR_NAME_BYTES];
    snprintf(name[0], sizeof name[0], "in.ids%s", suffix);
    snprintf(name[1], sizeof name[1], "in.mask%s", suffix);
    const vmt_tensor *ids = vmt_tensor_file_find(file, name[0]);
    const vmt_tensor *mask = vmt_tensor_file_find(file, name[1]);
    VMT_TRY(check_integers(ctx, t, ids, name[0]));
    if (mask) {
        VMT_TRY(check_integers(ctx, t, mask, name[1]));
        if (!vmt_same_shape(ids, mask))
            return vmt_fail(ctx, VMT_E_FORMAT, "%s: %s and %s have different shapes",
                            vmt_tensor_file_path(file), name[0], name[1]);
    }
    t->batch = ids->shape[0];
    t->tokens = ids->shape[1];
    enum vmt_status status = alloc_rows(ctx, t);
    if (status == VMT_OK)
        status = run_rows(ctx, t, ids, mask, "prompt", suffix);
    if (status == VMT_OK && *suffix == '\0')
        status = run_rows(ctx, t, ids, NULL, "unmasked", "");
    free_rows(t);
    return status;
}

static enum vmt_status emit_buckets(vmt_ctx *ctx, const text_case *t)
{
    int32_t buckets[2 * BUCKET_SPAN + 1];
    for (int distance = -BUCKET_SPAN; distance <= BUCKET_SPAN; distance++)
        buckets[distance + BUCKET_SPAN] =
            (int32_t)vmt_umt5_bucket(vmt_umt5_get_config(t->umt5), distance);
    const vmt_tensor host = vmt_tensor_over(buckets, VMT_I32, VMT_SHAPE(2 * BUCKET_SPAN + 1));
    return vmt_probe_emit_host(ctx, t->c, &host, "out.bucket");
}

static enum vmt_status run_case(vmt_ctx *ctx, text_case *t)
{
    static const char prefix[] = "in.ids";
    const vmt_tensor_file *file = t->c->file;
    t->dim = vmt_umt5_get_config(t->umt5)->dim;
    for (int64_t i = 0; i < vmt_tensor_file_count(file); i++) {
        const char *name = vmt_tensor_file_name(file, i);
        if (strncmp(name, prefix, sizeof prefix - 1) == 0)
            VMT_TRY(run_pair(ctx, t, name + sizeof prefix - 1));
    }
    return emit_buckets(ctx, t);
}

enum vmt_status vmt_probe_umt5(vmt_ctx *ctx, vmt_probe_case *c)
{
    text_case t = {.c = c};
    vmt_text_config config;
    vmt_tensor_file *weights = NULL;
    vmt_config_file *file = NULL;
    VMT_TRY(vmt_probe_weights(ctx, c, "weights", &weights));
    enum vmt_status status = vmt_probe_config(ctx, c, &file);
    if (status == VMT_OK)
        status = vmt_text_config_read(ctx, &config, file, weights);
    vmt_config_file_close(file);
    if (status == VMT_OK)
        status = vmt_umt5_open(ctx, &t.umt5, weights, &config);
    if (status == VMT_OK)
        status = run_case(ctx, &t);
    vmt_umt5_close(ctx, t.umt5);
    vmt_tensor_file_close(weights);
    return status;
}
