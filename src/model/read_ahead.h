/* SPDX-License-Identifier: MIT
 *
 * A thread that reads tensors of a file into memory while others of them are converted.  A mapping
 * alone waits for the disk piece by piece: the system reads ahead of read(), not of page faults.
 */
#ifndef VMT_MODEL_READ_AHEAD_H
#define VMT_MODEL_READ_AHEAD_H

#include "model/tensor_file.h"

typedef struct vmt_read_ahead vmt_read_ahead;

/* Begins to read weights[0..count-1] in this order, up to 256 MiB ahead of vmt_read_ahead_wait.
 * Without a thread *ahead is NULL, which the others take: then page faults read.
 * Errors: VMT_E_MEMORY. */
enum vmt_status vmt_read_ahead_open(vmt_ctx *ctx, vmt_read_ahead **ahead,
                                    const vmt_tensor_file *file, vmt_weight *const *weights,
                                    int64_t count);

/* Returns when weight i is in memory, as far as reading it went well; those before it are done
 * with.  Called with rising i. */
void vmt_read_ahead_wait(vmt_read_ahead *ahead, int64_t i);

/* Stops the thread.  NULL is allowed. */
void vmt_read_ahead_close(vmt_read_ahead *ahead);

#endif
