/* SPDX-License-Identifier: MIT
 *
 * The doors of the backends: each fills ctx->ops and ctx->backend.  vmt_backend_open (tensor.h)
 * chooses among them by name and sets ctx->real, ctx->act and ctx->threads before.
 */
#ifndef VMT_BACKEND_H
#define VMT_BACKEND_H

#include "tensor/tensor.h"

/*
 * The oracle's tables: every op in plain C, in float and in double.  A host backend may start from
 * vmt_ops_ref32 and overwrite what it has; its state (ctx->backend) must then begin with a
 * vmt_host_state, because ref's ops keep their scratch there.  The backend's close frees what is in
 * it with free().
 */
extern const vmt_ops vmt_ops_ref32, vmt_ops_ref64;

typedef struct vmt_ref_scratch {
    void *memory; /* kept from op to op; grows to the largest need */
    size_t bytes;
} vmt_ref_scratch;

typedef struct vmt_host_state {
    vmt_ref_scratch scratch;
    vmt_ref_scratch tiles; /* of local attention, which calls ops that need the scratch */
} vmt_host_state;

/* Entry indices of one axis of a window of `count` around `centre`, in float as the released code
 * computes them; see flow_windows. */
void flow_window_axis_ref32(int32_t *entry, float centre, int64_t count, int64_t size,
                            enum vmt_flow_positions positions);

enum vmt_status vmt_backend_open_ref32(vmt_ctx *ctx);
enum vmt_status vmt_backend_open_ref64(vmt_ctx *ctx);

/* Backend "cuda" (backend/cuda/) is a module, loaded here: src/backend/cuda_load.c.  open: device
 * ctx->device.  describe: lines about this machine's devices.  Errors: VMT_E_UNSUPPORTED with the
 * reason (no driver, no module, no device). */
enum vmt_status vmt_backend_cuda_open(vmt_ctx *ctx);
enum vmt_status vmt_backend_cuda_describe(vmt_ctx *ctx, char *text, size_t size);

/* Cores this process may use, at least 1. */
int vmt_backend_cores(void);

#endif
