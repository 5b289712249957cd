/* SPDX-License-Identifier: MIT
 *
 * Which of the tiny model's objects is the strongest mover of a clip, by its colours.
 */
#ifndef VMT_TABLE_SUBJECT_H
#define VMT_TABLE_SUBJECT_H

#include "table/table.h"

enum { SUBJECT_BINS = 5, SUBJECT_COLOURS = SUBJECT_BINS * SUBJECT_BINS * SUBJECT_BINS };

/* Square roots of two histograms, each in 44 steps from '0' on. */
typedef struct table_sprite {
    const char *name; /* "fox", "red balloon" */
    const char *roots;
} table_sprite;

/* The last has no name. */
extern const table_sprite table_sprites[];

/* True when there is a sprite of that name. */
bool table_subject_known(const char *name);

/**
 * Looks at what differs from the clip's temporal median around the place of the strongest mover.
 *   found     out  whether `name` is the sprite whose colours are nearest
 *   likeness  out  likeness to it, 0..1, less the mean likeness to all others
 * False when nothing moves.  `name` must be known.
 */
enum vmt_status table_subject(vmt_ctx *ctx, const vmt_clip *clip, const char *name, bool *defined,
                              bool *found, double *likeness);

#endif
