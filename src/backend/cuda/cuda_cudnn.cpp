/* SPDX-License-Identifier: MIT
 *
 * See cuda_cudnn.h.  The one file that sees cuDNN's C++ frontend; no exception leaves it.
 */
#include "backend/cuda/cuda_cudnn.h"

#define NV_CUDNN_FRONTEND_USE_DYNAMIC_LOADING
#include <cudnn_frontend.h>

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <dlfcn.h>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

namespace cudnn_frontend
{
void *cudnn_dlhandle = nullptr; /* the frontend looks cuDNN's functions up in it */
}

namespace fe = cudnn_frontend;

struct cuda_cudnn_plan {
    std::shared_ptr<fe::graph::Graph> graph; /* null: cuDNN has none */
    int64_t workspace = 0;
    std::vector<int64_t> pointers; /* that it reads and writes */
    std::string engine;
};

template <typename Shape> struct planned {
    Shape shape;
    cuda_cudnn_plan plan;
};
template <typename Shape> using plan_list = std::vector<std::unique_ptr<planned<Shape>>>;

struct cuda_cudnn {
    cudnnHandle_t handle;
    plan_list<cuda_cudnn_shape> attention;
    plan_list<cuda_cudnn_conv> conv;
};

/* Work memory that a convolution may take: kernels that want more convert their operands first. */
static constexpr int64_t MOST_WORKSPACE = 256 << 20;

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
        library->attention.clear();
        library->conv.clear();
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

/* ---------------------------------------------------------------- attention */

/* [batch, tokens, heads, d] as cuDNN's [batch, heads, tokens, d]. */
static fe::graph::Tensor_attributes heads_of(const char *name, int64_t uid, int64_t tokens,
                                             const cuda_cudnn_shape &s)
{
    return fe::graph::Tensor_attributes()
        .set_name(name)
        .set_uid(uid)
        .set_dim({s.batch, s.heads, tokens, s.d})
        .set_stride({tokens * s.row, s.d, s.row, 1})
        .set_data_type(fe::DataType_t::BFLOAT16);
}

static void as_output(const std::shared_ptr<fe::graph::Tensor_attributes> &t, int64_t uid,
                      int64_t tokens, const cuda_cudnn_shape &s)
{
    t->set_output(true)
        .set_uid(uid)
        .set_dim({s.batch, s.heads, tokens, s.d})
        .set_stride({tokens * s.row, s.d, s.row, 1})
        .set_data_type(fe::DataType_t::BFLOAT16);
}

static void as_lse(fe::graph::Tensor_attributes &t, const cuda_cudnn_shape &s)
{
    const int64_t batch = s.lse_by_batch ? s.heads * s.nq : s.nq;
    const int64_t head = s.lse_by_batch ? s.nq : s.batch * s.nq;

    t.set_uid(CUDA_CUDNN_LSE)
        .set_dim({s.batch, s.heads, s.nq, 1})
        .set_stride({batch, head, 1, 1})
        .set_data_type(fe::DataType_t::FLOAT);
}

static void add_forward(fe::graph::Graph &g, const cuda_cudnn_shape &s)
{
    auto q = g.tensor(heads_of("q", CUDA_CUDNN_Q, s.nq, s));
    auto k = g.tensor(heads_of("k", CUDA_CUDNN_K, s.nk, s));
    auto v = g.tensor(heads_of("v", CUDA_CUDNN_V, s.nk, s));
    auto options =
        fe::graph::SDPA_attributes().set_name("attention").set_attn_scale((float)s.scale);
    options.set_generate_stats(s.has_lse);
    auto [o, lse] = g.sdpa(q, k, v, options);
    as_output(o, CUDA_CUDNN_O, s.nq, s);
    if (s.has_lse)
        as_lse(lse->set_output(true), s);
}

static void add_backward(fe::graph::Graph &g, const cuda_cudnn_shape &s)
{
    auto q = g.tensor(heads_of("q", CUDA_CUDNN_Q, s.nq, s));
    auto k = g.tensor(heads_of("k", CUDA_CUDNN_K, s.nk, s));
    auto v = g.tensor(heads_of("v", CUDA_CUDNN_V, s.nk, s));
    auto o = g.tensor(heads_of("o", CUDA_CUDNN_O, s.nq, s));
    auto dout = g.tensor(heads_of("do", CUDA_CUDNN_DO, s.nq, s));
    fe::graph::Tensor_attributes given;
    as_lse(given, s);
    auto lse = g.tensor(given.set_name("lse"));
    auto options = fe::graph::SDPA_backward_attributes()
                       .set_name("attention_bwd")
                       .set_attn_scale((float)s.scale)
                       .set_deterministic_algorithm(!s.any_order);
    auto [dq, dk, dv] = g.sdpa_backward(q, k, v, o, dout, lse, options);
    as_output(dq, CUDA_CUDNN_DQ, s.nq, s);
    as_output(dk, CUDA_CUDNN_DK, s.nk, s);
    as_output(dv, CUDA_CUDNN_DV, s.nk, s);
}

static std::vector<int64_t> attention_pointers(const cuda_cudnn_shape &s)
{
    std::vector<int64_t> uids = {CUDA_CUDNN_Q, CUDA_CUDNN_K, CUDA_CUDNN_V, CUDA_CUDNN_O};

    if (s.has_lse || s.backward)
        uids.push_back(CUDA_CUDNN_LSE);
    if (s.backward)
        uids.insert(uids.end(), {CUDA_CUDNN_DO, CUDA_CUDNN_DQ, CUDA_CUDNN_DK, CUDA_CUDNN_DV});
    return uids;
}

static void add_attention(fe::graph::Graph &graph, const cuda_cudnn_shape &s)
{
    if (s.backward)
        add_backward(graph, s);
    else
        add_forward(graph, s);
}

/* ---------------------------------------------------------------- convolution */

/* Sizes as cuDNN counts them, [outer, channels, space..], the channels side by side in memory. */
static fe::graph::Tensor_attributes channels_last(const char *name, int64_t uid, int64_t axes,
                                                  int64_t outer, int64_t channels,
                                                  const int64_t space[3])
{
    std::vector<int64_t> dim = {outer, channels}, stride((size_t)axes + 2, 1);
    int64_t step = channels;

    dim.insert(dim.end(), space + 3 - axes, space + 3);
    for (size_t i = (size_t)axes + 1; i >= 2; i--) {
        stride[i] = step;
        step *= dim[i];
    }
    stride[0] = step;
    return fe::graph::Tensor_attributes()
        .set_name(name)
        .set_uid(uid)
        .set_dim(dim)
        .set_stride(stride)
        .set_data_type(fe::DataType_t::BFLOAT16);
}

static void add_conv(fe::graph::Graph &g, const cuda_cudnn_conv &c)
{
    const auto axes = [&c](const int64_t space[3]) {
        return std::vector<int64_t>(space + 3 - c.axes, space + 3);
    };
    auto x = g.tensor(channels_last("x", CUDA_CUDNN_X, c.axes, c.batch, c.in, c.x));
    auto filter =
        g.tensor(channels_last("filter", CUDA_CUDNN_FILTER, c.axes, c.out, c.in, c.filter));
    auto y = g.conv_fprop(x, filter,
                          fe::graph::Conv_fprop_attributes()
                              .set_name("conv")
                              .set_pre_padding(axes(c.before))
                              .set_post_padding(axes(c.after))
                              .set_stride(axes(c.stride))
                              .set_dilation(std::vector<int64_t>((size_t)c.axes, 1)));
    const auto wanted = channels_last("y", CUDA_CUDNN_Y, c.axes, c.batch, c.out, c.y);
    y->set_output(true)
        .set_uid(CUDA_CUDNN_Y)
        .set_dim(wanted.get_dim())
        .set_stride(wanted.get_stride())
        .set_data_type(fe::DataType_t::BFLOAT16);
}

/* ---------------------------------------------------------------- plans */

/* Kernels by transforms, with sums narrower than F32 or in an order of chance are out; so are those
 * that are compiled at run time. */
static void keep_exact(fe::graph::Graph &graph)
{
    graph.deselect_behavior_notes({fe::BehaviorNote_t::RUNTIME_COMPILATION});
    graph.deselect_numeric_notes(
        {fe::NumericalNote_t::NONDETERMINISTIC, fe::NumericalNote_t::REDUCED_PRECISION_REDUCTION,
         fe::NumericalNote_t::FFT, fe::NumericalNote_t::WINOGRAD,
         fe::NumericalNote_t::WINOGRAD_TILE_4x4, fe::NumericalNote_t::WINOGRAD_TILE_6x6,
         fe::NumericalNote_t::WINOGRAD_TILE_13x13});
    graph.deselect_workspace_greater_than(MOST_WORKSPACE);
}

/* Leaves plan.graph null when cuDNN has no kernel for the shape. */
static void build(cudnnHandle_t handle, const cuda_cudnn_shape &shape, cuda_cudnn_plan &plan)
{
    auto graph = std::make_shared<fe::graph::Graph>();

    graph->set_io_data_type(fe::DataType_t::BFLOAT16)
        .set_intermediate_data_type(fe::DataType_t::FLOAT)
        .set_compute_data_type(fe::DataType_t::FLOAT);
    add_attention(*graph, shape);
    if (graph->validate().is_bad() || graph->build_operation_graph(handle).is_bad() ||
        graph->create_execution_plans({fe::HeurMode_t::A}).is_bad() ||
        graph->check_support(handle).is_bad() || graph->build_plans(handle).is_bad())
        return;
    plan.pointers = attention_pointers(shape);
    plan.graph = graph;
}

/* Makes one plan of those that cuDNN proposes, by its order alone: nothing is timed, so that each
 * run takes the same.  Of the first few, kernels for clusters of thread blocks (which chips from
 * compute capability 9.0 on have) come first: cuDNN ranks older ones above them that take half as
 * long again.  Numbers of engines differ between versions; the type of the knob that sets a
 * cluster's size, which is in the name of the plan, does not. */
static bool choose(fe::graph::Graph &graph)
{
    static const int64_t first_few = 10;
    const std::string cluster = "_k" + std::to_string(CUDNN_KNOB_TYPE_TILE_CGA_M) + "=";
    const int64_t count = std::min(graph.get_execution_plan_count(), first_few);
    std::string name;

    for (int64_t i = 0; i < count; i++)
        if (graph.get_plan_name_at_index(i, name).is_good() &&
            name.find(cluster) != std::string::npos && graph.build_plan_at_index(i).is_good())
            return true;
    return graph.build_plans(fe::BuildPlanPolicy_t::HEURISTICS_CHOICE).is_good();
}

static bool build_by(fe::HeurMode_t mode, cudnnHandle_t handle, const cuda_cudnn_conv &conv,
                     cuda_cudnn_plan &plan)
{
    auto graph = std::make_shared<fe::graph::Graph>();

    graph->set_io_data_type(fe::DataType_t::BFLOAT16)
        .set_intermediate_data_type(fe::DataType_t::FLOAT)
        .set_compute_data_type(fe::DataType_t::FLOAT);
    add_conv(*graph, conv);
    if (graph->validate().is_bad() || graph->build_operation_graph(handle).is_bad() ||
        graph->create_execution_plans({mode}).is_bad())
        return false;
    keep_exact(*graph);
    if (!choose(*graph))
        return false;
    plan.pointers = {CUDA_CUDNN_X, CUDA_CUDNN_FILTER, CUDA_CUDNN_Y};
    plan.graph = graph;
    return true;
}

static void build(cudnnHandle_t handle, const cuda_cudnn_conv &conv, cuda_cudnn_plan &plan)
{
    if (!build_by(fe::HeurMode_t::A, handle, conv, plan))
        build_by(fe::HeurMode_t::FALLBACK, handle, conv, plan);
}

static bool same_shape(const cuda_cudnn_shape &a, const cuda_cudnn_shape &b)
{
    return a.batch == b.batch && a.nq == b.nq && a.nk == b.nk && a.heads == b.heads && a.d == b.d &&
           a.row == b.row && a.scale == b.scale && a.backward == b.backward &&
           a.has_lse == b.has_lse && a.lse_by_batch == b.lse_by_batch && a.any_order == b.any_order;
}

static bool same_shape(const cuda_cudnn_conv &a, const cuda_cudnn_conv &b)
{
    return memcmp(&a, &b, sizeof a) == 0; /* all of it is int64_t */
}

template <typename Shape>
static cuda_cudnn_plan *find(cuda_cudnn *library, plan_list<Shape> &list, const Shape &shape,
                             bool *made)
{
    *made = false;
    for (const auto &entry : list)
        if (same_shape(entry->shape, shape))
            return entry->plan.graph ? &entry->plan : nullptr;
    try {
        auto entry = std::make_unique<planned<Shape>>(planned<Shape>{shape, {}});
        cuda_cudnn_plan &plan = entry->plan;
        try {
            build(library->handle, shape, plan);
            if (plan.graph && (plan.graph->get_workspace_size(plan.workspace).is_bad() ||
                               plan.graph->get_plan_name(plan.engine).is_bad()))
                plan.graph = nullptr;
        } catch (const std::exception &) {
            plan.graph = nullptr;
        }
        list.push_back(std::move(entry));
    } catch (const std::exception &) {
        return nullptr; /* no memory for the entry: products it is */
    }
    *made = true;
    cuda_cudnn_plan *plan = &list.back()->plan;
    return plan->graph ? plan : nullptr;
}

extern "C" cuda_cudnn_plan *cuda_cudnn_find(cuda_cudnn *library, const cuda_cudnn_shape *shape,
                                            bool *made)
{
    return find(library, library->attention, *shape, made);
}

extern "C" cuda_cudnn_plan *cuda_cudnn_find_conv(cuda_cudnn *library, const cuda_cudnn_conv *conv,
                                                 bool *made)
{
    return find(library, library->conv, *conv, made);
}

extern "C" size_t cuda_cudnn_workspace(const cuda_cudnn_plan *plan)
{
    return (size_t)plan->workspace;
}

extern "C" const char *cuda_cudnn_engine(const cuda_cudnn_plan *plan)
{
    return plan->engine.c_str();
}

extern "C" bool cuda_cudnn_run(cuda_cudnn *library, cuda_cudnn_plan *plan,
                               void *const data[CUDA_CUDNN_POINTERS], void *workspace, char *why,
                               size_t size)
{
    try {
        std::unordered_map<int64_t, void *> pack;
        for (int64_t uid : plan->pointers)
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
