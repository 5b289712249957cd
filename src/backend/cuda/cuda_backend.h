/* SPDX-License-Identifier: MIT
 *
 * The door of backend "cuda".  It is a module, libfastvmt-cuda.so, loaded when it is asked for: the
 * program runs where no driver is installed.  What it exports is one table.
 */
#ifndef VMT_CUDA_BACKEND_H
#define VMT_CUDA_BACKEND_H

#include "tensor/tensor.h"

typedef struct vmt_cuda_module {
    /* Fills ctx->ops and ctx->backend for device `device`.  Errors: VMT_E_UNSUPPORTED (no driver,
     * too old a driver, no such device, no code for it), VMT_E_MEMORY. */
    enum vmt_status (*open)(vmt_ctx *ctx, int device);
    /* Lines about the devices of this machine, into text of `size` bytes.  Errors:
     * VMT_E_UNSUPPORTED. */
    enum vmt_status (*describe)(vmt_ctx *ctx, char *text, size_t size);
} vmt_cuda_module;

/* NULL when the module was built for another version than `version`. */
typedef const vmt_cuda_module *vmt_cuda_module_get(const char *version);
#define VMT_CUDA_SYMBOL "vmt_cuda_module_table"
#define VMT_CUDA_FILE "libfastvmt-cuda.so"

#endif
