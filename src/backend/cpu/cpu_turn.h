/* SPDX-License-Identifier: MIT
 *
 * Sums that threads add to in a fixed order.  A counter tells how many have added; whose turn it is
 * not yet waits: a little while awake, since the others are mostly near, then asleep, since one
 * that was put off its core by another program may take milliseconds.
 */
#ifndef VMT_CPU_TURN_H
#define VMT_CPU_TURN_H

#include <pthread.h>
#include <stdatomic.h>

/* Where those who wait for some counters sleep. */
typedef struct cpu_queue {
    pthread_mutex_t lock;
    pthread_cond_t moved;
    atomic_int asleep;
} cpu_queue;

void cpu_queue_open(cpu_queue *queue);
void cpu_queue_close(cpu_queue *queue);

/* Returns when *turn is `number`; what was written before cpu_turn_pass is seen. */
void cpu_turn_await(cpu_queue *queue, atomic_int *turn, int number);

/* *turn becomes `number`. */
void cpu_turn_pass(cpu_queue *queue, atomic_int *turn, int number);

#endif
