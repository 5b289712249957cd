/* SPDX-License-Identifier: MIT
 *
 * Tensors that make room for others: to pinned memory of the host and back, by a stream of their
 * own, so that copies run beside what computes.  A copy begins when what was enqueued before it is
 * done; what must find it done waits for its ticket's event.
 */
#include "backend/cuda/cuda_state.h"

void *cuda_spill_alloc(vmt_ctx *ctx, size_t bytes)
{
    void *memory = NULL;

    (void)ctx;
    if (cudaHostAlloc(&memory, bytes, cudaHostAllocDefault) == cudaSuccess)
        return memory;
    (void)cudaGetLastError(); /* told by NULL */
    return NULL;
}

void cuda_spill_release(vmt_ctx *ctx, void *memory)
{
    cuda_state *state = cuda_of(ctx);

    if (state->spills)
        cudaStreamSynchronize(state->spills);
    cudaFreeHost(memory);
}

void cuda_spills_close(cuda_state *state)
{
    if (state->spills)
        cudaStreamSynchronize(state->spills);
    for (int i = 0; i < VMT_SPILLS; i++)
        if (state->spilled[i])
            cudaEventDestroy(state->spilled[i]);
    if (state->asked)
        cudaEventDestroy(state->asked);
    if (state->spills)
        cudaStreamDestroy(state->spills);
}

static enum vmt_status open_stream(vmt_ctx *ctx, cuda_state *state)
{
    cudaError_t error = cudaSuccess;

    if (state->spills)
        return VMT_OK;
    for (int i = 0; i < VMT_SPILLS && error == cudaSuccess; i++)
        error = cudaEventCreateWithFlags(&state->spilled[i], cudaEventDisableTiming);
    if (error == cudaSuccess)
        error = cudaEventCreateWithFlags(&state->asked, cudaEventDisableTiming);
    if (error == cudaSuccess)
        error = cudaStreamCreateWithFlags(&state->spills, cudaStreamNonBlocking);
    return cuda_check(ctx, "spill", error);
}

static enum vmt_status copy(vmt_ctx *ctx, void *to, const void *from, size_t bytes, int ticket,
                            enum cudaMemcpyKind kind)
{
    cuda_state *state = cuda_of(ctx);

    VMT_TRY(open_stream(ctx, state));
    cudaError_t error = cudaEventRecord(state->asked, state->stream);
    if (error == cudaSuccess)
        error = cudaStreamWaitEvent(state->spills, state->asked, 0);
    if (error == cudaSuccess)
        error = cudaMemcpyAsync(to, from, bytes, kind, state->spills);
    if (error == cudaSuccess)
        error = cudaEventRecord(state->spilled[ticket], state->spills);
    return cuda_check(ctx, "spill", error);
}

enum vmt_status cuda_spill_out(vmt_ctx *ctx, void *host, const vmt_tensor *x, int ticket)
{
    return copy(ctx, host, x->data, vmt_tensor_bytes(x), ticket, cudaMemcpyDeviceToHost);
}

enum vmt_status cuda_spill_back(vmt_ctx *ctx, vmt_tensor *x, const void *host, int ticket)
{
    return copy(ctx, x->data, host, vmt_tensor_bytes(x), ticket, cudaMemcpyHostToDevice);
}

enum vmt_status cuda_spill_wait(vmt_ctx *ctx, int ticket)
{
    cuda_state *state = cuda_of(ctx);

    if (!state->spills)
        return VMT_OK;
    return cuda_check(ctx, "spill", cudaStreamWaitEvent(state->stream, state->spilled[ticket], 0));
}
