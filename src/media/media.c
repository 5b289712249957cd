/* SPDX-License-Identifier: MIT */
#include "media/media.h"

bool media_reads_video_files(void)
{
#ifdef FASTVMT_HAVE_LIBAV
    return true;
#else
    return false;
#endif
}
