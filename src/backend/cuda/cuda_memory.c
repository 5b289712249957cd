/* SPDX-License-Identifier: MIT
 *
 * Memory of the device, transfers and conversions.
 */
#include "backend/cuda/cuda_state.h"

#include <stdlib.h>
#include <string.h>

enum { SCRATCH_STEP = 1 << 20 };

enum vmt_status cuda_fail(vmt_ctx *ctx, const char *op, cudaError_t error)
{
    const enum vmt_status status =
        error == cudaErrorMemoryAllocation ? VMT_E_MEMORY : VMT_E_INTERNAL;
    return vmt_fail(ctx, status, "backend cuda: %s: %s (%s)", op, cudaGetErrorString(error),
                    cudaGetErrorName(error));
}

enum vmt_status cuda_check(vmt_ctx *ctx, const char *op, cudaError_t error)
{
    return error == cudaSuccess ? VMT_OK : cuda_fail(ctx, op, error);
}

void *cuda_alloc(vmt_ctx *ctx, size_t bytes)
{
    void *memory = NULL;

    cuda_blocks_free(cuda_of(ctx));
    if (cudaMalloc(&memory, bytes ? bytes : 1) == cudaSuccess) {
        (void)cuda_taken_bytes(ctx);
        return memory;
    }
    (void)cudaGetLastError(); /* a full memory is told by NULL, and is no fault of the next call */
    return NULL;
}

size_t cuda_free_bytes(vmt_ctx *ctx)
{
    size_t free_bytes = 0, total = 0;

    cuda_blocks_free(cuda_of(ctx));
    return cudaMemGetInfo(&free_bytes, &total) == cudaSuccess ? free_bytes : 0;
}

size_t cuda_taken_bytes(vmt_ctx *ctx)
{
    cuda_state *state = cuda_of(ctx);
    size_t free_bytes = 0, total = 0;

    if (cudaMemGetInfo(&free_bytes, &total) != cudaSuccess || !state->context_bytes)
        return state->taken_most;
    const size_t used = total - free_bytes;
    if (used > state->used_at_opening &&
        used - state->used_at_opening + state->context_bytes > state->taken_most)
        state->taken_most = used - state->used_at_opening + state->context_bytes;
    return state->taken_most;
}

void cuda_release(vmt_ctx *ctx, void *memory)
{
    (void)ctx;
    if (memory)
        cudaFree(memory);
}

static void drop(vmt_ctx *ctx, cuda_buffer *buffer)
{
    cuda_release(ctx, buffer->memory); /* waits for what uses it */
    *buffer = (cuda_buffer){0};
}

void cuda_trim(vmt_ctx *ctx)
{
    cuda_state *state = cuda_of(ctx);

    cuda_blocks_free(state);
    drop(ctx, &state->scratch);
    drop(ctx, &state->tiles);
    drop(ctx, &state->widened);
}

/* Work that still uses the old block was enqueued before; cudaFree waits for it. */
static enum vmt_status grow(vmt_ctx *ctx, cuda_buffer *buffer, size_t bytes, const char *what)
{
    if (bytes <= buffer->bytes && buffer->memory)
        return VMT_OK;
    cuda_release(ctx, buffer->memory);
    buffer->bytes =
        bytes <= SIZE_MAX - SCRATCH_STEP ? (bytes / SCRATCH_STEP + 1) * SCRATCH_STEP : bytes;
    buffer->memory = cuda_alloc(ctx, buffer->bytes);
    if (buffer->memory)
        return VMT_OK;
    buffer->bytes = 0;
    return vmt_fail(ctx, VMT_E_MEMORY, "backend cuda: out of device memory: %zu bytes of %s", bytes,
                    what);
}

enum vmt_status cuda_scratch(vmt_ctx *ctx, void **memory, size_t bytes)
{
    VMT_TRY(grow(ctx, &cuda_of(ctx)->scratch, bytes, "scratch"));
    *memory = cuda_of(ctx)->scratch.memory;
    return VMT_OK;
}

enum vmt_status cuda_tiles(vmt_ctx *ctx, void **memory, size_t bytes)
{
    VMT_TRY(grow(ctx, &cuda_of(ctx)->tiles, bytes, "tiles"));
    *memory = cuda_of(ctx)->tiles.memory;
    return VMT_OK;
}

enum vmt_status cuda_widened(vmt_ctx *ctx, void **memory, size_t bytes)
{
    VMT_TRY(grow(ctx, &cuda_of(ctx)->widened, bytes, "a matrix in few bits"));
    *memory = cuda_of(ctx)->widened.memory;
    return VMT_OK;
}

/* Bytes to the host; the call returns when they are there. */
static enum vmt_status fetch(vmt_ctx *ctx, const char *op, void *to, const void *from, size_t bytes)
{
    cudaError_t error =
        cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToHost, cuda_of(ctx)->stream);
    if (error == cudaSuccess)
        error = cudaStreamSynchronize(cuda_of(ctx)->stream);
    return cuda_check(ctx, op, error);
}

static enum vmt_status convert(vmt_ctx *ctx, const char *op, cuda_view y, cuda_view x,
                               int64_t count)
{
    return cuda_check(ctx, op, cuda_convert(cuda_of(ctx)->stream, y, x, count));
}

enum vmt_status cuda_upload(vmt_ctx *ctx, vmt_tensor *y, const vmt_tensor *host)
{
    return cuda_send(ctx, "upload", cuda_of(ctx)->stream, cuda_view_of(y), host);
}

enum vmt_status cuda_download(vmt_ctx *ctx, vmt_tensor *host, const vmt_tensor *x)
{
    const size_t bytes = vmt_tensor_bytes(host);
    void *raw = NULL;

    if (host->dtype == x->dtype)
        return fetch(ctx, "download", host->data, x->data, bytes);
    VMT_TRY(cuda_scratch(ctx, &raw, bytes));
    VMT_TRY(convert(ctx, "download", (cuda_view){raw, host->dtype}, cuda_view_of(x), vmt_numel(x)));
    return fetch(ctx, "download", host->data, raw, bytes);
}

enum vmt_status cuda_copy(vmt_ctx *ctx, vmt_tensor *y, const vmt_tensor *x)
{
    if (y->dtype != x->dtype)
        return convert(ctx, "copy", cuda_view_of(y), cuda_view_of(x), vmt_numel(y));
    if (y->data == x->data)
        return VMT_OK;
    return cuda_check(ctx, "copy",
                      cudaMemcpyAsync(y->data, x->data, vmt_tensor_bytes(y),
                                      cudaMemcpyDeviceToDevice, cuda_of(ctx)->stream));
}

enum vmt_status cuda_zero(vmt_ctx *ctx, vmt_tensor *y)
{
    return cuda_check(ctx, "zero",
                      cudaMemsetAsync(y->data, 0, vmt_tensor_bytes(y), cuda_of(ctx)->stream));
}

enum vmt_status cuda_all_finite(vmt_ctx *ctx, bool *finite, const vmt_tensor *x)
{
    cuda_state *state = cuda_of(ctx);
    int bad = 1;
    vmt_tensor flag = vmt_tensor_over(state->bad, VMT_I32, VMT_SHAPE(1));

    VMT_TRY(cuda_zero(ctx, &flag));
    VMT_TRY(cuda_mark_bad(ctx, &flag, x));
    VMT_TRY(fetch(ctx, "all_finite", &bad, state->bad, sizeof bad));
    *finite = !bad;
    return VMT_OK;
}

enum vmt_status cuda_mark_bad(vmt_ctx *ctx, vmt_tensor *flag, const vmt_tensor *x)
{
    return cuda_check(
        ctx, "mark_bad",
        cuda_find_bad(cuda_of(ctx)->stream, flag->data, cuda_view_of(x), vmt_numel(x)));
}

enum vmt_status cuda_wait(vmt_ctx *ctx)
{
    return cuda_check(ctx, "wait", cudaStreamSynchronize(cuda_of(ctx)->stream));
}
