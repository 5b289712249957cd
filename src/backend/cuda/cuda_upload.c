/* SPDX-License-Identifier: MIT
 *
 * Bytes from the host to the device and back through pinned memory, so that neither side waits for
 * the other: an upload returns once its bytes are copied aside, a download is begun and ended.
 * Weights go through a stream of their own, beside what computes.
 */
#include "backend/cuda/cuda_state.h"

#include <string.h>

enum {
    LEAST_BYTES = 1 << 20,
    SLICE_BYTES = 1 << 19, /* that a thread copies at a time */
    MOST_THREADS = 8,
    UPLOAD_BYTES = 16 << 20,
    CONVERT_BYTES = 4 << 20
};

/* Makes the stage's memory free to be written, and of `bytes` at least. */
static enum vmt_status stage_ready(vmt_ctx *ctx, const char *op, cuda_stage *stage, size_t bytes)
{
    if (!stage->event)
        VMT_TRY(
            cuda_check(ctx, op, cudaEventCreateWithFlags(&stage->event, cudaEventDisableTiming)));
    VMT_TRY(cuda_check(ctx, op, cudaEventSynchronize(stage->event)));
    if (bytes <= stage->bytes)
        return VMT_OK;
    if (stage->memory)
        cudaFreeHost(stage->memory);
    stage->memory = NULL;
    stage->bytes = 0;
    size_t room = LEAST_BYTES;
    while (room < bytes && room <= SIZE_MAX / 2)
        room *= 2;
    VMT_TRY(cuda_check(ctx, op, cudaHostAlloc(&stage->memory, room, cudaHostAllocDefault)));
    stage->bytes = room;
    return VMT_OK;
}

void cuda_stages_close(cuda_state *state)
{
    for (int i = 0; i < CUDA_STAGES; i++) {
        cuda_stage *const both[2] = {&state->uploads[i], &state->downloads[i]};
        for (int j = 0; j < 2; j++) {
            if (both[j]->raw)
                cudaFree(both[j]->raw);
            if (both[j]->event)
                cudaEventDestroy(both[j]->event);
            if (both[j]->memory)
                cudaFreeHost(both[j]->memory);
        }
    }
}

/* Pages of a mapped file come in while they are copied: one thread would be slower than the bus. */
static void copy_aside(const vmt_ctx *ctx, void *to, const void *from, size_t bytes)
{
    const int64_t slices = (int64_t)((bytes + SLICE_BYTES - 1) / SLICE_BYTES);

#ifdef _OPENMP
    const int most = ctx->threads < MOST_THREADS ? ctx->threads : MOST_THREADS;
#pragma omp parallel for num_threads(most) schedule(static) if (slices > 1)
#else
    (void)ctx;
#endif
    for (int64_t i = 0; i < slices; i++) {
        const size_t at = (size_t)i * SLICE_BYTES;
        memcpy((unsigned char *)to + at, (const unsigned char *)from + at,
               bytes - at < SLICE_BYTES ? bytes - at : SLICE_BYTES);
    }
}

/* One piece through a stage; where dtypes differ, the device converts it out of stage->raw. */
static enum vmt_status send_piece(vmt_ctx *ctx, const char *op, cudaStream_t stream, cuda_view to,
                                  cuda_view from, int64_t count)
{
    cuda_state *state = cuda_of(ctx);
    const size_t bytes = (size_t)count * vmt_dtype_bytes(from.dtype);
    const bool converts = to.dtype != from.dtype;
    cuda_stage *stage = &state->uploads[state->next_upload];

    state->next_upload = (state->next_upload + 1) % CUDA_STAGES;
    VMT_TRY(stage_ready(ctx, op, stage, bytes));
    if (converts && !stage->raw) {
        stage->raw = cuda_alloc(ctx, CONVERT_BYTES);
        if (!stage->raw)
            return vmt_fail(ctx, VMT_E_MEMORY,
                            "backend cuda: out of device memory: %d bytes for an upload",
                            CONVERT_BYTES);
    }
    copy_aside(ctx, stage->memory, from.data, bytes);
    VMT_TRY(cuda_check(ctx, op,
                       cudaMemcpyAsync(converts ? stage->raw : to.data, stage->memory, bytes,
                                       cudaMemcpyHostToDevice, stream)));
    if (converts)
        VMT_TRY(cuda_check(ctx, op,
                           cuda_convert(stream, to, (cuda_view){stage->raw, from.dtype}, count)));
    return cuda_check(ctx, op, cudaEventRecord(stage->event, stream));
}

enum vmt_status cuda_send(vmt_ctx *ctx, const char *op, cudaStream_t stream, cuda_view to,
                          const vmt_tensor *host)
{
    const size_t item = vmt_dtype_bytes(host->dtype), to_item = vmt_dtype_bytes(to.dtype);
    const int64_t piece =
        (int64_t)((to.dtype == host->dtype ? UPLOAD_BYTES : CONVERT_BYTES) / item);
    const int64_t count = vmt_numel(host);

    for (int64_t at = 0; at < count; at += piece) {
        const cuda_view part = {(unsigned char *)to.data + (size_t)at * to_item, to.dtype};
        const cuda_view from = {(unsigned char *)host->data + (size_t)at * item, host->dtype};
        VMT_TRY(send_piece(ctx, op, stream, part, from, count - at < piece ? count - at : piece));
    }
    return VMT_OK;
}

enum vmt_status cuda_download_begin(vmt_ctx *ctx, vmt_tensor *host, const vmt_tensor *x)
{
    cuda_state *state = cuda_of(ctx);
    const size_t bytes = vmt_tensor_bytes(host);
    cuda_stage *stage = &state->downloads[state->next_download];
    void *from = x->data;

    state->next_download = (state->next_download + 1) % CUDA_STAGES;
    for (int i = 0; i < CUDA_STAGES; i++)
        if (state->downloads[i].host == host->data)
            state->downloads[i].host = NULL; /* begun, and never ended: a run that failed */
    stage->host = NULL;
    VMT_TRY(stage_ready(ctx, "download", stage, bytes));
    if (host->dtype != x->dtype) {
        VMT_TRY(cuda_scratch(ctx, &from, bytes));
        VMT_TRY(cuda_check(ctx, "download",
                           cuda_convert(state->stream, (cuda_view){from, host->dtype},
                                        cuda_view_of(x), vmt_numel(x))));
    }
    VMT_TRY(cuda_check(
        ctx, "download",
        cudaMemcpyAsync(stage->memory, from, bytes, cudaMemcpyDeviceToHost, state->stream)));
    VMT_TRY(cuda_check(ctx, "download", cudaEventRecord(stage->event, state->stream)));
    stage->host = host->data;
    return VMT_OK;
}

enum vmt_status cuda_download_end(vmt_ctx *ctx, vmt_tensor *host)
{
    for (int i = 0; i < CUDA_STAGES; i++) {
        cuda_stage *stage = &cuda_of(ctx)->downloads[i];
        if (stage->host != host->data)
            continue;
        stage->host = NULL;
        VMT_TRY(cuda_check(ctx, "download", cudaEventSynchronize(stage->event)));
        memcpy(host->data, stage->memory, vmt_tensor_bytes(host));
        return VMT_OK;
    }
    return vmt_fail(ctx, VMT_E_INTERNAL, "backend cuda: download_end: never begun, or forgotten");
}
