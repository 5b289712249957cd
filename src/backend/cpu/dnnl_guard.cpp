/* SPDX-License-Identifier: MIT */
#include "backend/cpu/dnnl_guard.h"

#include <cstring>
#include <new>

namespace
{

template <class Call> dnnl_status_t guarded(Call call)
try {
    return call();
} catch (const std::bad_alloc &) {
    return dnnl_out_of_memory;
} catch (...) {
    return dnnl_runtime_error;
}

/* oneDNN 2.6 creates some convolutions of few channels by tiles (AMX) with reads from beyond a
 * table of its own: chance decides between a right result and the end of the process. */
bool faulty(const_dnnl_primitive_desc_t desc)
{
    const char *name = nullptr;

    return dnnl_version()->major < 3 &&
           dnnl_primitive_desc_query(desc, dnnl_query_impl_info_str, 0, &name) == dnnl_success &&
           std::strstr(name, "brgconv:avx512_core_amx");
}

dnnl_status_t first_sound(dnnl_primitive_desc_t *desc, const_dnnl_op_desc_t operation,
                          const_dnnl_primitive_attr_t attributes, dnnl_engine_t engine,
                          const_dnnl_primitive_desc_t hint)
{
    dnnl_primitive_desc_iterator_t all;
    dnnl_status_t status =
        dnnl_primitive_desc_iterator_create(&all, operation, attributes, engine, hint);

    if (status != dnnl_success)
        return status;
    do {
        *desc = dnnl_primitive_desc_iterator_fetch(all);
        if (!*desc)
            status = dnnl_out_of_memory;
        else if (!faulty(*desc))
            break;
        else
            dnnl_primitive_desc_destroy(*desc);
        if (status == dnnl_success)
            status = dnnl_primitive_desc_iterator_next(all);
    } while (status == dnnl_success);
    dnnl_primitive_desc_iterator_destroy(all);
    return status;
}

} // namespace

dnnl_status_t cpu_dnnl_engine_create(dnnl_engine_t *engine, dnnl_engine_kind_t kind, size_t index)
{
    return guarded([=] { return dnnl_engine_create(engine, kind, index); });
}

dnnl_status_t cpu_dnnl_stream_create(dnnl_stream_t *stream, dnnl_engine_t engine, unsigned flags)
{
    return guarded([=] { return dnnl_stream_create(stream, engine, flags); });
}

dnnl_status_t cpu_dnnl_memory_create(dnnl_memory_t *memory, const dnnl_memory_desc_t *desc,
                                     dnnl_engine_t engine, void *handle)
{
    return guarded([=] { return dnnl_memory_create(memory, desc, engine, handle); });
}

dnnl_status_t cpu_dnnl_memory_set_data_handle(dnnl_memory_t memory, void *handle)
{
    return guarded([=] { return dnnl_memory_set_data_handle(memory, handle); });
}

dnnl_status_t cpu_dnnl_primitive_attr_create(dnnl_primitive_attr_t *attributes)
{
    return guarded([=] { return dnnl_primitive_attr_create(attributes); });
}

dnnl_status_t cpu_dnnl_primitive_attr_set_post_ops(dnnl_primitive_attr_t attributes,
                                                   const_dnnl_post_ops_t operations)
{
    return guarded([=] { return dnnl_primitive_attr_set_post_ops(attributes, operations); });
}

dnnl_status_t cpu_dnnl_post_ops_create(dnnl_post_ops_t *operations)
{
    return guarded([=] { return dnnl_post_ops_create(operations); });
}

dnnl_status_t cpu_dnnl_post_ops_append_sum(dnnl_post_ops_t operations, float scale)
{
    return guarded([=] { return dnnl_post_ops_append_sum(operations, scale); });
}

dnnl_status_t cpu_dnnl_post_ops_append_eltwise(dnnl_post_ops_t operations, float scale,
                                               dnnl_alg_kind_t kind, float alpha, float beta)
{
    return guarded(
        [=] { return dnnl_post_ops_append_eltwise(operations, scale, kind, alpha, beta); });
}

dnnl_status_t cpu_dnnl_primitive_desc_create(dnnl_primitive_desc_t *desc,
                                             const_dnnl_op_desc_t operation,
                                             const_dnnl_primitive_attr_t attributes,
                                             dnnl_engine_t engine, const_dnnl_primitive_desc_t hint)
{
    return guarded([=] { return first_sound(desc, operation, attributes, engine, hint); });
}

dnnl_status_t cpu_dnnl_reorder_primitive_desc_create(
    dnnl_primitive_desc_t *desc, const dnnl_memory_desc_t *from, dnnl_engine_t from_engine,
    const dnnl_memory_desc_t *to, dnnl_engine_t to_engine, const_dnnl_primitive_attr_t attributes)
{
    return guarded([=] {
        return dnnl_reorder_primitive_desc_create(desc, from, from_engine, to, to_engine,
                                                  attributes);
    });
}

dnnl_status_t cpu_dnnl_primitive_create(dnnl_primitive_t *primitive,
                                        const_dnnl_primitive_desc_t desc)
{
    return guarded([=] { return dnnl_primitive_create(primitive, desc); });
}

dnnl_status_t cpu_dnnl_primitive_execute(const_dnnl_primitive_t primitive, dnnl_stream_t stream,
                                         int count, const dnnl_exec_arg_t *args)
{
    return guarded([=] { return dnnl_primitive_execute(primitive, stream, count, args); });
}
