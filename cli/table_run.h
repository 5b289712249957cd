/* SPDX-License-Identifier: MIT
 *
 * Runs cases of a manifest, one after another, in one process that has the model open.
 */
#ifndef TABLE_RUN_H
#define TABLE_RUN_H

#include "cli.h"

#include "clip_model/clip_model.h"
#include "score/score.h"
#include "table/table.h"

#include <stdatomic.h>

/* What all processes of a table share. */
typedef struct table_shared {
    atomic_llong next;                  /* case to take */
    atomic_llong finished, had, failed; /* by now; had: was there before */
    atomic_llong first_failure;         /* 256 * (case + 1) + status of the first one in the
                                           manifest that failed; 0: none */
} table_shared;

/* A reference that stays from case to case. */
typedef struct table_clip {
    const char *path;
    int64_t frames, width, height; /* as asked */
    double fps;
    vmt_clip clip;
    score_side *side;
    vmt_motion_field field; /* for attention's scores, if a case asked for them */
    char hash[65];          /* of its pixels */
} table_clip;

enum { TABLE_CLIPS = 64 };

/* Bytes of references that stay. */
#define TABLE_CLIP_BYTES (INT64_C(1) << 30)

typedef struct table_run {
    cli_session s;
    cli_options options; /* own copy: the reference changes */
    const table_manifest *manifest;
    const table_results *results; /* from before */
    const char *file, *folder;    /* results.jsonl, and where it lies */
    const char *videos;           /* ending; NULL: none are kept */
    int64_t shard, shards;        /* shard from 0 */
    table_shared *shared;
    vmt_clip_model *clip_model; /* NULL: no weights were given */
    table_clip clips[TABLE_CLIPS];
    int clip_count;
    int64_t clip_bytes;
    int64_t ran; /* cases by this process, and their seconds */
    double spent;
    /* the case at hand */
    cli_reporter reporter;
    cJSON *losses;
    int64_t loss_step, loss_inner;
    double seconds;
    bool full; /* out of memory for the losses */
} table_run;

/* Opens context and model.  Returns 0 or the exit code, having printed why. */
int table_run_open(table_run *run, const cli_options *options);
void table_run_close(table_run *run);

/* All cases that are left; what failed is in `shared`.  0, 130 when cancelled, or
 * VMT_E_IO when results cannot be written. */
int table_run_cases(table_run *run);

/* table_scores.c: adds to the object "scores" of the case's line. */
enum vmt_status table_score(table_run *run, const table_case *c, table_clip *clip,
                            const vmt_clip *result, cJSON *line);

/* What would run: prints every case with what is known of its time. */
int table_run_list(table_run *run);

#endif
