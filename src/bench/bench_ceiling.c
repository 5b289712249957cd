/* SPDX-License-Identifier: MIT
 *
 * What this machine's best product reaches: on the host oneDNN's own, on a weight in the order it
 * prefers; on a device the backend's own large products.
 */
#include "bench/bench.h"

#include <inttypes.h>
#include <stdio.h>

/* ---- on a device */

typedef struct own_product {
    vmt_tensor x, y;
    vmt_weight weight;
} own_product;

static enum vmt_status run_own(vmt_ctx *ctx, void *user)
{
    own_product *p = user;
    return vmt_linear(ctx, &p->y, &p->x, &p->weight, VMT_EPILOGUE_NONE);
}

/* size: rows, inner, columns.  The weight begins on the host, as a file's does. */
static enum vmt_status own_open(vmt_ctx *ctx, own_product *p, float *values, const int64_t size[3])
{
    bench_fill(values, size[1] * size[2]);
    p->weight.w = vmt_tensor_over(values, VMT_F32, VMT_SHAPE(size[2], size[1]));
    VMT_TRY(vmt_weight_prepare(ctx, &p->weight, VMT_USE_LINEAR));
    VMT_TRY(bench_tensor(ctx, &p->x, ctx->act, VMT_SHAPE(size[0], size[1])));
    return bench_tensor(ctx, &p->y, ctx->act, VMT_SHAPE(size[0], size[2]));
}

static enum vmt_status measure_own(bench *b, const int64_t size[3])
{
    vmt_ctx *ctx = b->ctx;
    own_product p = {0};
    char detail[BENCH_TEXT_BYTES];
    vmt_bench_row row = {.part = "ceiling", .what = "product", .detail = detail};
    void *values = NULL;

    VMT_TRY(vmt_alloc(ctx, &values, (size_t)(size[1] * size[2]), sizeof(float)));
    enum vmt_status status = own_open(ctx, &p, values, size);
    if (status == VMT_OK)
        status = bench_measure(b, &row, run_own, &p);
    ctx->ops->weight_release(ctx, &p.weight);
    ctx->ops->release(ctx, p.x.data);
    ctx->ops->release(ctx, p.y.data);
    vmt_free(values);
    VMT_TRY(status);
    row.taken = 0;
    if (row.flop / row.least > b->head.ceiling)
        b->head.ceiling = row.flop / row.least;
    snprintf(detail, sizeof detail, "%" PRId64 "x%" PRId64 "x%" PRId64, size[0], size[1], size[2]);
    return bench_tell(b, &row);
}

static enum vmt_status device_ceiling(bench *b)
{
    static const int64_t sizes[][3] = {
        {8192, 8192, 8192}, {32760, 1536, 8960}, {32760, 8960, 1536}};

    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        VMT_TRY(measure_own(b, sizes[i]));
    return VMT_OK;
}

/* ---- on the host */

#ifdef FASTVMT_HAVE_DNNL
#include <oneapi/dnnl/dnnl.h>
#ifdef _OPENMP
#include <omp.h>
#endif

#include <string.h>

typedef struct matmul {
    dnnl_engine_t engine;
    dnnl_stream_t stream;
    dnnl_primitive_desc_t desc;
    dnnl_primitive_t primitive;
    dnnl_exec_arg_t args[3];
    double flop;
} matmul;

static dnnl_status_t describe(matmul *p, dnnl_memory_desc_t descs[3], dnnl_data_type_t type,
                              const int64_t size[3])
{
    const dnnl_dims_t dims[3] = {{size[0], size[1]}, {size[1], size[2]}, {size[0], size[2]}};
    dnnl_matmul_desc_t operation;
    dnnl_status_t status = dnnl_success;

    for (int i = 0; i < 3 && status == dnnl_success; i++)
        status = dnnl_memory_desc_init_by_tag(&descs[i], 2, dims[i], type,
                                              i == 1 ? dnnl_format_tag_any : dnnl_ab);
    if (status == dnnl_success)
        status = dnnl_matmul_desc_init(&operation, &descs[0], &descs[1], NULL, &descs[2]);
    if (status == dnnl_success)
        status = dnnl_primitive_desc_create(&p->desc, &operation, NULL, p->engine, NULL);
    if (status == dnnl_success)
        descs[1] = *dnnl_primitive_desc_query_md(p->desc, dnnl_query_weights_md, 0);
    return status;
}

/* size: rows, inner, columns. */
static dnnl_status_t matmul_open(matmul *p, dnnl_data_type_t type, const int64_t size[3])
{
    static const int names[3] = {DNNL_ARG_SRC, DNNL_ARG_WEIGHTS, DNNL_ARG_DST};
    dnnl_memory_desc_t descs[3];
    dnnl_status_t status = dnnl_engine_create(&p->engine, dnnl_cpu, 0);

    p->flop = 2.0 * (double)size[0] * (double)size[1] * (double)size[2];
    if (status == dnnl_success)
        status = dnnl_stream_create(&p->stream, p->engine, dnnl_stream_default_flags);
    if (status == dnnl_success)
        status = describe(p, descs, type, size);
    if (status == dnnl_success)
        status = dnnl_primitive_create(&p->primitive, p->desc);
    for (int i = 0; i < 3 && status == dnnl_success; i++) {
        void *data = NULL;
        p->args[i].arg = names[i];
        status = dnnl_memory_create(&p->args[i].memory, &descs[i], p->engine, DNNL_MEMORY_ALLOCATE);
        if (status == dnnl_success)
            status = dnnl_memory_get_data_handle(p->args[i].memory, &data);
        if (status == dnnl_success)
            memset(data, 0, dnnl_memory_desc_get_size(&descs[i]));
    }
    return status;
}

static void matmul_close(matmul *p)
{
    for (int i = 0; i < 3; i++)
        if (p->args[i].memory)
            dnnl_memory_destroy(p->args[i].memory);
    if (p->primitive)
        dnnl_primitive_destroy(p->primitive);
    if (p->desc)
        dnnl_primitive_desc_destroy(p->desc);
    if (p->stream)
        dnnl_stream_destroy(p->stream);
    if (p->engine)
        dnnl_engine_destroy(p->engine);
}

static enum vmt_status run_matmul(vmt_ctx *ctx, void *user)
{
    matmul *p = user;
    dnnl_status_t status = dnnl_primitive_execute(p->primitive, p->stream, 3, p->args);

    if (status == dnnl_success)
        status = dnnl_stream_wait(p->stream);
    return status == dnnl_success
               ? VMT_OK
               : vmt_fail(ctx, VMT_E_INTERNAL, "oneDNN matmul: status %d", (int)status);
}

static enum vmt_status host_ceiling(bench *b)
{
    static const int64_t sizes[][3] = {{2048, 2048, 2048}, {4096, 4096, 4096}, {1950, 1536, 8960}};
    const dnnl_data_type_t type = b->ctx->act == VMT_BF16 ? dnnl_bf16 : dnnl_f32;
    enum vmt_status status = VMT_OK;
    double best = 0;
    vmt_bench_row rows[3];

#ifdef _OPENMP
    omp_set_num_threads(b->ctx->threads);
#endif
    for (int i = 0; i < 3 && status == VMT_OK; i++) {
        matmul p = {0};
        const dnnl_status_t opened = matmul_open(&p, type, sizes[i]);
        rows[i] = (vmt_bench_row){.part = "ceiling", .what = "oneDNN matmul"};
        status = opened == dnnl_success
                     ? bench_measure(b, &rows[i], run_matmul, &p)
                     : vmt_fail(b->ctx, VMT_E_INTERNAL, "oneDNN matmul: status %d", (int)opened);
        rows[i].flop = p.flop;
        rows[i].taken = 0; /* oneDNN's own */
        matmul_close(&p);
        /* the ceiling is what was once reached */
        if (status == VMT_OK && p.flop / rows[i].least > best)
            best = p.flop / rows[i].least;
    }
    b->head.ceiling = best;
    for (int i = 0; i < 3 && status == VMT_OK; i++) {
        char detail[BENCH_TEXT_BYTES];
        snprintf(detail, sizeof detail, "%" PRId64 "x%" PRId64 "x%" PRId64, sizes[i][0],
                 sizes[i][1], sizes[i][2]);
        rows[i].detail = detail;
        status = bench_tell(b, &rows[i]);
    }
    return status;
}
#else
static enum vmt_status host_ceiling(bench *b)
{
    const vmt_bench_row row = {
        .part = "ceiling", .what = "oneDNN matmul", .detail = "this build has no oneDNN"};

    return bench_tell(b, &row);
}
#endif

enum vmt_status bench_ceiling(bench *b)
{
    return b->ctx->ops->wait ? device_ceiling(b) : host_ceiling(b);
}
