/* SPDX-License-Identifier: MIT */
#include "fastvmt/fastvmt.h"

#include <stdio.h>

int main(void)
{
    puts("fastvmt");
    return 0;
}
