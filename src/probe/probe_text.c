/* SPDX-License-Identifier: MIT
 *
 * Case kind "umt5": for each in.ids{SUFFIX} [1, L] with in.mask{SUFFIX} the rows
 * out.prompt{SUFFIX}, zero after the real tokens; out.unmasked: in.ids without its mask;
 * out.bucket: the bucket of each distance from -(n/2) to n/2, n = 1198.
 */
#include "probe/probe.h"

#include "text/umt5.h"

#include <stdio.h>
#include <string.h>

enum { BUCKET_REACH = 599, MAX_IDS = 4096 };

/* Rows of the first `count` ids, zeros up to the length of the input. */
static enum vmt_status emit_rows(vmt_ctx *ctx, vmt_probe_case *c, vmt_umt5 *umt5,
                                 const vmt_text_config *config, const vmt_tensor *ids,
                                 int64_t count, const char *name)
{
    const int64_t length = ids->shape[1];
    const int64_t *wide = ids->data;
    int32_t narrow[MAX_IDS];
    float *rows;

    if (ids->shape[0] != 1 || length > MAX_IDS)
        return vmt_fail(ctx, VMT_E_FORMAT, "%s: one row of at most %d ids", name, MAX_IDS);
    for (int64_t i = 0; i < count; i++) {
        if (wide[i] < 0 || wide[i] >= config->vocab)
            return vmt_fail(ctx, VMT_E_FORMAT, "%s: an id outside the vocabulary", name);
        narrow[i] = (int32_t)wide[i];
    }
    VMT_TRY(vmt_alloc(ctx, (void **)&rows, (size_t)(length * config->dim), sizeof *rows));
    enum vmt_status status = count ? vmt_umt5_encode(ctx, umt5, rows, narrow, count) : VMT_OK;
    const vmt_tensor host = vmt_tensor_over(rows, VMT_F32, VMT_SHAPE(1, length, config->dim));
    if (status == VMT_OK)
        status = vmt_probe_emit_host(ctx, c, &host, "%s", name);
    vmt_free(rows);
    return status;
}

/* Real tokens come first: the mask's ones. */
static enum vmt_status count_real(vmt_ctx *ctx, const vmt_tensor *mask, const vmt_tensor *ids,
                                  int64_t *count)
{
    const int64_t *values = mask->data;
    const int64_t length = vmt_numel(mask);

    if (!vmt_same_shape(mask, ids))
        return vmt_fail(ctx, VMT_E_FORMAT, "mask and ids differ in shape");
    for (*count = 0; *count < length && values[*count] == 1;)
        ++*count;
    for (int64_t i = *count; i < length; i++)
        if (values[i])
            return vmt_fail(ctx, VMT_E_FORMAT, "a mask with ones after a zero");
    return VMT_OK;
}

static enum vmt_status run_input(vmt_ctx *ctx, vmt_probe_case *c, vmt_umt5 *umt5,
                                 const vmt_text_config *config, const char *suffix)
{
    char ids_name[64], mask_name[64], out[64];
    const vmt_tensor *ids, *mask;
    int64_t count = 0;

    snprintf(ids_name, sizeof ids_name, "ids%s", suffix);
    snprintf(mask_name, sizeof mask_name, "mask%s", suffix);
    snprintf(out, sizeof out, "out.prompt%s", suffix);
    VMT_TRY(vmt_probe_input(ctx, c, ids_name, VMT_I64, 2, &ids));
    VMT_TRY(vmt_probe_input(ctx, c, mask_name, VMT_I64, 2, &mask));
    VMT_TRY(count_real(ctx, mask, ids, &count));
    VMT_TRY(emit_rows(ctx, c, umt5, config, ids, count, out));
    if (*suffix)
        return VMT_OK;
    return emit_rows(ctx, c, umt5, config, ids, ids->shape[1], "out.unmasked");
}

static enum vmt_status emit_buckets(vmt_ctx *ctx, vmt_probe_case *c, const vmt_text_config *config)
{
    int64_t buckets[2 * BUCKET_REACH + 1];
    const vmt_tensor host = vmt_tensor_over(buckets, VMT_I64, VMT_SHAPE(2 * BUCKET_REACH + 1));

    for (int64_t d = -BUCKET_REACH; d <= BUCKET_REACH; d++)
        buckets[d + BUCKET_REACH] = vmt_umt5_bucket(config, d);
    return vmt_probe_emit_host(ctx, c, &host, "out.bucket");
}

static enum vmt_status run(vmt_ctx *ctx, vmt_probe_case *c, vmt_umt5 *umt5,
                           const vmt_text_config *config)
{
    for (int64_t i = 0; i < vmt_tensor_file_count(c->file); i++) {
        const char *name = vmt_tensor_file_name(c->file, i);
        if (!strncmp(name, "in.ids", 6))
            VMT_TRY(run_input(ctx, c, umt5, config, name + 6));
    }
    return emit_buckets(ctx, c, config);
}

enum vmt_status vmt_probe_umt5(vmt_ctx *ctx, vmt_probe_case *c)
{
    vmt_tensor_file *weights = NULL;
    vmt_text_config config;
    vmt_umt5 *umt5 = NULL;
    enum vmt_status status = vmt_probe_weights(ctx, c, "weights", &weights);

    if (status == VMT_OK)
        status = vmt_text_config_read(ctx, &config, NULL, weights);
    if (status == VMT_OK)
        status = vmt_umt5_open(ctx, &umt5, weights, &config);
    if (status == VMT_OK)
        status = run(ctx, c, umt5, &config);
    vmt_umt5_close(ctx, umt5);
    vmt_tensor_file_close(weights);
    return status;
}
