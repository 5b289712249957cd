/* SPDX-License-Identifier: MIT
 *
 * oneDNN's C interface lets std::bad_alloc through, which no C caller can catch.  Its calls that
 * allocate therefore go by way of dnnl_guard.cpp, which turns exceptions into a status.  And of the
 * ways in which it can do an operation, it takes the first that is not known to be faulty.
 */
#ifndef VMT_CPU_DNNL_GUARD_H
#define VMT_CPU_DNNL_GUARD_H

#include <oneapi/dnnl/dnnl.h>

#ifdef __cplusplus
extern "C" {
#endif

dnnl_status_t cpu_dnnl_engine_create(dnnl_engine_t *engine, dnnl_engine_kind_t kind, size_t index);
dnnl_status_t cpu_dnnl_stream_create(dnnl_stream_t *stream, dnnl_engine_t engine, unsigned flags);
dnnl_status_t cpu_dnnl_memory_create(dnnl_memory_t *memory, const dnnl_memory_desc_t *desc,
                                     dnnl_engine_t engine, void *handle);
dnnl_status_t cpu_dnnl_memory_set_data_handle(dnnl_memory_t memory, void *handle);
dnnl_status_t cpu_dnnl_primitive_attr_create(dnnl_primitive_attr_t *attributes);
dnnl_status_t cpu_dnnl_primitive_attr_set_post_ops(dnnl_primitive_attr_t attributes,
                                                   const_dnnl_post_ops_t operations);
dnnl_status_t cpu_dnnl_post_ops_create(dnnl_post_ops_t *operations);
dnnl_status_t cpu_dnnl_post_ops_append_sum(dnnl_post_ops_t operations, float scale);
dnnl_status_t cpu_dnnl_post_ops_append_eltwise(dnnl_post_ops_t operations, float scale,
                                               dnnl_alg_kind_t kind, float alpha, float beta);
dnnl_status_t cpu_dnnl_primitive_desc_create(dnnl_primitive_desc_t *desc,
                                             const_dnnl_op_desc_t operation,
                                             const_dnnl_primitive_attr_t attributes,
                                             dnnl_engine_t engine,
                                             const_dnnl_primitive_desc_t hint);
dnnl_status_t cpu_dnnl_reorder_primitive_desc_create(
    dnnl_primitive_desc_t *desc, const dnnl_memory_desc_t *from, dnnl_engine_t from_engine,
    const dnnl_memory_desc_t *to, dnnl_engine_t to_engine, const_dnnl_primitive_attr_t attributes);
dnnl_status_t cpu_dnnl_primitive_create(dnnl_primitive_t *primitive,
                                        const_dnnl_primitive_desc_t desc);
dnnl_status_t cpu_dnnl_primitive_execute(const_dnnl_primitive_t primitive, dnnl_stream_t stream,
                                         int count, const dnnl_exec_arg_t *args);

#ifdef __cplusplus
}
#else
#define dnnl_engine_create cpu_dnnl_engine_create
#define dnnl_stream_create cpu_dnnl_stream_create
#define dnnl_memory_create cpu_dnnl_memory_create
#define dnnl_memory_set_data_handle cpu_dnnl_memory_set_data_handle
#define dnnl_primitive_attr_create cpu_dnnl_primitive_attr_create
#define dnnl_primitive_attr_set_post_ops cpu_dnnl_primitive_attr_set_post_ops
#define dnnl_post_ops_create cpu_dnnl_post_ops_create
#define dnnl_post_ops_append_sum cpu_dnnl_post_ops_append_sum
#define dnnl_post_ops_append_eltwise cpu_dnnl_post_ops_append_eltwise
#define dnnl_primitive_desc_create cpu_dnnl_primitive_desc_create
#define dnnl_reorder_primitive_desc_create cpu_dnnl_reorder_primitive_desc_create
#define dnnl_primitive_create cpu_dnnl_primitive_create
#define dnnl_primitive_execute cpu_dnnl_primitive_execute
#endif

#endif
