/* SPDX-License-Identifier: MIT */
#include "tensor/tensor.h"

#include "base/quant.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

size_t vmt_dtype_bytes(enum vmt_dtype dtype)
{
    switch (dtype) {
    case VMT_F64:
    case VMT_I64:
        return 8;
    case VMT_F32:
    case VMT_I32:
        return 4;
    case VMT_F16:
    case VMT_BF16:
        return 2;
    case VMT_U8:
        return 1;
    case VMT_F8_E4M3:
    case VMT_Q8_0:
    case VMT_Q4_0:
    case VMT_Q4_K:
    case VMT_Q5_K:
    case VMT_Q6_K:
        return vmt_quant_bytes(dtype);
    }
    return 0;
}

int64_t vmt_dtype_block(enum vmt_dtype dtype)
{
    return vmt_quant_elements(dtype);
}

const char *vmt_dtype_name(enum vmt_dtype dtype)
{
    switch (dtype) {
    case VMT_F64:
        return "F64";
    case VMT_I64:
        return "I64";
    case VMT_F32:
        return "F32";
    case VMT_I32:
        return "I32";
    case VMT_F16:
        return "F16";
    case VMT_BF16:
        return "BF16";
    case VMT_U8:
        return "U8";
    case VMT_F8_E4M3:
        return "F8_E4M3";
    case VMT_Q8_0:
        return "Q8_0";
    case VMT_Q4_0:
        return "Q4_0";
    case VMT_Q4_K:
        return "Q4_K";
    case VMT_Q5_K:
        return "Q5_K";
    case VMT_Q6_K:
        return "Q6_K";
    }
    return "unknown";
}

int64_t vmt_numel(const vmt_tensor *t)
{
    int64_t count = 1;
    for (int i = 0; i < t->rank; i++)
        count *= t->shape[i];
    return count;
}

size_t vmt_tensor_bytes(const vmt_tensor *t)
{
    return (size_t)(vmt_numel(t) / vmt_dtype_block(t->dtype)) * vmt_dtype_bytes(t->dtype);
}

bool vmt_same_shape(const vmt_tensor *a, const vmt_tensor *b)
{
    if (a->rank != b->rank)
        return false;
    for (int i = 0; i < a->rank; i++)
        if (a->shape[i] != b->shape[i])
            return false;
    return true;
}

char *vmt_shape_text(const vmt_tensor *t, char *text)
{
    enum { TEXT_BYTES = 128 }; /* five axes of 20 digits, four signs between, NUL: 105 */
    int used = 0;

    if (t->rank == 0)
        return strcpy(text, "scalar");
    for (int i = 0; i < t->rank; i++)
        used += snprintf(text + used, (size_t)(TEXT_BYTES - used), "%s%" PRId64, i ? "x" : "",
                         t->shape[i]);
    return text;
}

vmt_tensor vmt_tensor_over(void *data, enum vmt_dtype dtype, int rank, const int64_t *shape)
{
    vmt_tensor t = {.data = data, .dtype = dtype, .rank = rank};

    assert(rank >= 0 && rank <= VMT_MAX_RANK);
    for (int i = 0; i < VMT_MAX_RANK; i++)
        t.shape[i] = i < rank ? shape[i] : 1;
    return t;
}

void vmt_tensor_unpack(float *y, const vmt_tensor *t, int64_t first, int64_t count)
{
    const int64_t part = t->scale ? vmt_numel(t) / t->scales : 0; /* elements of one factor */

    vmt_unpack(y, t->dtype, t->data, first, count);
    for (int64_t i = 0, n; t->scale && i < count; i += n) {
        const float factor = t->scale[(first + i) / part];
        n = part - (first + i) % part;
        n = n < count - i ? n : count - i;
        for (int64_t j = 0; j < n; j++)
            y[i + j] *= factor;
    }
}

vmt_tensor vmt_reshape(const vmt_tensor *t, int rank, const int64_t *shape)
{
    vmt_tensor other = vmt_tensor_over(t->data, t->dtype, rank, shape);
    other.scale = t->scale;
    other.scales = t->scales;
    assert(vmt_numel(&other) == vmt_numel(t));
    return other;
}

/* Where entry i of axis 0 begins; NULL (measured arenas' tensors may be anything) stays NULL. */
static void *entry_address(const vmt_tensor *t, int64_t i)
{
    int64_t elements = i;
    for (int axis = 1; axis < t->rank; axis++)
        elements *= t->shape[axis];
    const size_t bytes = (size_t)(elements / vmt_dtype_block(t->dtype)) * vmt_dtype_bytes(t->dtype);
    return t->data ? (unsigned char *)t->data + bytes : NULL;
}

vmt_tensor vmt_slice(const vmt_tensor *t, int64_t first, int64_t count)
{
    vmt_tensor part = *t;
    assert(t->rank >= 1 && first >= 0 && count >= 0 && first <= t->shape[0] - count);
    part.data = entry_address(t, first);
    part.shape[0] = count;
    if (t->scale && t->scales > 1) {
        part.scale = t->scale + first;
        part.scales = count;
    }
    return part;
}

vmt_tensor vmt_index(const vmt_tensor *t, int64_t i)
{
    assert(t->rank >= 1 && i >= 0 && i < t->shape[0]);
    return vmt_tensor_over(entry_address(t, i), t->dtype, t->rank - 1, t->shape + 1);
}

enum vmt_status vmt_take(vmt_ctx *ctx, vmt_arena *arena, vmt_tensor *t, enum vmt_dtype dtype,
                         int rank, const int64_t *shape)
{
    size_t bytes = vmt_dtype_bytes(dtype);
    char text[128];

    *t = vmt_tensor_over(NULL, dtype, rank, shape);
    for (int i = 0; i < rank; i++)
        if (shape[i] < 0 || !vmt_mul_size(bytes, (size_t)shape[i], &bytes) || bytes > INT64_MAX)
            return vmt_fail(ctx, VMT_E_MEMORY, "a tensor %s %s is larger than memory can be",
                            vmt_shape_text(t, text), vmt_dtype_name(dtype));
    t->data = vmt_arena_take(arena, bytes);
    if (!t->data)
        return vmt_fail(
            ctx, VMT_E_MEMORY, "arena full: tensor %s %s needs %zu bytes, %zu of %zu are used",
            vmt_shape_text(t, text), vmt_dtype_name(dtype), bytes, arena->used, arena->capacity);
    return VMT_OK;
}

enum vmt_status vmt_arena_open(vmt_ctx *ctx, vmt_arena *arena, size_t bytes)
{
    *arena = (vmt_arena){.base = ctx->ops->alloc(ctx, bytes), .capacity = bytes};
    if (!arena->base)
        return vmt_fail(ctx, VMT_E_MEMORY, "out of memory: %zu bytes for an arena of backend %s",
                        bytes, ctx->ops->name);
    return VMT_OK;
}

void vmt_arena_close(vmt_ctx *ctx, vmt_arena *arena)
{
    if (arena->base)
        ctx->ops->release(ctx, arena->base);
    *arena = (vmt_arena){0};
}

enum vmt_status vmt_require_finite(vmt_ctx *ctx, const vmt_tensor *t, const char *where)
{
    bool finite = false;
    char text[128];

    VMT_TRY(vmt_all_finite(ctx, &finite, t));
    if (!finite)
        return vmt_fail(ctx, VMT_E_NUMERIC, "%s: NaN or infinity in a tensor %s %s", where,
                        vmt_shape_text(t, text), vmt_dtype_name(t->dtype));
    return VMT_OK;
}

enum vmt_status vmt_mark_stage(vmt_ctx *ctx, const vmt_tensor *marks, int64_t stage,
                               const vmt_tensor *x)
{
    vmt_tensor flag = vmt_slice(marks, stage, 1);

    return vmt_mark_bad(ctx, &flag, x);
}

enum vmt_status vmt_first_marked(vmt_ctx *ctx, const vmt_tensor *marks, int64_t *stage)
{
    vmt_tensor host = *marks;

    VMT_TRY(vmt_alloc(ctx, &host.data, (size_t)marks->shape[0], sizeof(int32_t)));
    const enum vmt_status status = vmt_download(ctx, &host, marks);
    for (*stage = 0; *stage < marks->shape[0] && !((const int32_t *)host.data)[*stage];)
        ++*stage;
    vmt_free(host.data);
    return status;
}

int64_t vmt_flow_tiles(const vmt_flow_geometry *g)
{
    return (g->grid_h + g->tile_h - 1) / g->tile_h * ((g->grid_w + g->tile_w - 1) / g->tile_w);
}
