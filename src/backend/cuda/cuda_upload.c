/* SPDX-License-Identifier: MIT
 *
 * Bytes from the host to the device and back through pinned memory, so that neither side waits for
 * the other: an upload returns once its bytes are copied aside, a download is begun and ended.
 */
#include "backend/cuda/cuda_state.h"

#include <string.h>

enum { LEAST_BYTES = 1 << 20, UPLOAD_BYTES = 16 << 20 };

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
            if (both[j]->event)
                cudaEventDestroy(both[j]->event);
            if (both[j]->memory)
                cudaFreeHost(both[j]->memory);
        }
    }
}

enum vmt_status cuda_send(vmt_ctx *ctx, const char *op, void *to, const void *from, size_t bytes)
{
    cuda_state *state = cuda_of(ctx);

    for (size_t at = 0; at < bytes; at += UPLOAD_BYTES) {
        const size_t part = bytes - at < UPLOAD_BYTES ? bytes - at : UPLOAD_BYTES;
        cuda_stage *stage = &state->uploads[state->next_upload];
        state->next_upload = (state->next_upload + 1) % CUDA_STAGES;
        VMT_TRY(stage_ready(ctx, op, stage, part));
        memcpy(stage->memory, (const unsigned char *)from + at, part);
        VMT_TRY(cuda_check(ctx, op,
                           cudaMemcpyAsync((unsigned char *)to + at, stage->memory, part,
                                           cudaMemcpyHostToDevice, state->stream)));
        VMT_TRY(cuda_check(ctx, op, cudaEventRecord(stage->event, state->stream)));
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
