/* SPDX-License-Identifier: MIT */
#include "model/random_model.h"

#include "base/atomic_file.h"
#include "base/json.h"
#include "base/mapped_file.h"
#include "model/pth_writer.h"
#include "model/random_fill.h"
#include "model/safetensors.h"
#include "model/tensor_list.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { PIECE = 1 << 22, MAX_PATH_BYTES = 4096 }; /* elements drawn at a time */

/* ---------------------------------------------------------------- shapes */

static const struct {
    const char *name;
    int64_t dim, ffn_dim, heads, layers, text_dim, shards;
} DIT_SHAPES[] = {
    {"tiny", 64, 160, 4, 3, 48, 1},
    {"1.3b", 1536, 8960, 12, 30, 4096, 1},
    {"14b", 5120, 13824, 40, 40, 4096, 6},
};

static const vmt_text_config TEXT_SMALL = {.vocab = 2048,
                                           .dim_attn = 64,
                                           .dim_ffn = 128,
                                           .heads = 4,
                                           .layers = 2,
                                           .buckets = 32,
                                           .max_distance = 128,
                                           .text_len = 512,
                                           .eps = 1e-6};
static const vmt_text_config TEXT_XXL = {.vocab = 256384,
                                         .dim_attn = 4096,
                                         .dim_ffn = 10240,
                                         .heads = 64,
                                         .layers = 24,
                                         .buckets = 32,
                                         .max_distance = 128,
                                         .text_len = 512,
                                         .eps = 1e-6};

/* Of the text encoder or the VAE: `shape` is NULL (as large as the DiT), "small" or `full`. */
static enum vmt_status choose_small(vmt_ctx *ctx, bool *small, const char *part, const char *shape,
                                    const char *full, const vmt_random_model *model)
{
    *small = strcmp(shape ? shape : model->shape, shape ? "small" : "tiny") == 0;
    if (shape && !*small && strcmp(shape, full) != 0)
        return vmt_fail(ctx, VMT_E_ARG, "%s shape %s: one of small, %s", part, shape, full);
    return VMT_OK;
}

enum vmt_status vmt_random_model_configs(vmt_ctx *ctx, const vmt_random_model *model,
                                         vmt_dit_config *dit, vmt_vae_config *vae,
                                         vmt_text_config *text)
{
    bool good = false, small_text, small_vae;

    for (size_t i = 0; model->shape && i < sizeof DIT_SHAPES / sizeof *DIT_SHAPES; i++) {
        if (strcmp(DIT_SHAPES[i].name, model->shape) != 0)
            continue;
        good = true;
        *dit = (vmt_dit_config){.dim = DIT_SHAPES[i].dim,
                                .ffn_dim = DIT_SHAPES[i].ffn_dim,
                                .heads = DIT_SHAPES[i].heads,
                                .layers = model->layers ? model->layers : DIT_SHAPES[i].layers,
                                .freq_dim = 256,
                                .text_dim = DIT_SHAPES[i].text_dim,
                                .text_len = 512,
                                .in_dim = 16,
                                .out_dim = 16,
                                .patch = {1, 2, 2},
                                .eps = 1e-6,
                                .rope_theta = 10000};
    }
    if (!good || dit->layers < 1 || dit->layers > 1000)
        return good ? vmt_fail(ctx, VMT_E_ARG, "%lld layers; expected 1 to 1000",
                               (long long)dit->layers)
                    : vmt_fail(ctx, VMT_E_ARG, "shape %s: one of tiny, 1.3b, 14b",
                               model->shape ? model->shape : "");
    VMT_TRY(choose_small(ctx, &small_text, "text", model->text_shape, "xxl", model));
    VMT_TRY(choose_small(ctx, &small_vae, "VAE", model->vae_shape, "wan", model));
    *text = small_text ? TEXT_SMALL : TEXT_XXL;
    text->dim = dit->text_dim;
    *vae = (vmt_vae_config){
        .z_dim = 16, .mult = {1, 2, 4, 4}, .res_blocks = 2, .time_down = {false, true, true}};
    vae->dim = small_vae ? 4 : 96;
    return VMT_OK;
}

/* ---------------------------------------------------------------- files */

struct maker {
    vmt_ctx *ctx;
    const char *dir;
    const vmt_random_model *model;
    void *piece; /* PIECE elements of up to 4 bytes */
};

static enum vmt_status path_of(const struct maker *m, char path[MAX_PATH_BYTES], const char *name)
{
    const int length = snprintf(path, MAX_PATH_BYTES, "%s/%s", m->dir, name);
    if (length < 0 || length >= MAX_PATH_BYTES)
        return vmt_fail(m->ctx, VMT_E_ARG, "%s: the path is too long", m->dir);
    return VMT_OK;
}

static enum vmt_status make_folder(vmt_ctx *ctx, const char *path)
{
    if (mkdir(path, 0777) != 0 && errno != EEXIST)
        return vmt_fail(ctx, VMT_E_IO, "%s: cannot be made: %s", path, strerror(errno));
    return VMT_OK;
}

/* The folder to fill: new, or empty.  A model that is there may have been hours of downloading. */
static enum vmt_status make_new_folder(vmt_ctx *ctx, const char *path)
{
    int entries = 0;

    VMT_TRY(make_folder(ctx, path));
    DIR *folder = opendir(path);
    if (!folder)
        return vmt_fail(ctx, VMT_E_IO, "%s: %s", path, strerror(errno));
    while (entries < 3 && readdir(folder)) /* "." and ".." are two */
        entries++;
    closedir(folder);
    if (entries > 2)
        return vmt_fail(ctx, VMT_E_ARG, "%s: a folder with something in it: name a new one", path);
    return VMT_OK;
}

static int64_t numel(const vmt_tensor_spec *spec)
{
    int64_t count = 1;
    for (int i = 0; i < spec->rank; i++)
        count *= spec->shape[i];
    return count;
}

/* Where drawn weights go: one of both. */
struct sink {
    vmt_atomic_file *file;
    vmt_pth_writer *pth;
};

/* Every element is drawn from its place alone, so threads share a piece. */
static void fill(const struct maker *m, const vmt_tensor_spec *spec, enum vmt_dtype dtype,
                 int64_t first, int64_t count)
{
    const int64_t slice = 1 << 14;

#ifdef _OPENMP
#pragma omp parallel for num_threads(m->ctx->threads) schedule(static)
#endif
    for (int64_t at = 0; at < count; at += slice)
        vmt_random_fill((unsigned char *)m->piece + (size_t)at * vmt_dtype_bytes(dtype), dtype,
                        spec, m->model->seed, first + at, count - at < slice ? count - at : slice);
}

static enum vmt_status draw(const struct maker *m, const vmt_tensor_spec *spec,
                            enum vmt_dtype dtype, const struct sink *sink)
{
    const int64_t count = numel(spec);

    for (int64_t first = 0; first < count; first += PIECE) {
        const int64_t part = count - first < PIECE ? count - first : PIECE;
        const size_t bytes = (size_t)part * vmt_dtype_bytes(dtype);
        VMT_TRY(vmt_check_cancelled(m->ctx));
        fill(m, spec, dtype, first, part);
        VMT_TRY(sink->pth ? vmt_pth_writer_add(m->ctx, sink->pth, m->piece, bytes)
                          : vmt_atomic_file_write(m->ctx, sink->file, m->piece, bytes));
    }
    return VMT_OK;
}

static enum vmt_status write_pth(const struct maker *m, const char *name,
                                 const vmt_tensor_list *list, enum vmt_dtype dtype, bool ordered)
{
    char path[MAX_PATH_BYTES];
    vmt_pth_writer writer;
    enum vmt_status status = VMT_OK;

    VMT_TRY(path_of(m, path, name));
    VMT_TRY(vmt_pth_writer_open(m->ctx, &writer, path, list, dtype, ordered));
    for (int64_t i = 0; i < list->count && status == VMT_OK; i++) {
        status = vmt_pth_writer_begin(m->ctx, &writer, i);
        if (status == VMT_OK)
            status = draw(m, &list->items[i], dtype, &(struct sink){.pth = &writer});
    }
    if (status == VMT_OK)
        return vmt_pth_writer_commit(m->ctx, &writer);
    vmt_pth_writer_abort(&writer);
    return status;
}

static enum vmt_status write_tensors(const struct maker *m, vmt_atomic_file *file,
                                     const vmt_tensor_spec *specs, int64_t count)
{
    static const char *const meta[] = {"format", "pt", NULL};
    const enum vmt_dtype dtype = m->model->dit_dtype;
    void *memory;

    VMT_TRY(vmt_alloc(m->ctx, &memory, (size_t)count, sizeof(vmt_named_tensor)));
    vmt_named_tensor *named = memory;
    for (int64_t i = 0; i < count; i++) {
        named[i].name = specs[i].name;
        named[i].tensor = vmt_tensor_over(NULL, dtype, specs[i].rank, specs[i].shape);
    }
    enum vmt_status status = vmt_safetensors_write_header(m->ctx, file, named, count, meta);
    vmt_free(memory);
    for (int64_t i = 0; i < count && status == VMT_OK; i++)
        status = draw(m, &specs[i], dtype, &(struct sink){.file = file});
    return status;
}

static enum vmt_status write_shard(const struct maker *m, const char *name,
                                   const vmt_tensor_spec *specs, int64_t count)
{
    char path[MAX_PATH_BYTES];
    vmt_atomic_file file;

    VMT_TRY(path_of(m, path, name));
    VMT_TRY(vmt_atomic_file_open(m->ctx, &file, path));
    const enum vmt_status status = write_tensors(m, &file, specs, count);
    if (status == VMT_OK)
        return vmt_atomic_file_commit(m->ctx, &file);
    vmt_atomic_file_abort(&file);
    return status;
}

/* Writes JSON as text and deletes it; NULL: it could not be made. */
static enum vmt_status write_json(const struct maker *m, const char *name, cJSON *root)
{
    char path[MAX_PATH_BYTES], *text = root ? cJSON_Print(root) : NULL;
    vmt_atomic_file file;
    enum vmt_status status;

    cJSON_Delete(root);
    if (!text)
        return vmt_fail(m->ctx, VMT_E_MEMORY, "out of memory: %s", name);
    status = path_of(m, path, name);
    if (status == VMT_OK)
        status = vmt_atomic_file_open(m->ctx, &file, path);
    if (status == VMT_OK) {
        status = vmt_atomic_file_write(m->ctx, &file, text, strlen(text));
        if (status == VMT_OK)
            status = vmt_atomic_file_commit(m->ctx, &file);
        else
            vmt_atomic_file_abort(&file);
    }
    cJSON_free(text);
    return status;
}

/* ---------------------------------------------------------------- parts */

/* First tensor of a shard: the one before which lies the shard's share of all bytes. */
static int64_t first_of_shard(const vmt_tensor_list *list, int64_t shard, int64_t shards)
{
    double all = 0, before = 0;
    int64_t i = 0;

    for (int64_t k = 0; k < list->count; k++)
        all += (double)numel(&list->items[k]);
    while (i < list->count && before < all * (double)shard / (double)shards)
        before += (double)numel(&list->items[i++]);
    return i;
}

static void shard_name(char name[80], int64_t shard, int64_t shards)
{
    snprintf(name, 80, "diffusion_pytorch_model-%05d-of-%05d.safetensors", (int)shard + 1,
             (int)shards);
}

static enum vmt_status write_index(const struct maker *m, const vmt_tensor_list *list,
                                   int64_t shards)
{
    cJSON *root = cJSON_CreateObject();
    cJSON *metadata = cJSON_AddObjectToObject(root, "metadata");
    cJSON *map = cJSON_AddObjectToObject(root, "weight_map");
    bool good = metadata && map;
    double bytes = 0;
    char name[80];

    for (int64_t shard = 0; shard < shards; shard++) {
        const int64_t end = first_of_shard(list, shard + 1, shards);
        shard_name(name, shard, shards);
        for (int64_t i = first_of_shard(list, shard, shards); i < end; i++) {
            good = good && cJSON_AddStringToObject(map, list->items[i].name, name);
            bytes += (double)numel(&list->items[i]) * (double)vmt_dtype_bytes(m->model->dit_dtype);
        }
    }
    if (!good || !cJSON_AddNumberToObject(metadata, "total_size", bytes)) {
        cJSON_Delete(root);
        root = NULL;
    }
    return write_json(m, "diffusion_pytorch_model.safetensors.index.json", root);
}

static enum vmt_status write_shards(const struct maker *m, const vmt_tensor_list *list,
                                    int64_t shards)
{
    char name[80];

    for (int64_t shard = 0; shard < shards; shard++) {
        const int64_t first = first_of_shard(list, shard, shards);
        shard_name(name, shard, shards);
        VMT_TRY(write_shard(m, name, list->items + first,
                            first_of_shard(list, shard + 1, shards) - first));
    }
    return write_index(m, list, shards);
}

static enum vmt_status write_config(const struct maker *m, const vmt_dit_config *dit)
{
    const struct {
        const char *key;
        double value;
    } numbers[] = {{"dim", (double)dit->dim},           {"eps", dit->eps},
                   {"ffn_dim", (double)dit->ffn_dim},   {"freq_dim", (double)dit->freq_dim},
                   {"in_dim", (double)dit->in_dim},     {"num_heads", (double)dit->heads},
                   {"num_layers", (double)dit->layers}, {"out_dim", (double)dit->out_dim},
                   {"text_len", (double)dit->text_len}};
    cJSON *root = cJSON_CreateObject();
    bool good = cJSON_AddStringToObject(root, "_class_name", "WanModel") &&
                cJSON_AddStringToObject(root, "model_type", "t2v");

    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        good = good && cJSON_AddNumberToObject(root, numbers[i].key, numbers[i].value);
    if (!good) {
        cJSON_Delete(root);
        root = NULL;
    }
    return write_json(m, "config.json", root);
}

static enum vmt_status write_dit(const struct maker *m, const vmt_dit_config *dit)
{
    vmt_tensor_list list = {0};
    int64_t shards = m->model->shards;

    for (size_t i = 0; shards == 0; i++)
        if (strcmp(DIT_SHAPES[i].name, m->model->shape) == 0)
            shards = DIT_SHAPES[i].shards;
    enum vmt_status status = vmt_tensor_list_dit(m->ctx, &list, dit);
    if (status == VMT_OK && (shards < 1 || shards > list.count))
        status = vmt_fail(m->ctx, VMT_E_ARG, "%lld shards; expected 1 to %lld", (long long)shards,
                          (long long)list.count);
    if (status == VMT_OK)
        status = shards > 1 ? write_shards(m, &list, shards)
                            : write_shard(m, "diffusion_pytorch_model.safetensors", list.items,
                                          list.count);
    vmt_tensor_list_free(&list);
    VMT_TRY(status);
    return write_config(m, dit);
}

/* One of two transformers, in a folder of its own. */
static enum vmt_status write_one_of_two(const struct maker *m, const vmt_dit_config *dit,
                                        const char *folder, uint64_t seed)
{
    vmt_random_model model = *m->model;
    char path[MAX_PATH_BYTES];

    VMT_TRY(path_of(m, path, folder));
    VMT_TRY(make_folder(m->ctx, path));
    model.seed = seed;
    const struct maker one = {.ctx = m->ctx, .dir = path, .model = &model, .piece = m->piece};
    return write_dit(&one, dit);
}

static enum vmt_status write_two(const struct maker *m, const vmt_dit_config *dit)
{
    VMT_TRY(write_one_of_two(m, dit, "high_noise_model", m->model->seed));
    return write_one_of_two(m, dit, "low_noise_model", m->model->seed + 1);
}

static enum vmt_status write_vae(const struct maker *m, const vmt_vae_config *vae)
{
    vmt_tensor_list list = {0};
    enum vmt_status status = vmt_tensor_list_vae(m->ctx, &list, vae);

    if (status == VMT_OK)
        status = write_pth(m, "Wan2.1_VAE.pth", &list, VMT_F32, true);
    vmt_tensor_list_free(&list);
    return status;
}

static enum vmt_status write_text(const struct maker *m, const vmt_text_config *text)
{
    vmt_tensor_list list = {0};
    enum vmt_status status = vmt_tensor_list_text(m->ctx, &list, text);

    if (status == VMT_OK)
        status = write_pth(m, "models_t5_umt5-xxl-enc-bf16.pth", &list, VMT_BF16, false);
    vmt_tensor_list_free(&list);
    return status;
}

static enum vmt_status copy_tokenizer(const struct maker *m, const vmt_mapped_file *from)
{
    static const char *const folders[] = {"google", "google/umt5-xxl"};
    char path[MAX_PATH_BYTES];
    vmt_atomic_file to;

    for (int i = 0; i < 2; i++) {
        VMT_TRY(path_of(m, path, folders[i]));
        VMT_TRY(make_folder(m->ctx, path));
    }
    VMT_TRY(path_of(m, path, "google/umt5-xxl/spiece.model"));
    enum vmt_status status = vmt_atomic_file_open(m->ctx, &to, path);
    if (status == VMT_OK) {
        status = vmt_atomic_file_write(m->ctx, &to, from->bytes, from->length);
        if (status == VMT_OK)
            status = vmt_atomic_file_commit(m->ctx, &to);
        else
            vmt_atomic_file_abort(&to);
    }
    return status;
}

enum vmt_status vmt_make_random_model(vmt_ctx *ctx, const char *dir, const vmt_random_model *model)
{
    struct maker m = {.ctx = ctx, .dir = dir, .model = model};
    vmt_dit_config dit;
    vmt_vae_config vae;
    vmt_text_config text;
    vmt_mapped_file tokenizer = {0};

    VMT_TRY(vmt_random_model_configs(ctx, model, &dit, &vae, &text));
    if (model->dit_dtype != VMT_F32 && model->dit_dtype != VMT_F16 && model->dit_dtype != VMT_BF16)
        return vmt_fail(ctx, VMT_E_ARG, "weights as %s; expected F32, F16 or BF16",
                        vmt_dtype_name(model->dit_dtype));
    if (model->tokenizer) /* that it is there: copied last */
        VMT_TRY(vmt_mapped_file_open(ctx, &tokenizer, model->tokenizer));
    enum vmt_status status = make_new_folder(ctx, dir);
    if (status == VMT_OK)
        status = vmt_alloc(ctx, &m.piece, PIECE, sizeof(float));
    if (status == VMT_OK)
        status = model->two_transformers ? write_two(&m, &dit) : write_dit(&m, &dit);
    if (status == VMT_OK)
        status = write_vae(&m, &vae);
    if (status == VMT_OK)
        status = write_text(&m, &text);
    if (status == VMT_OK && model->tokenizer)
        status = copy_tokenizer(&m, &tokenizer);
    vmt_free(m.piece);
    vmt_mapped_file_close(&tokenizer);
    return status;
}
