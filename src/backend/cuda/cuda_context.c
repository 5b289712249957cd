/* SPDX-License-Identifier: MIT
 *
 * What the process takes of a device beside what it allocates: measured by the driver's management
 * library (libnvidia-ml), the only one that can tell before a context is there.
 */
#include "backend/cuda/cuda_state.h"

#include <dlfcn.h>

/* nvml.h, as far as it is needed. */
typedef struct nvml_memory {
    unsigned long long total, free, used;
} nvml_memory;

typedef int nvml_call(void);
typedef int nvml_find(const char *bus, void **device);
typedef int nvml_tell(void *device, nvml_memory *memory);

size_t cuda_used_bytes(int device)
{
    void *library = dlopen("libnvidia-ml.so.1", RTLD_NOW | RTLD_LOCAL);
    nvml_memory memory = {0};
    void *handle = NULL;
    char bus[64];

    if (!library)
        return 0;
    nvml_call *init = NULL, *shutdown = NULL;
    nvml_find *find = NULL;
    nvml_tell *tell = NULL;
    *(void **)&init = dlsym(library, "nvmlInit_v2");
    *(void **)&shutdown = dlsym(library, "nvmlShutdown");
    *(void **)&find = dlsym(library, "nvmlDeviceGetHandleByPciBusId_v2");
    *(void **)&tell = dlsym(library, "nvmlDeviceGetMemoryInfo");
    if (init && shutdown && find && tell && init() == 0) {
        if (cudaDeviceGetPCIBusId(bus, sizeof bus, device) == cudaSuccess &&
            find(bus, &handle) == 0 && tell(handle, &memory) != 0)
            memory.used = 0;
        shutdown();
    }
    dlclose(library);
    return (size_t)memory.used;
}

/* An H100's context with cuBLASLt's and our kernels, where it cannot be measured; and what cuDNN
 * and kernels that are loaded at their first use add: together 594 to 618 MiB were measured. */
enum { CONTEXT_BYTES = 560 << 20, LATER_BYTES = 128 << 20, ROUNDED = 64 << 20 };

size_t cuda_fixed_bytes(vmt_ctx *ctx, size_t *later)
{
    const cuda_state *state = cuda_of(ctx);
    const size_t taken = state->context_bytes ? state->context_bytes : CONTEXT_BYTES;

    *later = LATER_BYTES;
    /* to a round number: choices that follow from it are the same in the next run */
    return (taken + LATER_BYTES + ROUNDED - 1) / ROUNDED * ROUNDED;
}
