/* SPDX-License-Identifier: MIT
 *
 * Shapes and constants of a model's parts.  Nothing is compiled in: values come from config.json,
 * else from the weight file's __metadata__, else from the tensors' shapes.  All of them are
 * range-checked, so that products of them fit 64 bits and divisions are safe.
 */
#ifndef VMT_MODEL_CONFIG_H
#define VMT_MODEL_CONFIG_H

#include "model/tensor_file.h"

enum { VMT_VAE_LEVELS = 4, VMT_VAE_MAX_Z = 64, VMT_NEGATIVE_BYTES = 2048 };

/* The diffusion transformer.  dim % heads == 0 and dim / heads is even. */
typedef struct vmt_dit_config {
    int64_t dim, ffn_dim, heads, layers;
    int64_t freq_dim;        /* sinusoid features of the timestep, even */
    int64_t text_dim;        /* width of a text row */
    int64_t text_len;        /* text rows after padding with zeros */
    int64_t in_dim, out_dim; /* latent channels */
    int64_t patch[3];        /* latent cells of a token: time, rows, columns */
    double eps;              /* LayerNorm and RMSNorm */
    double rope_theta;
} vmt_dit_config;

/* The video autoencoder. */
typedef struct vmt_vae_config {
    int64_t dim;                        /* channels of the first level */
    int64_t z_dim;                      /* latent channels */
    int64_t mult[VMT_VAE_LEVELS];       /* channels of a level, in units of dim */
    int64_t res_blocks;                 /* residual blocks per level of the encoder */
    bool time_down[VMT_VAE_LEVELS - 1]; /* encoder: does the step after level i halve time too? */
    double mean[VMT_VAE_MAX_Z];         /* latent = (encoded - mean) / std, per channel */
    double std[VMT_VAE_MAX_Z];
} vmt_vae_config;

/* The UMT5 text encoder.  dim_attn % heads == 0. */
typedef struct vmt_text_config {
    int64_t vocab, dim, dim_attn, dim_ffn, heads, layers;
    int64_t buckets;      /* of the relative position bias, 4 at least */
    int64_t max_distance; /* beyond this all positions share a bucket */
    int64_t text_len;     /* tokens at most, the end token included */
    double eps;
} vmt_text_config;

/* What config.json's sections video, sampling and motion say; `named` tells which fields of
 * `values` count.  values.frames, height, width and fps are the size to use where neither the user
 * nor a reference says one; 0: not named. */
typedef struct vmt_model_defaults {
    vmt_settings values;
    uint64_t named; /* bit i: row i of the table in model_defaults.c was named */
    char negative[VMT_NEGATIVE_BYTES];
    bool has_motion; /* there is a section "motion": the model has a preset of its own */
} vmt_model_defaults;

/* The folder's config.json (ours, or an official one), or nothing. */
typedef struct vmt_config_file vmt_config_file;

/* Errors: VMT_E_IO, VMT_E_FORMAT.  Free with vmt_config_file_close (NULL is allowed). */
enum vmt_status vmt_config_file_open(vmt_ctx *ctx, vmt_config_file **config, const char *path);
/* The same from memory; `label` takes the place of the path in messages. */
enum vmt_status vmt_config_file_parse(vmt_ctx *ctx, vmt_config_file **config, const void *bytes,
                                      size_t length, const char *label);
void vmt_config_file_close(vmt_config_file *config);

/* Names of a part's files, relative to the folder, or NULL; `part` is "dit", "vae", "text" or
 * "tokenizer".  Plain names: no folder parts. */
const char *vmt_config_file_part(const vmt_config_file *config, const char *part);

/* Fill a part's configuration; `config` may be NULL, `weights` may not.  Errors: VMT_E_FORMAT (a
 * value of the wrong type or out of range), VMT_E_MODEL (cannot be told from the tensors). */
enum vmt_status vmt_dit_config_read(vmt_ctx *ctx, vmt_dit_config *dit,
                                    const vmt_config_file *config, const vmt_tensor_file *weights);
enum vmt_status vmt_vae_config_read(vmt_ctx *ctx, vmt_vae_config *vae,
                                    const vmt_config_file *config, const vmt_tensor_file *weights);

/* Key of a weight file's metadata under which an autoencoder's section of config.json stands, as
 * JSON, where there is no config.json that has one; and that text for a configuration: what shapes
 * do not tell.  Freed with cJSON_free.  Errors: VMT_E_MEMORY. */
#define VMT_VAE_META "vae_config"
enum vmt_status vmt_vae_config_text(vmt_ctx *ctx, char **text, const vmt_vae_config *vae);

enum vmt_status vmt_text_config_read(vmt_ctx *ctx, vmt_text_config *text,
                                     const vmt_config_file *config, const vmt_tensor_file *weights);

/* boundary_ratio of a model_index.json: which of two transformers computes a step.
 * Errors: VMT_E_IO, VMT_E_FORMAT, VMT_E_MODEL (none said). */
enum vmt_status vmt_model_index_boundary(vmt_ctx *ctx, const char *path, float *boundary);

/* Reads the sections video, sampling and motion; none of them named: all empty. */
enum vmt_status vmt_model_defaults_read(vmt_ctx *ctx, vmt_model_defaults *defaults,
                                        const vmt_config_file *config);

/* Overwrites the fields of *settings that the sections sampling and motion name (not the size).
 * settings->negative then points into *defaults. */
void vmt_model_defaults_apply(const vmt_model_defaults *defaults, vmt_settings *settings);

#endif
