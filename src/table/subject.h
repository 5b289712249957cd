/* SPDX-License-Identifier: MIT
 *
 * Which of the tiny model's objects is the strongest mover of a clip, by its colours and its shape.
 */
#ifndef VMT_TABLE_SUBJECT_H
#define VMT_TABLE_SUBJECT_H

#include "table/table.h"

enum {
    SUBJECT_BINS = 5,
    SUBJECT_COLOURS = SUBJECT_BINS * SUBJECT_BINS * SUBJECT_BINS,
    SUBJECT_SIDE = 8, /* of the shape's picture */
    SUBJECT_SHAPE = SUBJECT_SIDE * SUBJECT_SIDE * 4
};

/* All values in 44 steps from '0' on. */
typedef struct table_sprite {
    const char *name;  /* "fox", "red balloon" */
    const char *roots; /* of two histograms of colours */
    const char
        *shape; /* picture: of each cell what share is the object's, and that times R, G, B */
} table_sprite;

/* The last has no name. */
extern const table_sprite table_sprites[];

/* True when there is a sprite of that name. */
bool table_subject_known(const char *name);

typedef struct table_subject_answer {
    bool defined;     /* something moves */
    const char *seen; /* the sprite that is nearest; NULL: undefined */
    double likeness; /* to the one that was asked for, 0..1, less the mean of those to all others */
} table_subject_answer;

/* Looks at what differs from the clip's temporal median around the place of the strongest mover.
 * `name` must be known. */
enum vmt_status table_subject(vmt_ctx *ctx, const vmt_clip *clip, const char *name,
                              table_subject_answer *answer);

#endif
