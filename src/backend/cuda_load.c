/* SPDX-License-Identifier: MIT
 *
 * Loads the module of backend "cuda".
 */
#include "backend/backend.h"
#include "backend/cuda/cuda_backend.h"
#include "base/module.h"

#include <dlfcn.h>
#include <string.h>

/* Whether a driver is installed: asked before the module with its large libraries is loaded. */
static bool has_driver(void)
{
    void *driver = dlopen("libcuda.so.1", RTLD_LAZY | RTLD_LOCAL);

    if (driver)
        dlclose(driver);
    return driver != NULL;
}

static enum vmt_status load(vmt_ctx *ctx, const vmt_cuda_module **table)
{
    if (!has_driver())
        return vmt_fail(ctx, VMT_E_UNSUPPORTED,
                        "backend cuda: no NVIDIA driver here (libcuda.so.1): use --backend cpu");
    void *module = vmt_module_open(VMT_CUDA_FILE);
    if (!module) {
        const char *why = dlerror();
        return vmt_fail(ctx, VMT_E_UNSUPPORTED, "backend cuda: its module cannot be loaded: %s",
                        why ? why : VMT_CUDA_FILE);
    }
    void *symbol = dlsym(module, VMT_CUDA_SYMBOL);
    vmt_cuda_module_get *get = NULL;
    if (symbol)
        memcpy(&get, &symbol, sizeof get); /* ISO C has no cast from object to function */
    *table = get ? get(vmt_version()) : NULL;
    if (!*table)
        return vmt_fail(ctx, VMT_E_UNSUPPORTED,
                        "backend cuda: its module is of another version than this program");
    return VMT_OK;
}

enum vmt_status vmt_backend_cuda_open(vmt_ctx *ctx)
{
    const vmt_cuda_module *module = NULL;

    VMT_TRY(load(ctx, &module));
    return module->open(ctx, ctx->device);
}

enum vmt_status vmt_backend_cuda_describe(vmt_ctx *ctx, char *text, size_t size)
{
    const vmt_cuda_module *module = NULL;

    VMT_TRY(load(ctx, &module));
    return module->describe(ctx, text, size);
}
