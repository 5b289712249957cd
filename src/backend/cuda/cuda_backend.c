/* SPDX-License-Identifier: MIT
 *
 * Opens backend "cuda" on a device.  Every entry of the table is this backend's own: nothing is
 * computed by the CPU behind the user's back.
 */
#include "backend/cuda/cuda_backend.h"
#include "backend/cuda/cuda_state.h"

#include <stdio.h>
#include <string.h>

enum { WORKSPACE_BYTES = 32 << 20 };

static const size_t MOST_CONTEXT_BYTES = (size_t)2 << 30;

static void close_cuda(vmt_ctx *ctx)
{
    cuda_state *state = ctx->backend;

    if (!state)
        return;
    if (state->stream)
        cudaStreamSynchronize(state->stream);
    if (state->weights)
        cudaStreamSynchronize(state->weights);
    cuda_stages_close(state);
    cuda_blocks_close(state);
    cuda_spills_close(state);
    cuda_plans_free(state);
    cuda_library_close(state);
    cuda_release(ctx, state->scratch.memory);
    cuda_release(ctx, state->tiles.memory);
    cuda_release(ctx, state->widened.memory);
    cuda_release(ctx, state->workspace.memory);
    cuda_release(ctx, state->bad);
    if (state->blas)
        cublasLtDestroy(state->blas);
    if (state->brought)
        cudaEventDestroy(state->brought);
    if (state->weights)
        cudaStreamDestroy(state->weights);
    if (state->stream)
        cudaStreamDestroy(state->stream);
    vmt_free(state);
    ctx->backend = NULL;
}

static void fill_table(vmt_ops *ops)
{
    *ops = (vmt_ops){.name = "cuda",
                     .alloc = cuda_alloc,
                     .release = cuda_release,
                     .close = close_cuda,
                     .free_bytes = cuda_free_bytes,
                     .wide_bytes = cuda_wide_bytes,
                     .spill_alloc = cuda_spill_alloc,
                     .spill_release = cuda_spill_release,
                     .spill_out = cuda_spill_out,
                     .spill_back = cuda_spill_back,
                     .spill_wait = cuda_spill_wait,
                     .upload = cuda_upload,
                     .download = cuda_download,
                     .download_begin = cuda_download_begin,
                     .download_end = cuda_download_end,
                     .copy = cuda_copy,
                     .zero = cuda_zero,
                     .all_finite = cuda_all_finite,
                     .mark_bad = cuda_mark_bad,
                     .fixed_bytes = cuda_fixed_bytes,
                     .taken_bytes = cuda_taken_bytes,
                     .conv_bytes = cuda_conv_bytes,
                     .trim = cuda_trim,
                     .wait = cuda_wait,
                     .weight_prepare = cuda_weight_prepare,
                     .weight_prepare_bytes = cuda_weight_prepare_bytes,
                     .weight_release = cuda_weight_release,
                     .weight_use_bytes = cuda_weight_use_bytes,
                     .linear = cuda_linear,
                     .linear_fp8 = cuda_linear_fp8,
                     .linear_bwd = cuda_linear_bwd,
                     .linear_bwd_acc = cuda_linear_bwd_acc,
                     .linear_gelu = cuda_linear_gelu,
                     .linear_bwd_gelu = cuda_linear_bwd_gelu,
                     .conv3d = cuda_conv3d,
                     .attention = cuda_attention,
                     .attention_bwd = cuda_attention_bwd,
                     .attention_bytes = cuda_attention_bytes,
                     .attention_local = cuda_attention_local,
                     .attention_local_bwd = cuda_attention_local_bwd,
                     .attention_local_bytes = cuda_attention_local_bytes};
    cuda_table_rows(ops);
    cuda_table_motion(ops);
}

/* Devices of this machine; no driver, none at all or one too old is told apart. */
static enum vmt_status count_devices(vmt_ctx *ctx, int *count)
{
    const cudaError_t error = cudaGetDeviceCount(count);

    if (error == cudaErrorInsufficientDriver)
        return vmt_fail(ctx, VMT_E_UNSUPPORTED,
                        "backend cuda: the NVIDIA driver is absent or older than CUDA %d.%d needs: "
                        "install or update it, "
                        "or use --backend cpu",
                        CUDART_VERSION / 1000, CUDART_VERSION % 1000 / 10);
    if (error == cudaErrorNoDevice || (error == cudaSuccess && *count < 1))
        return vmt_fail(ctx, VMT_E_UNSUPPORTED,
                        "backend cuda: no NVIDIA device here: use --backend cpu");
    if (error != cudaSuccess)
        return vmt_fail(ctx, VMT_E_UNSUPPORTED, "backend cuda: the driver says: %s (%s)",
                        cudaGetErrorString(error), cudaGetErrorName(error));
    return VMT_OK;
}

static enum vmt_status open_state(vmt_ctx *ctx, cuda_state *state)
{
    VMT_TRY(
        cuda_check(ctx, "open", cudaStreamCreateWithFlags(&state->stream, cudaStreamNonBlocking)));
    VMT_TRY(
        cuda_check(ctx, "open", cudaStreamCreateWithFlags(&state->weights, cudaStreamNonBlocking)));
    VMT_TRY(
        cuda_check(ctx, "open", cudaEventCreateWithFlags(&state->brought, cudaEventDisableTiming)));
    if (cublasLtCreate(&state->blas) != CUBLAS_STATUS_SUCCESS)
        return vmt_fail(ctx, VMT_E_UNSUPPORTED,
                        "backend cuda: cuBLASLt does not start on device %d", state->device);
    state->workspace.memory = cuda_alloc(ctx, WORKSPACE_BYTES);
    state->workspace.bytes = WORKSPACE_BYTES;
    state->bad = cuda_alloc(ctx, sizeof(int));
    if (!state->workspace.memory || !state->bad)
        return vmt_fail(ctx, VMT_E_MEMORY,
                        "backend cuda: out of device memory: %d bytes of workspace",
                        WORKSPACE_BYTES);
    /* A first launch tells whether this build has code for the device. */
    const cudaError_t error =
        cuda_find_bad(state->stream, state->bad, (cuda_view){state->workspace.memory, VMT_F32}, 0);
    if (error == cudaErrorNoKernelImageForDevice || error == cudaErrorUnsupportedPtxVersion)
        return vmt_fail(ctx, VMT_E_UNSUPPORTED,
                        "backend cuda: this build has no code for device %d: %s", state->device,
                        cudaGetErrorString(error));
    return cuda_check(ctx, "open", error);
}

static void name_machine(vmt_ctx *ctx, const cuda_state *state)
{
    struct cudaDeviceProp p;
    int driver = 0, runtime = 0;

    cudaDriverGetVersion(&driver);
    cudaRuntimeGetVersion(&runtime);
    if (cudaGetDeviceProperties(&p, state->device) == cudaSuccess)
        snprintf(ctx->machine, sizeof ctx->machine,
                 "%.80s, %d.%d, %d multiprocessors, driver %d, runtime %d, cuBLASLt %zu", p.name,
                 p.major, p.minor, p.multiProcessorCount, driver, runtime, cublasLtGetVersion());
}

static enum vmt_status open_cuda(vmt_ctx *ctx, int device)
{
    void *memory = NULL;
    int count = 0;

    VMT_TRY(count_devices(ctx, &count));
    if (device < 0 || device >= count)
        return vmt_fail(ctx, VMT_E_ARG, "backend cuda: device %d, this machine has 0 to %d", device,
                        count - 1);
    const size_t before = cuda_used_bytes(device);
    VMT_TRY(cuda_check(ctx, "open", cudaSetDevice(device)));
    VMT_TRY(vmt_alloc(ctx, &memory, 1, sizeof(cuda_state)));
    cuda_state *state = memory;
    state->device = device;
    fill_table(&state->ops);
    ctx->backend = state;
    const enum vmt_status status = open_state(ctx, state);
    if (status != VMT_OK) {
        close_cuda(ctx);
        return status;
    }
    ctx->ops = &state->ops;
    name_machine(ctx, state);
    const size_t after = before ? cuda_used_bytes(device) : 0;
    /* another program that comes or goes at this moment would be counted, too */
    const bool likely = after > before && after - before < MOST_CONTEXT_BYTES;
    state->context_bytes = likely ? after - before : 0;
    size_t free_bytes = 0, total = 0;
    VMT_TRY(cuda_check(ctx, "open", cudaMemGetInfo(&free_bytes, &total)));
    state->used_at_opening = total - free_bytes;
    state->taken_most = state->context_bytes;
    return VMT_OK;
}

static enum vmt_status describe_devices(vmt_ctx *ctx, char *text, size_t size)
{
    int count = 0, driver = 0, runtime = 0;
    size_t used = 0;

    VMT_TRY(count_devices(ctx, &count));
    cudaDriverGetVersion(&driver);
    cudaRuntimeGetVersion(&runtime);
    used += (size_t)snprintf(text, size, "driver for CUDA %d.%d, runtime %d.%d, cuBLASLt %zu\n",
                             driver / 1000, driver % 1000 / 10, runtime / 1000, runtime % 1000 / 10,
                             cublasLtGetVersion());
    for (int i = 0; i < count && used < size; i++) {
        struct cudaDeviceProp p;
        size_t free_bytes = 0, total = 0;
        VMT_TRY(cuda_check(ctx, "devices", cudaGetDeviceProperties(&p, i)));
        VMT_TRY(cuda_check(ctx, "devices", cudaSetDevice(i)));
        VMT_TRY(cuda_check(ctx, "devices", cudaMemGetInfo(&free_bytes, &total)));
        used += (size_t)snprintf(
            text + used, size - used,
            "%d: %s, compute capability %d.%d, %d multiprocessors, %.1f of %.1f GiB free\n", i,
            p.name, p.major, p.minor, p.multiProcessorCount, (double)free_bytes / (1 << 30),
            (double)total / (1 << 30));
    }
    return VMT_OK;
}

static const vmt_cuda_module module = {open_cuda, describe_devices};

VMT_API vmt_cuda_module_get vmt_cuda_module_table;
const vmt_cuda_module *vmt_cuda_module_table(const char *version)
{
    return strcmp(version, FASTVMT_MODULE_VERSION) == 0 ? &module : NULL;
}
