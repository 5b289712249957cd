/* SPDX-License-Identifier: MIT */
#include "backend/cpu/cpu_turn.h"

enum { LOOKS = 2000 }; /* before sleep: some 50 µs, about what sleeping and waking takes */

static void relax(void)
{
#ifdef FASTVMT_CPU_X86
    __builtin_ia32_pause();
#endif
}

void cpu_queue_open(cpu_queue *queue)
{
    pthread_mutex_init(&queue->lock, NULL);
    pthread_cond_init(&queue->moved, NULL);
    atomic_init(&queue->asleep, 0);
}

void cpu_queue_close(cpu_queue *queue)
{
    pthread_cond_destroy(&queue->moved);
    pthread_mutex_destroy(&queue->lock);
}

/* Both sides write first and look then, in one order that all threads see: either the waiting one
 * sees the new turn or the passing one sees that somebody sleeps. */
void cpu_turn_await(cpu_queue *queue, atomic_int *turn, int number)
{
    for (int i = 0; i < LOOKS; i++) {
        if (atomic_load_explicit(turn, memory_order_acquire) == number)
            return;
        relax();
    }
    pthread_mutex_lock(&queue->lock);
    atomic_fetch_add(&queue->asleep, 1);
    while (atomic_load(turn) != number)
        pthread_cond_wait(&queue->moved, &queue->lock);
    atomic_fetch_sub(&queue->asleep, 1);
    pthread_mutex_unlock(&queue->lock);
}

void cpu_turn_pass(cpu_queue *queue, atomic_int *turn, int number)
{
    atomic_store(turn, number);
    if (atomic_load(&queue->asleep) == 0)
        return;
    pthread_mutex_lock(&queue->lock);
    pthread_cond_broadcast(&queue->moved);
    pthread_mutex_unlock(&queue->lock);
}
