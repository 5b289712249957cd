/* SPDX-License-Identifier: MIT
 *
 * Files a run leaves behind: latent file, motion file, run state,
 * embeddings.  All are safetensors; the
 * metadata says which kind and version, for which model and settings.  Format: docs/formats.md.
 */
#ifndef VMT_PIPELINE_RECORD_H
#define VMT_PIPELINE_RECORD_H

#include "pipeline/pipeline.h"

enum vmt_record_kind {
    VMT_RECORD_LATENT,
    VMT_RECORD_MOTION,
    VMT_RECORD_STATE,
    VMT_RECORD_EMBEDDINGS
};

enum { VMT_RECORD_VERSION = 1, VMT_RECORD_MAX_META = 192, VMT_RECORD_MAX_TENSORS = 32 };

/* A record to be written: strings are copied, tensors (host memory) borrowed. */
typedef struct vmt_record {
    enum vmt_record_kind kind;
    char *meta[2 * VMT_RECORD_MAX_META + 1]; /* key, value, …, NULL; owned */
    int64_t meta_count;
    vmt_named_tensor tensors[VMT_RECORD_MAX_TENSORS];
    int64_t tensor_count;
} vmt_record;

/* Begins a record: kind, version, program, geometry, hashes of the model, every setting. */
enum vmt_status vmt_record_begin(vmt_ctx *ctx, vmt_record *record, enum vmt_record_kind kind,
                                 const vmt_model *model, const vmt_settings *settings,
                                 const vmt_geometry *g);
enum vmt_status vmt_record_meta(vmt_ctx *ctx, vmt_record *record, const char *key,
                                const char *format, ...) VMT_PRINTF(4, 5);
enum vmt_status vmt_record_tensor(vmt_ctx *ctx, vmt_record *record, const char *name,
                                  const vmt_tensor *host);
/* Writes it whole or not at all. */
enum vmt_status vmt_record_write(vmt_ctx *ctx, const vmt_record *record, const char *path);
void vmt_record_free(vmt_record *record);

/* Opens a record of a kind; VMT_E_FORMAT when it is another kind or a newer version. */
enum vmt_status vmt_record_open(vmt_ctx *ctx, vmt_tensor_file **file, enum vmt_record_kind kind,
                                const char *path);

/* The geometry it was made for: sizes checked, derived fields from the model. */
enum vmt_status vmt_record_geometry(vmt_ctx *ctx, const vmt_tensor_file *file,
                                    const vmt_model *model, vmt_geometry *g);

/* VMT_E_MISMATCH, naming the first difference, unless these options (NULL-terminated names; NULL:
 * all of them) have the same values in the record. */
enum vmt_status vmt_record_match_settings(vmt_ctx *ctx, const vmt_tensor_file *file,
                                          const vmt_settings *settings, const char *const *names);

/* VMT_E_MISMATCH unless the record was made with this model's part. */
enum vmt_status vmt_record_match_model(vmt_ctx *ctx, const vmt_tensor_file *file,
                                       const vmt_model *model, enum vmt_part part);

/* A finite F32 tensor of exactly this shape, copied to new memory (vmt_free). */
enum vmt_status vmt_record_read(vmt_ctx *ctx, const vmt_tensor_file *file, const char *name,
                                int rank, const int64_t *shape, float **data);

/* ---- what a reference contributes to a transfer: host memory, as a motion file holds it */

typedef struct vmt_motion {
    vmt_geometry geometry;
    uint64_t ref_seed;
    float *clean; /* [channels, latent_f, latent_h, latent_w], latent of the reference */
    const vmt_motion_method *method; /* that measured it */
    int64_t guided;                  /* guided steps */
    int64_t feature_count;   /* one for each ref_interval guided steps, or a single one (ref-time
                              clean) */
    vmt_feature_shape shape; /* of one; a flow's: frame pairs, tokens of a frame, 2 */
    float *features;         /* [feature_count, shape…] */
} vmt_motion;

void vmt_motion_free(vmt_motion *motion);

/* Adds a motion's tensors and metadata to a record (a motion file, or a run state). */
enum vmt_status vmt_motion_record(vmt_ctx *ctx, vmt_record *record, const vmt_motion *motion);

/* Reads the features alone, their method and counts too; motion->geometry says what to expect. */
enum vmt_status vmt_motion_read_features(vmt_ctx *ctx, const vmt_tensor_file *file,
                                         vmt_motion *motion);

/* Reads them back; every size is checked against the geometry and the settings. */
enum vmt_status vmt_motion_read(vmt_ctx *ctx, const vmt_tensor_file *file, const vmt_model *model,
                                vmt_motion *motion);

/* What it says of where things go (motion_field.c); no flow in the field where it says nothing. */
enum vmt_status vmt_field_from_motion(vmt_ctx *ctx, vmt_motion_field *field,
                                      const vmt_motion *motion,
                                      const vmt_motion_settings *settings);

#endif
