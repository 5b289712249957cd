/* SPDX-License-Identifier: MIT
 *
 * See cuda_cudnn.h.  The one file that sees cuDNN's C++ frontend; no exception leaves it.
 */
#include "backend/cuda/cuda_cudnn.h"

#define NV_CUDNN_FRONTEND_USE_DYNAMIC_LOADING
#include <cudnn_frontend.h>

#include <cstdio>
#include <dlfcn.h>
#include <memory>
#include <unordered_map>
#include <vector>

namespace cudnn_frontend
{
void *cudnn_dlhandle = nullptr; /* the frontend looks cuDNN's functions up in it */
}

namespace fe = cudnn_frontend;

struct cuda_cudnn_plan {
    cuda_cudnn_shape shape;
    std::shared_ptr<fe::graph::Graph> graph; /* null: cuDNN has none */
    int64_t workspace;
};

struct cuda_cudnn {
    cudnnHandle_t handle;
    std::vector<std::unique_ptr<cuda_cudnn_plan>> plans;
};

extern "C" cuda_cudnn *cuda_cudnn_open(cudaStream_t stream, char *why, size_t size)
{
    try {
        if (!fe::cudnn_dlhandle)
            fe::cudnn_dlhandle = dlopen("libcudnn.so.9", RTLD_NOW | RTLD_LOCAL);
        if (!fe::cudnn_dlhandle) {
            snprintf(why, size, "%s", dlerror());
            return nullptr;
        }
        auto library = std::make_unique<cuda_cudnn>();
        if (fe::detail::create_handle(&library->handle) != CUDNN_STATUS_SUCCESS) {
            snprintf(why, size, "cuDNN does not start on this device");
            return nullptr;
        }
        if (fe::detail::set_stream(library->handle, stream) != CUDNN_STATUS_SUCCESS) {
            snprintf(why, size, "cuDNN does not take the stream");
            fe::detail::destroy_handle(library->handle);
            return nullptr;
        }
        return library.release();
    } catch (const std::exception &e) {
        snprintf(why, size, "%s", e.what());
        return nullptr;
    }
}

extern "C" void cuda_cudnn_close(cuda_cudnn *library)
{
    if (!library)
        return;
    try {
        library->plans.clear();
        fe::detail::destroy_handle(library->handle);
    } catch (const std::exception &) {
        /* nothing is left to be done with it */
    }
    delete library;
}

extern "C" size_t cuda_cudnn_version(const cuda_cudnn *library)
{
    return library ? fe::detail::get_backend_version() : 0;
}

/* [tokens, heads, d] as cuDNN's [batch, heads, tokens, d]. */
static fe::graph::Tensor_attributes heads_of(const char *name, int64_t uid, int64_t tokens,
                                             int64_t heads, int64_t d)
{
    return fe::graph::Tensor_attributes()
        .set_name(name)
        .set_uid(uid)
        .set_dim({1, heads, tokens, d})
        .set_stride({tokens * heads * d, d, heads * d, 1})
        .set_data_type(fe::DataType_t::BFLOAT16);
}

static void as_output(const std::shared_ptr<fe::graph::Tensor_attributes> &t, int64_t uid,
                      int64_t tokens, const cuda_cudnn_shape &s)
{
    t->set_output(true)
        .set_uid(uid)
        .set_dim({1, s.heads, tokens, s.d})
        .set_stride({tokens * s.heads * s.d, s.d, s.heads * s.d, 1})
        .set_data_type(fe::DataType_t::BFLOAT16);
}

static fe::graph::Tensor_attributes lse_of(const cuda_cudnn_shape &s)
{
    return fe::graph::Tensor_attributes()
        .set_name("lse")
        .set_uid(CUDA_CUDNN_LSE)
        .set_dim({1, s.heads, s.nq, 1})
        .set_stride({s.heads * s.nq, s.nq, 1, 1})
        .set_data_type(fe::DataType_t::FLOAT);
}

static void add_forward(fe::graph::Graph &g, const cuda_cudnn_shape &s)
{
    auto q = g.tensor(heads_of("q", CUDA_CUDNN_Q, s.nq, s.heads, s.d));
    auto k = g.tensor(heads_of("k", CUDA_CUDNN_K, s.nk, s.heads, s.d));
    auto v = g.tensor(heads_of("v", CUDA_CUDNN_V, s.nk, s.heads, s.d));
    auto options =
        fe::graph::SDPA_attributes().set_name("attention").set_attn_scale((float)s.scale);
    options.set_generate_stats(s.has_lse);
    auto [o, lse] = g.sdpa(q, k, v, options);
    as_output(o, CUDA_CUDNN_O, s.nq, s);
    if (s.has_lse)
        lse->set_output(true)
            .set_uid(CUDA_CUDNN_LSE)
            .set_dim({1, s.heads, s.nq, 1})
            .set_stride({s.heads * s.nq, s.nq, 1, 1})
            .set_data_type(fe::DataType_t::FLOAT);
}

static void add_backward(fe::graph::Graph &g, const cuda_cudnn_shape &s)
{
    auto q = g.tensor(heads_of("q", CUDA_CUDNN_Q, s.nq, s.heads, s.d));
    auto k = g.tensor(heads_of("k", CUDA_CUDNN_K, s.nk, s.heads, s.d));
    auto v = g.tensor(heads_of("v", CUDA_CUDNN_V, s.nk, s.heads, s.d));
    auto o = g.tensor(heads_of("o", CUDA_CUDNN_O, s.nq, s.heads, s.d));
    auto dout = g.tensor(heads_of("do", CUDA_CUDNN_DO, s.nq, s.heads, s.d));
    auto lse = g.tensor(lse_of(s));
    auto options = fe::graph::SDPA_backward_attributes()
                       .set_name("attention_bwd")
                       .set_attn_scale((float)s.scale)
                       .set_deterministic_algorithm(true);
    auto [dq, dk, dv] = g.sdpa_backward(q, k, v, o, dout, lse, options);
    as_output(dq, CUDA_CUDNN_DQ, s.nq, s);
    as_output(dk, CUDA_CUDNN_DK, s.nk, s);
    as_output(dv, CUDA_CUDNN_DV, s.nk, s);
}

/* Null when cuDNN has no kernel for the shape. */
static std::shared_ptr<fe::graph::Graph> build(cudnnHandle_t handle, const cuda_cudnn_shape &s)
{
    auto graph = std::make_shared<fe::graph::Graph>();

    graph->set_io_data_type(fe::DataType_t::BFLOAT16)
        .set_intermediate_data_type(fe::DataType_t::FLOAT)
        .set_compute_data_type(fe::DataType_t::FLOAT);
    if (s.backward)
        add_backward(*graph, s);
    else
        add_forward(*graph, s);
    if (graph->validate().is_bad() || graph->build_operation_graph(handle).is_bad() ||
        graph->create_execution_plans({fe::HeurMode_t::A}).is_bad() ||
        graph->check_support(handle).is_bad() || graph->build_plans(handle).is_bad())
        return nullptr;
    return graph;
}

static bool same_shape(const cuda_cudnn_shape &a, const cuda_cudnn_shape &b)
{
    return a.nq == b.nq && a.nk == b.nk && a.heads == b.heads && a.d == b.d && a.scale == b.scale &&
           a.backward == b.backward && a.has_lse == b.has_lse;
}

extern "C" cuda_cudnn_plan *cuda_cudnn_find(cuda_cudnn *library, const cuda_cudnn_shape *shape,
                                            bool *made)
{
    *made = false;
    for (const auto &plan : library->plans)
        if (same_shape(plan->shape, *shape))
            return plan->graph ? plan.get() : nullptr;
    try {
        auto plan = std::make_unique<cuda_cudnn_plan>(cuda_cudnn_plan{*shape, nullptr, 0});
        try {
            plan->graph = build(library->handle, *shape);
            if (plan->graph && plan->graph->get_workspace_size(plan->workspace).is_bad())
                plan->graph = nullptr;
        } catch (const std::exception &) {
            plan->graph = nullptr;
        }
        library->plans.push_back(std::move(plan));
    } catch (const std::exception &) {
        return nullptr; /* no memory for the entry: products it is */
    }
    *made = true;
    return library->plans.back()->graph ? library->plans.back().get() : nullptr;
}

extern "C" size_t cuda_cudnn_workspace(const cuda_cudnn_plan *plan)
{
    return (size_t)plan->workspace;
}

extern "C" bool cuda_cudnn_run(cuda_cudnn *library, cuda_cudnn_plan *plan,
                               void *const data[CUDA_CUDNN_POINTERS], void *workspace, char *why,
                               size_t size)
{
    try {
        std::unordered_map<int64_t, void *> pack;
        const bool backward = plan->shape.backward;
        for (int64_t uid = CUDA_CUDNN_Q; uid < CUDA_CUDNN_POINTERS; uid++)
            if ((backward || uid <= CUDA_CUDNN_LSE) &&
                (uid != CUDA_CUDNN_LSE || plan->shape.has_lse))
                pack[uid] = data[uid];
        auto error = plan->graph->execute(library->handle, pack, workspace);
        if (error.is_good())
            return true;
        snprintf(why, size, "%s", error.get_message().c_str());
    } catch (const std::exception &e) {
        snprintf(why, size, "%s", e.what());
    }
    return false;
}
