/* SPDX-License-Identifier: MIT
 *
 * Memory of weights that come and go while the device computes.  cudaFree waits for all that was
 * enqueued, so a released block is kept, with an event behind the last use of it.
 */
#include "backend/cuda/cuda_state.h"

void cuda_blocks_free(cuda_state *state)
{
    for (int i = 0; i < CUDA_BLOCKS; i++) {
        if (state->blocks[i].memory)
            cudaFree(state->blocks[i].memory); /* waits for what uses it */
        state->blocks[i].memory = NULL;
    }
}

void cuda_blocks_close(cuda_state *state)
{
    cuda_blocks_free(state);
    for (int i = 0; i < CUDA_BLOCKS; i++)
        if (state->blocks[i].event)
            cudaEventDestroy(state->blocks[i].event);
}

enum vmt_status cuda_block_take(vmt_ctx *ctx, void **memory, size_t bytes)
{
    cuda_state *state = cuda_of(ctx);

    for (int i = 0; i < CUDA_BLOCKS; i++) {
        cuda_block *block = &state->blocks[i];
        if (!block->memory || block->bytes != bytes)
            continue;
        *memory = block->memory;
        block->memory = NULL;
        return cuda_check(ctx, "weight_prepare",
                          cudaStreamWaitEvent(state->weights, block->event, 0));
    }
    *memory = cuda_alloc(ctx, bytes); /* frees the blocks of other sizes */
    if (!*memory)
        return vmt_fail(ctx, VMT_E_MEMORY,
                        "backend cuda: out of device memory: %zu bytes for a weight", bytes);
    return VMT_OK;
}

void cuda_block_give(vmt_ctx *ctx, void *memory, size_t bytes)
{
    cuda_state *state = cuda_of(ctx);

    for (int i = 0; i < CUDA_BLOCKS; i++) {
        cuda_block *block = &state->blocks[i];
        if (block->memory)
            continue;
        if (!block->event &&
            cudaEventCreateWithFlags(&block->event, cudaEventDisableTiming) != cudaSuccess)
            break;
        if (cudaEventRecord(block->event, state->stream) != cudaSuccess)
            break;
        block->memory = memory;
        block->bytes = bytes;
        return;
    }
    (void)cudaGetLastError(); /* a device that failed is told by the next call that can tell */
    cudaFree(memory);
}
