/* SPDX-License-Identifier: MIT
 *
 * A rate as a ratio; a file of its own because the libav module needs it too.
 */
#include "media/format.h"

#include <math.h>

void media_rate(double fps, int64_t *over, int64_t *under)
{
    int64_t before_over = 1, before_under = 0;
    double rest = fps;

    *over = (int64_t)floor(fps);
    *under = 1;
    while (fabs((double)*over / (double)*under - fps) > 1e-9 * fps) {
        rest = 1 / (rest - floor(rest));
        const int64_t term = (int64_t)floor(rest);
        const int64_t next_over = term * *over + before_over;
        const int64_t next_under = term * *under + before_under;
        if (next_under > 1000000)
            break;
        before_over = *over;
        before_under = *under;
        *over = next_over;
        *under = next_under;
    }
    if (*over < 1) { /* slower than one frame in 11 days */
        *over = 1;
        *under = 1000000;
    }
}
