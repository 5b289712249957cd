/* SPDX-License-Identifier: MIT
 *
 * cuDNN of a context: loaded when the first op asks for it.
 */
#include "backend/cuda/cuda_state.h"

cuda_cudnn *cuda_cudnn_of(vmt_ctx *ctx)
{
    cuda_state *state = cuda_of(ctx);
    char why[256] = "this build has none";

    if (!state->cudnn_asked) {
        state->cudnn_asked = true;
#ifdef FASTVMT_HAVE_CUDNN
        state->cudnn = cuda_cudnn_open(state->stream, why, sizeof why);
#endif
        if (!state->cudnn)
            vmt_log(ctx, VMT_LOG_DEBUG, "backend cuda: no cuDNN: %s", why);
    }
    return state->cudnn;
}

enum vmt_status cuda_cudnn_execute(vmt_ctx *ctx, const char *op, cuda_cudnn_plan *plan,
                                   void *const data[CUDA_CUDNN_POINTERS], void *workspace)
{
    char why[256] = "this build has none";

#ifdef FASTVMT_HAVE_CUDNN
    if (cuda_cudnn_run(cuda_of(ctx)->cudnn, plan, data, workspace, why, sizeof why))
        return VMT_OK;
#else
    (void)plan, (void)data, (void)workspace;
#endif
    return vmt_fail(ctx, VMT_E_INTERNAL, "backend cuda: %s: cuDNN: %s", op, why);
}

void cuda_library_close(cuda_state *state)
{
#ifdef FASTVMT_HAVE_CUDNN
    cuda_cudnn_close(state->cudnn);
#endif
    state->cudnn = NULL;
}
