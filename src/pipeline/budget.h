/* SPDX-License-Identifier: MIT
 *
 * How much memory a run may take.
 */
#ifndef VMT_PIPELINE_BUDGET_H
#define VMT_PIPELINE_BUDGET_H

#include "tensor/tensor.h"

/* Memory for arenas and weights where the context computes, and, of a device's context, of the host
 * for clips and spilled tensors. */
typedef struct vmt_budget {
    /* The user gave a limit: then choices follow from it alone, not from what is free now, and the
     * same run makes the same again. */
    bool named;
    size_t room;              /* bytes for arenas and weights */
    size_t host_room;         /* of a device's context; else 0 */
    size_t fixed, host_fixed; /* what the process takes beside them in any case */
    size_t free;              /* where the context computes, weights held already included */
} vmt_budget;

/* held: bytes of weights that are packed already, which a run may take again. */
vmt_budget vmt_budget_now(vmt_ctx *ctx, size_t held);

/* VMT_E_MEMORY where the user named a limit and `bytes` are more than it leaves. */
enum vmt_status vmt_require_room(vmt_ctx *ctx, const vmt_budget *budget, size_t bytes);

/* Bytes free where the context computes: of the device, else of this machine for a new program. */
size_t vmt_free_memory(vmt_ctx *ctx);
/* What `used` leaves of `limit`. */
static inline size_t vmt_left_of(size_t limit, size_t used)
{
    return limit > used ? limit - used : 0;
}
/* Anonymous memory of this process; 0: not known. */
size_t vmt_process_memory(void);
/* Bytes that this process may still take: what the machine has available, and what its control
 * groups, RLIMIT_AS and RLIMIT_DATA leave. */
size_t vmt_host_memory(void);
/* The limit that follows from RLIMIT_AS and RLIMIT_DATA for a process which has `base` bytes: they
 * count what is reserved, too, so that a run within them must give back what it does not need.  0:
 * neither is set. */
uint64_t vmt_shell_limit(size_t base);
/* What the control groups named in a file like /proc/self/cgroup leave, pages of files not counted,
 * mounted at `mount` (the first version at mount/memory); SIZE_MAX: no limit. */
size_t vmt_group_memory(const char *groups, const char *mount);

#endif
