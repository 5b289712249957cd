/* SPDX-License-Identifier: MIT
 *
 * The bad-input table of docs/errors.md: what is wrong, how it is handed over, what must be said.
 */
#ifndef ERROR_ROWS_H
#define ERROR_ROWS_H

#include <stddef.h>

typedef struct error_row {
    const char *group, *what;
    const char *const *arguments; /* of the program; "transfer" alone: a whole short run */
    int code;
    const char *line;   /* after "fastvmt: "; "…" matches anything */
    void (*make)(void); /* makes the bad file, or NULL */
} error_row;

extern const error_row error_rows[];
extern const size_t error_row_count;

/* Good files from which the bad ones are made: clip.latent, motion.fvm, run.state, prompt.emb.  In
 * the current folder, which holds ref.y4m and model. */
void error_rows_prepare(void);

#endif
