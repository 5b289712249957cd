/* SPDX-License-Identifier: MIT
 *
 * Products by cuBLASLt.  It counts columns first: a row-major c = a b is its cᵀ = bᵀ aᵀ, so the
 * operands change places. The algorithm of each shape is chosen at its first use and kept; none
 * that sums in an order of chance is allowed.
 */
#include "backend/cuda/cuda_state.h"

#include <string.h>

static cudaDataType_t blas_type(enum vmt_dtype dtype)
{
    if (dtype == VMT_U8)
        return CUDA_R_8F_E4M3;
    return dtype == VMT_BF16 ? CUDA_R_16BF : CUDA_R_32F;
}

static enum vmt_status blas_fail(vmt_ctx *ctx, cublasStatus_t status, const cuda_matmul *p)
{
    return vmt_fail(ctx, status == CUBLAS_STATUS_ALLOC_FAILED ? VMT_E_MEMORY : VMT_E_INTERNAL,
                    "backend cuda: product %lldx%lldx%lld: %s", (long long)p->m, (long long)p->k,
                    (long long)p->n, cublasLtGetStatusName(status));
}

static unsigned alignment_of(const void *a, const void *b, const void *c)
{
    const uintptr_t all = (uintptr_t)a | (uintptr_t)b | (uintptr_t)c | 256;
    return (unsigned)(all & (~all + 1));
}

/* Rows and columns as cuBLASLt counts: `rows` lie side by side. */
static cublasStatus_t layout(cublasLtMatrixLayout_t *out, enum vmt_dtype dtype, int64_t rows,
                             int64_t cols, int64_t ld, int64_t batch, int64_t stride)
{
    const int32_t count = (int32_t)batch;
    cublasStatus_t s =
        cublasLtMatrixLayoutCreate(out, blas_type(dtype), (uint64_t)rows, (uint64_t)cols, ld);

    if (s == CUBLAS_STATUS_SUCCESS && batch)
        s = cublasLtMatrixLayoutSetAttribute(*out, CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT, &count,
                                             sizeof count);
    if (s == CUBLAS_STATUS_SUCCESS && batch)
        s = cublasLtMatrixLayoutSetAttribute(*out, CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET,
                                             &stride, sizeof stride);
    return s;
}

static bool has_aux(const cuda_matmul *p)
{
    return p->epilogue == CUDA_EPILOGUE_GELU_KEEP || p->epilogue == CUDA_EPILOGUE_GELU_BWD;
}

static cublasLtEpilogue_t epilogue_of(const cuda_matmul *p)
{
    switch (p->epilogue) {
    case CUDA_EPILOGUE_GELU:
        return p->has_bias ? CUBLASLT_EPILOGUE_GELU_BIAS : CUBLASLT_EPILOGUE_GELU;
    case CUDA_EPILOGUE_GELU_KEEP:
        return p->has_bias ? CUBLASLT_EPILOGUE_GELU_AUX_BIAS : CUBLASLT_EPILOGUE_GELU_AUX;
    case CUDA_EPILOGUE_GELU_BWD:
        return CUBLASLT_EPILOGUE_DGELU;
    case CUDA_EPILOGUE_NONE:
        break;
    }
    return p->has_bias ? CUBLASLT_EPILOGUE_BIAS : CUBLASLT_EPILOGUE_DEFAULT;
}

static cublasStatus_t point(const cuda_plan *plan, cublasLtMatmulDescAttributes_t what,
                            const void *at)
{
    return cublasLtMatmulDescSetAttribute(plan->desc, what, &at, sizeof at);
}

/* A scale for each of cuBLASLt's rows of its first operand and columns of its second. */
static cublasStatus_t describe_scales(cublasLtMatmulDesc_t desc)
{
#if CUBLAS_VERSION >= 120900
    const cublasLtMatmulMatrixScale_t mode = CUBLASLT_MATMUL_MATRIX_SCALE_OUTER_VEC_32F;
    const cublasStatus_t s =
        cublasLtMatmulDescSetAttribute(desc, CUBLASLT_MATMUL_DESC_A_SCALE_MODE, &mode, sizeof mode);

    return s != CUBLAS_STATUS_SUCCESS
               ? s
               : cublasLtMatmulDescSetAttribute(desc, CUBLASLT_MATMUL_DESC_B_SCALE_MODE, &mode,
                                                sizeof mode);
#else
    (void)desc;
    return CUBLAS_STATUS_NOT_SUPPORTED;
#endif
}

static cublasStatus_t describe(cuda_plan *plan)
{
    const cuda_matmul *p = &plan->product;
    const cublasOperation_t turned = CUBLAS_OP_T, plain = CUBLAS_OP_N;
    const cublasLtEpilogue_t epilogue = epilogue_of(p);
    const int64_t aux_row = p->c_row;
    cublasStatus_t s = cublasLtMatmulDescCreate(&plan->desc, CUBLAS_COMPUTE_32F, CUDA_R_32F);

    if (s == CUBLAS_STATUS_SUCCESS)
        s = cublasLtMatmulDescSetAttribute(plan->desc, CUBLASLT_MATMUL_DESC_TRANSA,
                                           p->b_turned ? &turned : &plain, sizeof turned);
    if (s == CUBLAS_STATUS_SUCCESS)
        s = cublasLtMatmulDescSetAttribute(plan->desc, CUBLASLT_MATMUL_DESC_TRANSB,
                                           p->a_turned ? &turned : &plain, sizeof turned);
    if (s == CUBLAS_STATUS_SUCCESS)
        s = cublasLtMatmulDescSetAttribute(plan->desc, CUBLASLT_MATMUL_DESC_EPILOGUE, &epilogue,
                                           sizeof epilogue);
    if (s == CUBLAS_STATUS_SUCCESS && has_aux(p))
        s = cublasLtMatmulDescSetAttribute(plan->desc, CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_LD,
                                           &aux_row, sizeof aux_row);
    if (s == CUBLAS_STATUS_SUCCESS && p->scaled)
        s = describe_scales(plan->desc);
    if (s == CUBLAS_STATUS_SUCCESS)
        s = layout(&plan->b, p->in, p->b_turned ? p->k : p->n, p->b_turned ? p->n : p->k, p->b_row,
                   p->batch, p->b_batch);
    if (s == CUBLAS_STATUS_SUCCESS)
        s = layout(&plan->a, p->in, p->a_turned ? p->m : p->k, p->a_turned ? p->k : p->m, p->a_row,
                   p->batch, p->a_batch);
    if (s == CUBLAS_STATUS_SUCCESS)
        s = layout(&plan->c, p->out, p->n, p->m, p->c_row, p->batch, p->c_batch);
    return s;
}

static cublasStatus_t choose(cuda_state *state, cuda_plan *plan)
{
    /* sums are joined in F32, in one order: no atomics, no partial sums in BF16 */
    const uint32_t schemes =
        CUBLASLT_REDUCTION_SCHEME_NONE | CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE;
    const uint64_t workspace = state->workspace.bytes;
    const uint32_t alignment = plan->alignment;
    static const cublasLtMatmulPreferenceAttributes_t aligned[] = {
        CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES,
        CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES};
    cublasLtMatmulPreference_t preference = NULL;
    cublasLtMatmulHeuristicResult_t found;
    int count = 0;
    cublasStatus_t s = cublasLtMatmulPreferenceCreate(&preference);

    if (s == CUBLAS_STATUS_SUCCESS)
        s = cublasLtMatmulPreferenceSetAttribute(
            preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &workspace, sizeof workspace);
    if (s == CUBLAS_STATUS_SUCCESS)
        s = cublasLtMatmulPreferenceSetAttribute(
            preference, CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, &schemes, sizeof schemes);
    for (size_t i = 0; i < sizeof aligned / sizeof *aligned && s == CUBLAS_STATUS_SUCCESS; i++)
        s = cublasLtMatmulPreferenceSetAttribute(preference, aligned[i], &alignment,
                                                 sizeof alignment);
    if (s == CUBLAS_STATUS_SUCCESS)
        s = cublasLtMatmulAlgoGetHeuristic(state->blas, plan->desc, plan->b, plan->a, plan->c,
                                           plan->c, preference, 1, &found, &count);
    if (preference)
        cublasLtMatmulPreferenceDestroy(preference);
    if (s == CUBLAS_STATUS_SUCCESS && count < 1)
        s = CUBLAS_STATUS_NOT_SUPPORTED;
    if (s == CUBLAS_STATUS_SUCCESS)
        plan->algo = found.algo;
    return s;
}

static void plan_free(cuda_plan *plan)
{
    if (plan->a)
        cublasLtMatrixLayoutDestroy(plan->a);
    if (plan->b)
        cublasLtMatrixLayoutDestroy(plan->b);
    if (plan->c)
        cublasLtMatrixLayoutDestroy(plan->c);
    if (plan->desc)
        cublasLtMatmulDescDestroy(plan->desc);
}

void cuda_plans_free(cuda_state *state)
{
    for (size_t i = 0; i < state->plan_count; i++)
        plan_free(&state->plans[i]);
    vmt_free(state->plans);
    state->plans = NULL;
    state->plan_count = state->plan_capacity = 0;
}

static enum vmt_status reserve(vmt_ctx *ctx, cuda_state *state)
{
    const size_t capacity = state->plan_capacity ? 2 * state->plan_capacity : 64;
    void *plans = NULL;

    if (state->plan_count < state->plan_capacity)
        return VMT_OK;
    VMT_TRY(vmt_alloc(ctx, &plans, capacity, sizeof(cuda_plan)));
    if (state->plan_count)
        memcpy(plans, state->plans, state->plan_count * sizeof(cuda_plan));
    vmt_free(state->plans);
    state->plans = plans;
    state->plan_capacity = capacity;
    return VMT_OK;
}

static bool same_product(const cuda_matmul *x, const cuda_matmul *y)
{
    return x->m == y->m && x->n == y->n && x->k == y->k && x->a_row == y->a_row &&
           x->b_row == y->b_row && x->c_row == y->c_row && x->batch == y->batch &&
           x->a_batch == y->a_batch && x->b_batch == y->b_batch && x->c_batch == y->c_batch &&
           x->in == y->in && x->out == y->out && x->epilogue == y->epilogue &&
           x->a_turned == y->a_turned && x->b_turned == y->b_turned && x->has_bias == y->has_bias &&
           x->add == y->add && x->scaled == y->scaled;
}

/* A run has some tens of shapes: looking through them costs less than the launch.  *plan NULL: with
 * scaled operands, where cuBLASLt has no algorithm. */
static enum vmt_status find(vmt_ctx *ctx, cuda_plan **plan, const cuda_matmul *product,
                            unsigned alignment)
{
    cuda_state *state = cuda_of(ctx);

    for (size_t i = 0; i < state->plan_count; i++)
        if (state->plans[i].alignment == alignment &&
            same_product(&state->plans[i].product, product)) {
            *plan = &state->plans[i];
            return VMT_OK;
        }
    VMT_TRY(reserve(ctx, state));
    cuda_plan made = {.product = *product, .alignment = alignment};
    cublasStatus_t s = describe(&made);
    if (s == CUBLAS_STATUS_SUCCESS && product->scaled) /* any address, for the choice alone */
        s = point(&made, CUBLASLT_MATMUL_DESC_A_SCALE_POINTER, state->workspace.memory);
    if (s == CUBLAS_STATUS_SUCCESS && product->scaled)
        s = point(&made, CUBLASLT_MATMUL_DESC_B_SCALE_POINTER, state->workspace.memory);
    if (s == CUBLAS_STATUS_SUCCESS)
        s = choose(state, &made);
    if (s != CUBLAS_STATUS_SUCCESS) {
        plan_free(&made);
        *plan = NULL;
        return product->scaled && s != CUBLAS_STATUS_ALLOC_FAILED ? VMT_OK
                                                                  : blas_fail(ctx, s, product);
    }
    *plan = &state->plans[state->plan_count++];
    **plan = made;
    return VMT_OK;
}

/* The product of a plan whose pointers beside c, a and b are set. */
static cublasStatus_t multiply(cuda_state *state, cuda_plan *plan, void *c, const void *a,
                               const void *b)
{
    const float one = 1, beta = plan->product.add ? 1 : 0;

    return cublasLtMatmul(state->blas, plan->desc, &one, b, plan->b, a, plan->a, &beta, c, plan->c,
                          c, plan->c, &plan->algo, state->workspace.memory, state->workspace.bytes,
                          state->stream);
}

enum vmt_status cuda_matmul_run(vmt_ctx *ctx, const cuda_matmul *product, void *c, const void *a,
                                const void *b, const void *bias, void *aux)
{
    cuda_plan *plan = NULL;
    cublasStatus_t s = CUBLAS_STATUS_SUCCESS;

    VMT_TRY(find(ctx, &plan, product, alignment_of(a, b, c)));
    if (product->has_bias)
        s = point(plan, CUBLASLT_MATMUL_DESC_BIAS_POINTER, bias);
    if (s == CUBLAS_STATUS_SUCCESS && aux)
        s = point(plan, CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_POINTER, aux);
    if (s == CUBLAS_STATUS_SUCCESS)
        s = multiply(cuda_of(ctx), plan, c, a, b);
    return s == CUBLAS_STATUS_SUCCESS ? VMT_OK : blas_fail(ctx, s, product);
}

enum vmt_status cuda_matmul_fp8(vmt_ctx *ctx, const cuda_matmul *product, bool *done, void *c,
                                const void *a, const void *b, const void *bias,
                                const float *a_scales, const float *b_scales)
{
    cuda_state *state = cuda_of(ctx);
    cuda_plan *plan = NULL;

    *done = false;
    if (state->no_scales)
        return VMT_OK;
    VMT_TRY(find(ctx, &plan, product, alignment_of(a, b, c)));
    if (!plan) {
        state->no_scales = true;
        return VMT_OK;
    }
    /* the operands change places */
    cublasStatus_t s = point(plan, CUBLASLT_MATMUL_DESC_A_SCALE_POINTER, b_scales);
    if (s == CUBLAS_STATUS_SUCCESS)
        s = point(plan, CUBLASLT_MATMUL_DESC_B_SCALE_POINTER, a_scales);
    if (s == CUBLAS_STATUS_SUCCESS && product->has_bias)
        s = point(plan, CUBLASLT_MATMUL_DESC_BIAS_POINTER, bias);
    if (s == CUBLAS_STATUS_SUCCESS)
        s = multiply(state, plan, c, a, b);
    *done = s == CUBLAS_STATUS_SUCCESS;
    return *done ? VMT_OK : blas_fail(ctx, s, product);
}
