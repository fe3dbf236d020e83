/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_FS_REAL_H
#define BASE_FS_REAL_H

#include "base/fs.h"

/* The system's files. It has no state and lives as long as the process. */
struct fs *fs_real(void);

/* Who started the program may have closed standard input, output or error. The first things to be
 * opened would then take their places, and get what is written to them: messages. To be called
 * before anything is opened: what is closed becomes /dev/null. */
void fs_real_hold_standard(void);

#endif
