/* SPDX-License-Identifier: MIT
 *
 * Runs the program in this process.  At each allocation a child is forked, for which that one
 * fails: it goes on to the end of main() and must have refused in good order.  So a sweep over all
 * allocations costs one run and the way out of each.
 */
#ifndef SWEEP_H
#define SWEEP_H

#include "allocator.h"

#include <stdint.h>

typedef struct sweep {
    const char *name;             /* for reports */
    const char *const *arguments; /* of the program, NULL-terminated */
    const char *output;           /* NULL, or what must come out as in an undisturbed run */
    const char *kept[3];          /* what a failing run may leave because it was asked to */
    bool anew; /* each child runs from the start: of libraries' threads a fork takes none along */
    bool opens_model; /* the first allocations are those of opening it, as in any other run */
} sweep;

/* The program, as main() is. */
int fastvmt_main(int argc, char **argv);

/* Allocations of that caller in an undisturbed run that gives back all it took; -1 and a line on
 * stderr when it does not. */
int sweep_measure(const sweep *s, enum caller caller);

/* Fails each `every`-th allocation of that caller once, from number `first` on, in the current
 * folder.  Returns the number of those that were not met in good order; prints each, and a summary.
 */
int sweep_run(const sweep *s, enum caller caller, int first, int every);

#endif
