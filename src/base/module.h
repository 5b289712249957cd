/* SPDX-License-Identifier: MIT
 *
 * Parts that are loaded when they are asked for, because they need what not every machine has.
 */
#ifndef VMT_BASE_MODULE_H
#define VMT_BASE_MODULE_H

/* Opens a module by its file name: beside this library or the program, in the folder above, where
 * an installation puts it, else where the system's loader finds it.  NULL: dlerror says why.  Never
 * closed by its callers: the libraries behind modules keep state of their own. */
void *vmt_module_open(const char *file);

#endif
