/* SPDX-License-Identifier: MIT
 *
 * Memory, conversion between dtypes, scratch.
 */
#include "backend/ref/ref.h"
#include "base/quant.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum { LARGE_PAGE = 2 << 20, LARGE = 4 << 20 };

/* Memory of many MiB in pages of 2 MiB where the system has them: a hundredth of the page faults.
 */
static void *alloc_large(size_t bytes)
{
    const size_t mask = LARGE_PAGE - 1;
    void *memory = aligned_alloc(LARGE_PAGE, (bytes + mask) & ~mask);
#ifdef MADV_HUGEPAGE
    if (memory)
        madvise(memory, bytes & ~mask, MADV_HUGEPAGE); /* not what lies behind the last whole one */
#endif
    return memory;
}

void *REF(alloc)(vmt_ctx *ctx, size_t bytes)
{
    const size_t mask = VMT_ARENA_ALIGN - 1;
    (void)ctx;
    if (bytes > SIZE_MAX - LARGE_PAGE)
        return NULL;
    if (bytes >= LARGE)
        return alloc_large(bytes);
    return aligned_alloc(VMT_ARENA_ALIGN, bytes ? (bytes + mask) & ~mask : VMT_ARENA_ALIGN);
}

void REF(release)(vmt_ctx *ctx, void *memory)
{
    (void)ctx;
    free(memory);
}

void REF(close)(vmt_ctx *ctx)
{
    vmt_host_state *state = ctx->backend;
    if (state) {
        free(state->scratch.memory);
        free(state->tiles.memory);
    }
    free(state);
    ctx->backend = NULL;
}

void REF(trim)(vmt_ctx *ctx)
{
    vmt_host_state *state = ctx->backend;
    vmt_ref_scratch *const all[] = {&state->scratch, &state->tiles};

    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        free(all[i]->memory);
        *all[i] = (vmt_ref_scratch){0};
    }
}

enum vmt_status REF(scratch)(vmt_ctx *ctx, int64_t shared, int64_t own, real **shared_first,
                             real **own_first)
{
    vmt_ref_scratch *scratch = &((vmt_host_state *)ctx->backend)->scratch;
    size_t reals, bytes;

    if (!vmt_mul_size((size_t)own, (size_t)ctx->threads, &reals) ||
        !vmt_add_size(reals, (size_t)shared, &reals) || !vmt_mul_size(reals, sizeof(real), &bytes))
        bytes = SIZE_MAX;
    if (bytes > scratch->bytes || !scratch->memory) {
        free(scratch->memory);
        scratch->bytes = bytes;
        scratch->memory = REF(alloc)(ctx, bytes);
        if (!scratch->memory) {
            scratch->bytes = 0;
            return vmt_fail(ctx, VMT_E_MEMORY, "backend %s: out of memory: %zu bytes of scratch",
                            ctx->ops->name, bytes);
        }
    }
    if (shared_first)
        *shared_first = scratch->memory;
    if (own_first)
        *own_first = (real *)scratch->memory + shared;
    return VMT_OK;
}

const real *REF(load)(const vmt_tensor *t, int64_t first, int64_t count, real *buffer)
{
    if (t->dtype == VMT_REAL)
        return (const real *)t->data + first;
    if (t->dtype == VMT_F32) {
        const float *x = (const float *)t->data + first;
        for (int64_t i = 0; i < count; i++)
            buffer[i] = (real)x[i];
    } else if (t->dtype == VMT_F64) {
        const double *x = (const double *)t->data + first;
        for (int64_t i = 0; i < count; i++)
            buffer[i] = (real)x[i];
    } else if (t->dtype == VMT_BF16) {
        const uint16_t *x = (const uint16_t *)t->data + first;
        for (int64_t i = 0; i < count; i++)
            buffer[i] = (real)vmt_f32_of_bf16(x[i]);
    } else if (t->dtype == VMT_F16) {
        const uint16_t *x = (const uint16_t *)t->data + first;
        for (int64_t i = 0; i < count; i++)
            buffer[i] = (real)vmt_f32_of_f16(x[i]);
    } else {
        float values[VMT_QUANT_BLOCK];
        for (int64_t i = 0, n; i < count; i += n) {
            n = ref_min(VMT_QUANT_BLOCK - (first + i) % VMT_QUANT_BLOCK, count - i);
            vmt_tensor_unpack(values, t, first + i, n);
            for (int64_t j = 0; j < n; j++)
                buffer[i + j] = (real)values[j];
        }
    }
    return buffer;
}

void REF(store)(vmt_tensor *t, int64_t first, int64_t count, const real *values)
{
    if (t->dtype == VMT_REAL) {
        real *y = (real *)t->data + first;
        if (y != values)
            memmove(y, values, (size_t)count * sizeof(real));
    } else if (t->dtype == VMT_F32) {
        float *y = (float *)t->data + first;
        for (int64_t i = 0; i < count; i++)
            y[i] = (float)values[i];
    } else if (t->dtype == VMT_F64) {
        double *y = (double *)t->data + first;
        for (int64_t i = 0; i < count; i++)
            y[i] = (double)values[i];
    } else if (t->dtype == VMT_BF16) {
        uint16_t *y = (uint16_t *)t->data + first;
        for (int64_t i = 0; i < count; i++)
            y[i] = vmt_bf16_of_f32((float)values[i]);
    } else {
        uint16_t *y = (uint16_t *)t->data + first;
        for (int64_t i = 0; i < count; i++)
            y[i] = vmt_f16_of_f32((float)values[i]);
    }
}

void REF(load_matrix)(real *plain, real *transposed, const vmt_tensor *x, int64_t rows,
                      int64_t cols, int64_t stride, int64_t first)
{
    for (int64_t r = 0; r < rows; r++)
        for (int64_t c = 0; c < cols;) {
            real buffer[64];
            const int64_t n = ref_min(64, cols - c);
            const real *part = REF(load)(x, first + r * stride + c, n, buffer);
            for (int64_t i = 0; i < n; i++, c++) {
                if (plain)
                    plain[r * cols + c] = part[i];
                if (transposed)
                    transposed[c * rows + r] = part[i];
            }
        }
}

/* y = x, converted to y's dtype.   Equal shapes; equal dtypes of any kind are copied as bytes. */
enum vmt_status REF(upload)(vmt_ctx *ctx, vmt_tensor *y, const vmt_tensor *host)
{
    enum { CHUNK = 1024 };
    const int64_t count = vmt_numel(host);

    if (y->dtype == host->dtype) {
        memmove(y->data, host->data, vmt_tensor_bytes(y));
        return VMT_OK;
    }
    REF_PARALLEL_FOR(ctx)
    for (int64_t first = 0; first < count; first += CHUNK) {
        real buffer[CHUNK];
        const int64_t n = ref_min(CHUNK, count - first);
        REF(store)(y, first, n, REF(load)(host, first, n, buffer));
    }
    return VMT_OK;
}

enum vmt_status REF(spill_out)(vmt_ctx *ctx, void *host, const vmt_tensor *x, int ticket)
{
    (void)ctx, (void)ticket;
    memcpy(host, x->data, vmt_tensor_bytes(x));
    return VMT_OK;
}

enum vmt_status REF(spill_back)(vmt_ctx *ctx, vmt_tensor *x, const void *host, int ticket)
{
    (void)ctx, (void)ticket;
    memcpy(x->data, host, vmt_tensor_bytes(x));
    return VMT_OK;
}

enum vmt_status REF(zero)(vmt_ctx *ctx, vmt_tensor *y)
{
    (void)ctx;
    memset(y->data, 0, vmt_tensor_bytes(y));
    return VMT_OK;
}

enum vmt_status REF(all_finite)(vmt_ctx *ctx, bool *finite, const vmt_tensor *x)
{
    enum { CHUNK = 1024 };
    const int64_t count = vmt_numel(x);
    int bad = 0;

#ifdef _OPENMP
#pragma omp parallel for num_threads(ctx->threads) schedule(static) reduction(| : bad)
#endif
    for (int64_t first = 0; first < count; first += CHUNK) {
        real buffer[CHUNK];
        const int64_t n = ref_min(CHUNK, count - first);
        const real *values = REF(load)(x, first, n, buffer);
        for (int64_t i = 0; i < n; i++)
            bad |= !isfinite(values[i]);
    }
    *finite = !bad;
    (void)ctx;
    return VMT_OK;
}

enum vmt_status REF(mark_bad)(vmt_ctx *ctx, vmt_tensor *flag, const vmt_tensor *x)
{
    bool finite;

    VMT_TRY(REF(all_finite)(ctx, &finite, x));
    if (!finite)
        *(int32_t *)flag->data = 1;
    return VMT_OK;
}
