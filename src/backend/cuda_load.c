/* SPDX-License-Identifier: MIT
 *
 * Loads the module of backend "cuda": from the folder of the program or library, or where an
 * installation puts it.
 */
#include "backend/backend.h"
#include "backend/cuda/cuda_backend.h"

#include <dlfcn.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static void *open_in(const char *folder, size_t length)
{
    static const char *const places[] = {"", "../", "../lib/fastvmt/", "fastvmt/"};
    char path[PATH_MAX + 64];
    void *module = NULL;

    for (size_t i = 0; i < sizeof places / sizeof *places && !module; i++) {
        snprintf(path, sizeof path, "%.*s%s%s", (int)length, folder, places[i], VMT_CUDA_FILE);
        if (!access(path, R_OK))
            module = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    }
    return module;
}

/* Length of a path's folder, its last slash included; 0: none. */
static size_t folder_length(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? (size_t)(slash - path) + 1 : 0;
}

static void *open_module(void)
{
    char program[PATH_MAX];
    Dl_info self;
    void *module = NULL;
    const ssize_t length = readlink("/proc/self/exe", program, sizeof program - 1);

    if (dladdr(&vmt_ops_ref32, &self) && self.dli_fname)
        module = open_in(self.dli_fname, folder_length(self.dli_fname));
    if (!module && length > 0) {
        program[length] = '\0';
        module = open_in(program, folder_length(program));
    }
    return module ? module : dlopen(VMT_CUDA_FILE, RTLD_NOW | RTLD_LOCAL);
}

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
    void *module = open_module(); /* never closed: CUDA keeps state of its own */
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
