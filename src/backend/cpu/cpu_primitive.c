/* SPDX-License-Identifier: MIT
 *
 * oneDNN primitives: made once per shape, kept in a hash table, run on pointers.
 */
#include "backend/cpu/cpu_state.h"

#include <omp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum { FIRST_CAPACITY = 64 };

enum vmt_status cpu_dnnl_fail(vmt_ctx *ctx, const char *op, dnnl_status_t status)
{
    static const char *const names[] = {"success",       "out of memory", "invalid arguments",
                                        "unimplemented", "iterator ends", "runtime error",
                                        "not required"};
    const size_t index = (size_t)status;
    const char *name = index < sizeof names / sizeof names[0] ? names[index] : "unknown";

    if (status == dnnl_out_of_memory)
        return vmt_fail(ctx, VMT_E_MEMORY, "backend cpu: %s: oneDNN is out of memory", op);
    return vmt_fail(ctx, VMT_E_INTERNAL, "backend cpu: %s: oneDNN status %d (%s)", op, (int)status,
                    name);
}

int cpu_threads_begin(int threads)
{
    const int before = omp_get_max_threads();
    if (before != threads)
        omp_set_num_threads(threads);
    return before;
}

void cpu_threads_end(int before)
{
    if (before != omp_get_max_threads())
        omp_set_num_threads(before);
}

dnnl_data_type_t cpu_dnnl_type(enum vmt_dtype dtype)
{
    return dtype == VMT_BF16 ? dnnl_bf16 : dnnl_f32;
}

/* ---------------------------------------------------------------- memory */

/* Large blocks ask for large pages: packed operands are read many times, a page every few rows. */
static void *take_block(size_t *bytes)
{
    const size_t large = (size_t)2 << 20, align = *bytes < large ? VMT_ARENA_ALIGN : large;

    *bytes = (*bytes + align - 1) & ~(align - 1);
    void *const memory = aligned_alloc(align, *bytes);
#ifdef MADV_HUGEPAGE
    if (memory && align == large)
        (void)madvise(memory, *bytes, MADV_HUGEPAGE);
#endif
    return memory;
}

static enum vmt_status grow(vmt_ctx *ctx, vmt_ref_scratch *scratch, size_t bytes, const char *what)
{

    if (bytes <= scratch->bytes && scratch->memory)
        return VMT_OK;
    free(scratch->memory);
    scratch->bytes = 0;
    scratch->memory = NULL;
    if (bytes <= SIZE_MAX / 2) {
        bytes = bytes ? bytes : VMT_ARENA_ALIGN;
        scratch->memory = take_block(&bytes);
    }
    if (!scratch->memory)
        return vmt_fail(ctx, VMT_E_MEMORY, "backend cpu: out of memory: %zu bytes of %s", bytes,
                        what);
    scratch->bytes = bytes;
    return VMT_OK;
}

enum vmt_status cpu_scratch(vmt_ctx *ctx, void **memory, size_t bytes)
{
    VMT_TRY(grow(ctx, &cpu_of(ctx)->host.scratch, bytes, "scratch"));
    *memory = cpu_of(ctx)->host.scratch.memory;
    vmt_arena_forget(*memory, cpu_of(ctx)->host.scratch.bytes); /* of the op before */
    return VMT_OK;
}

enum vmt_status cpu_unpacked(vmt_ctx *ctx, void **memory, size_t bytes)
{
    VMT_TRY(grow(ctx, &cpu_of(ctx)->unpacked, bytes, "an unpacked weight"));
    *memory = cpu_of(ctx)->unpacked.memory;
    return VMT_OK;
}

void cpu_unpacked_free(vmt_ctx *ctx)
{
    free(cpu_of(ctx)->unpacked.memory);
    cpu_of(ctx)->unpacked = (vmt_ref_scratch){0};
}

enum vmt_status cpu_scratch_each(vmt_ctx *ctx, unsigned char **memory, size_t *stride,
                                 int64_t count, size_t bytes)
{
    const size_t mask = VMT_ARENA_ALIGN - 1;
    size_t total;
    void *start = NULL;

    if (bytes > SIZE_MAX - mask)
        bytes = SIZE_MAX & ~mask;
    *stride = (bytes + mask) & ~mask;
    if (!vmt_mul_size(*stride, (size_t)count, &total))
        total = SIZE_MAX;
    VMT_TRY(cpu_scratch(ctx, &start, total));
    *memory = start;
    return VMT_OK;
}

enum vmt_status cpu_scratch_parts(vmt_ctx *ctx, cpu_parts *parts, size_t shared_bytes,
                                  size_t own_bytes)
{
    const size_t mask = VMT_ARENA_ALIGN - 1;
    size_t own, total;
    void *memory = NULL;

    if (shared_bytes > SIZE_MAX - mask || own_bytes > SIZE_MAX - mask)
        shared_bytes = own_bytes = SIZE_MAX - mask;
    *parts = (cpu_parts){.shared_bytes = (shared_bytes + mask) & ~mask,
                         .own_bytes = (own_bytes + mask) & ~mask};
    if (!vmt_mul_size(parts->own_bytes, (size_t)ctx->threads, &own) ||
        !vmt_add_size(parts->shared_bytes, own, &total))
        total = SIZE_MAX;
    VMT_TRY(cpu_scratch(ctx, &memory, total));
    parts->shared = memory;
    parts->own = parts->shared + parts->shared_bytes;
    return VMT_OK;
}

vmt_arena cpu_own_arena(const cpu_parts *parts)
{
    return (vmt_arena){.base = parts->own + (size_t)omp_get_thread_num() * parts->own_bytes,
                       .capacity = parts->own_bytes};
}

/* ---------------------------------------------------------------- the table */

/* FNV-1a over the words. */
static size_t hash_of(const cpu_key *key)
{
    uint64_t hash = 14695981039346656037u;
    for (int i = 0; i < CPU_KEY_WORDS; i++) {
        hash ^= (uint64_t)key->word[i];
        hash *= 1099511628211u;
    }
    return (size_t)(hash ^ hash >> 32);
}

cpu_primitive *cpu_cache_find(const cpu_state *state, const cpu_key *key)
{
    const cpu_cache *cache = &state->cache;

    if (!cache->capacity)
        return NULL;
    for (size_t i = hash_of(key);; i++) {
        cpu_primitive *found = cache->slots[i & (cache->capacity - 1)];
        if (!found || memcmp(&found->key, key, sizeof *key) == 0)
            return found;
    }
}

static void put(cpu_cache *cache, cpu_primitive *primitive)
{
    size_t i = hash_of(&primitive->key);
    while (cache->slots[i & (cache->capacity - 1)])
        i++;
    cache->slots[i & (cache->capacity - 1)] = primitive;
    cache->count++;
}

/* Room for one more; at most half full, so that searches end. */
static enum vmt_status reserve(vmt_ctx *ctx, cpu_cache *cache)
{
    const cpu_cache old = *cache;
    void *slots = NULL;

    if (2 * (old.count + 1) <= old.capacity)
        return VMT_OK;
    const size_t capacity = old.capacity ? 2 * old.capacity : FIRST_CAPACITY;
    VMT_TRY(vmt_alloc(ctx, &slots, capacity, sizeof(cpu_primitive *)));
    *cache = (cpu_cache){.slots = slots, .capacity = capacity};
    for (size_t i = 0; i < old.capacity; i++)
        if (old.slots[i])
            put(cache, old.slots[i]);
    vmt_free(old.slots);
    return VMT_OK;
}

static void primitive_free(cpu_primitive *primitive)
{
    if (!primitive)
        return;
    for (int c = 0; primitive->memories && c < primitive->copies; c++)
        for (int a = 0; a < primitive->args; a++)
            if (primitive->memories[c][a])
                dnnl_memory_destroy(primitive->memories[c][a]);
    vmt_free(primitive->memories);
    if (primitive->handle)
        dnnl_primitive_destroy(primitive->handle);
    vmt_free(primitive);
}

void cpu_cache_free(cpu_state *state)
{
    for (size_t i = 0; i < state->cache.capacity; i++)
        primitive_free(state->cache.slots[i]);
    vmt_free(state->cache.slots);
    state->cache = (cpu_cache){0};
}

/* Each takes some 0.4 MiB of code and tables in BF16, less in F32.  oneDNN keeps what was compiled,
 * too, for a thousand of them. */
static void drop_primitives(cpu_state *state)
{
    int kept = 0;

    cpu_cache_free(state);
    free(state->pad.memory);
    state->pad = (vmt_ref_scratch){0};
    state->pad_stride = 0;
    state->pad_copies = 0;
    if (dnnl_get_primitive_cache_capacity(&kept) == dnnl_success &&
        dnnl_set_primitive_cache_capacity(0) == dnnl_success)
        (void)dnnl_set_primitive_cache_capacity(kept);
}

void cpu_trim(vmt_ctx *ctx)
{
    vmt_ops_ref32.trim(ctx);
    if (ctx->max_ram)
        drop_primitives(cpu_of(ctx));
}

void cpu_limit_primitives(vmt_ctx *ctx)
{
    enum { MOST = 48 }; /* an autoencoder at one size takes 32 */

    if (ctx->max_ram && cpu_of(ctx)->cache.count > MOST)
        drop_primitives(cpu_of(ctx));
}

/* Descriptors and memories of the arguments and the scratchpad. */
static enum vmt_status bind_arguments(vmt_ctx *ctx, cpu_primitive *p, const char *op,
                                      const_dnnl_primitive_desc_t desc, int count, const int *names,
                                      const dnnl_memory_desc_t *descs)
{
    void *memories = NULL;

    for (int a = 0; a < count; a++) {
        p->names[a] = names[a];
        p->descs[a] = descs[a];
    }
    p->names[count] = DNNL_ARG_SCRATCHPAD;
    p->descs[count] = *dnnl_primitive_desc_query_md(desc, dnnl_query_scratchpad_md, 0);
    p->scratch_bytes = (dnnl_memory_desc_get_size(&p->descs[count]) + VMT_ARENA_ALIGN - 1) &
                       ~(size_t)(VMT_ARENA_ALIGN - 1);
    p->args = count + 1;
    VMT_TRY(vmt_alloc(ctx, &memories, (size_t)p->copies, sizeof *p->memories));
    p->memories = memories;
    for (int c = 0; c < p->copies; c++)
        for (int a = 0; a < p->args; a++) {
            const dnnl_status_t status = dnnl_memory_create(&p->memories[c][a], &p->descs[a],
                                                            cpu_of(ctx)->engine, DNNL_MEMORY_NONE);
            if (status != dnnl_success)
                return cpu_dnnl_fail(ctx, op, status);
        }
    return VMT_OK;
}

enum vmt_status cpu_cache_add(vmt_ctx *ctx, cpu_primitive **primitive, const cpu_key *key,
                              const char *op, dnnl_primitive_desc_t desc, int count,
                              const int *names, const dnnl_memory_desc_t *descs, bool split)
{
    cpu_state *state = cpu_of(ctx);
    void *memory = NULL;
    enum vmt_status status = vmt_alloc(ctx, &memory, 1, sizeof(cpu_primitive));
    cpu_primitive *p = memory;

    if (status == VMT_OK) {
        p->key = *key;
        p->copies = split ? ctx->threads : 1;
        status = bind_arguments(ctx, p, op, desc, count, names, descs);
    }
    if (status == VMT_OK) {
        const int before = cpu_threads_begin(split ? 1 : ctx->threads);
        const dnnl_status_t made = dnnl_primitive_create(&p->handle, desc);
        cpu_threads_end(before);
        if (made != dnnl_success)
            status = cpu_dnnl_fail(ctx, op, made);
    }
    dnnl_primitive_desc_destroy(desc);
    if (status == VMT_OK) {
        if (split && p->scratch_bytes > state->pad_stride)
            state->pad_stride = p->scratch_bytes;
        if (p->copies > state->pad_copies)
            state->pad_copies = p->copies;
        const size_t split_bytes = state->pad_stride * (size_t)state->pad_copies;
        status =
            grow(ctx, &state->pad, p->scratch_bytes > split_bytes ? p->scratch_bytes : split_bytes,
                 "oneDNN scratchpads");
    }
    if (status == VMT_OK)
        status = reserve(ctx, &state->cache);
    if (status != VMT_OK) {
        primitive_free(p);
        return status;
    }
    put(&state->cache, p);
    *primitive = p;
    return VMT_OK;
}

dnnl_status_t cpu_primitive_run(cpu_state *state, cpu_primitive *p, int copy, void *const *data)
{
    dnnl_exec_arg_t args[CPU_MAX_ARGS];
    unsigned char *const pad = state->pad.memory;

    for (int a = 0; a < p->args; a++) {
        void *const pointer = a + 1 < p->args ? data[a] : pad + (size_t)copy * state->pad_stride;
        const dnnl_status_t status = dnnl_memory_set_data_handle(p->memories[copy][a], pointer);
        if (status != dnnl_success)
            return status;
        args[a] = (dnnl_exec_arg_t){p->names[a], p->memories[copy][a]};
    }
    return dnnl_primitive_execute(p->handle, state->stream, p->args, args);
}

dnnl_status_t cpu_attributes(dnnl_primitive_attr_t *attributes, enum vmt_epilogue epilogue,
                             bool add)
{
    dnnl_post_ops_t operations = NULL;
    dnnl_status_t status = dnnl_primitive_attr_create(attributes);

    if (status == dnnl_success)
        status = dnnl_primitive_attr_set_scratchpad_mode(*attributes, dnnl_scratchpad_mode_user);
    if (status == dnnl_success)
        status = dnnl_post_ops_create(&operations);
    if (status == dnnl_success && add)
        status = dnnl_post_ops_append_sum(operations, 1);
    if (status == dnnl_success && epilogue == VMT_EPILOGUE_GELU)
        status = dnnl_post_ops_append_eltwise(operations, 1, dnnl_eltwise_gelu_tanh, 0, 0);
    if (status == dnnl_success && epilogue == VMT_EPILOGUE_SILU)
        status = dnnl_post_ops_append_eltwise(operations, 1, dnnl_eltwise_swish, 1, 0);
    if (status == dnnl_success)
        status = dnnl_primitive_attr_set_post_ops(*attributes, operations);
    if (operations)
        dnnl_post_ops_destroy(operations);
    return status;
}

/* ---------------------------------------------------------------- matrix product */

static cpu_key matmul_key(const vmt_ctx *ctx, const cpu_matmul *m)
{
    const cpu_key key = {{1, m->m, m->k, m->n, m->a_row, m->a_col, m->b_row, m->b_col, m->c_row,
                          m->in, m->out, m->epilogue, m->has_bias, m->add, m->split, ctx->threads}};
    return key;
}

static dnnl_status_t matrix_desc(dnnl_memory_desc_t *desc, enum vmt_dtype dtype, int64_t rows,
                                 int64_t cols, int64_t row, int64_t col)
{
    const dnnl_dims_t dims = {rows, cols}, strides = {row, col};
    return dnnl_memory_desc_init_by_strides(desc, 2, dims, cpu_dnnl_type(dtype), strides);
}

/* Descriptors in the order a, b, c, bias. */
static dnnl_status_t matmul_desc(dnnl_primitive_desc_t *desc, dnnl_memory_desc_t descs[4],
                                 const cpu_matmul *m, dnnl_engine_t engine)
{
    dnnl_matmul_desc_t operation;
    dnnl_primitive_attr_t attributes = NULL;
    dnnl_status_t status = matrix_desc(&descs[0], m->in, m->m, m->k, m->a_row, m->a_col);

    if (status == dnnl_success)
        status = matrix_desc(&descs[1], m->in, m->k, m->n, m->b_row, m->b_col);
    if (status == dnnl_success)
        status = matrix_desc(&descs[2], m->out, m->m, m->n, m->c_row, 1);
    if (status == dnnl_success && m->has_bias)
        status = matrix_desc(&descs[3], VMT_F32, 1, m->n, m->n, 1);
    if (status == dnnl_success)
        status = dnnl_matmul_desc_init(&operation, &descs[0], &descs[1],
                                       m->has_bias ? &descs[3] : NULL, &descs[2]);
    if (status == dnnl_success)
        status = cpu_attributes(&attributes, m->epilogue, m->add);
    if (status == dnnl_success)
        status = dnnl_primitive_desc_create(desc, &operation, attributes, engine, NULL);
    if (attributes)
        dnnl_primitive_attr_destroy(attributes);
    return status;
}

enum vmt_status cpu_matmul_get(vmt_ctx *ctx, cpu_primitive **primitive, const cpu_matmul *matmul)
{
    static const int names[] = {DNNL_ARG_SRC, DNNL_ARG_WEIGHTS, DNNL_ARG_DST, DNNL_ARG_BIAS};
    const cpu_key key = matmul_key(ctx, matmul);
    dnnl_memory_desc_t descs[4];
    dnnl_primitive_desc_t desc = NULL;

    *primitive = cpu_cache_find(cpu_of(ctx), &key);
    if (*primitive)
        return VMT_OK;
    const int before = cpu_threads_begin(matmul->split ? 1 : ctx->threads);
    const dnnl_status_t status = matmul_desc(&desc, descs, matmul, cpu_of(ctx)->engine);
    cpu_threads_end(before);
    if (status != dnnl_success)
        return cpu_dnnl_fail(ctx, "matmul", status);
    return cpu_cache_add(ctx, primitive, &key, "matmul", desc, matmul->has_bias ? 4 : 3, names,
                         descs, matmul->split);
}

dnnl_status_t cpu_matmul_run(cpu_state *state, cpu_primitive *primitive, int copy, void *c,
                             const void *a, const void *b, const void *bias)
{
    /* oneDNN takes inputs and outputs alike as void *; it does not write the inputs. */
    union {
        const void *in;
        void *any;
    } from[3] = {{a}, {b}, {bias}};
    void *const data[] = {from[0].any, from[1].any, c, from[2].any};
    return cpu_primitive_run(state, primitive, copy, data);
}
