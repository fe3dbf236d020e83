/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_FS_REAL_H
#define BASE_FS_REAL_H

#include "base/fs.h"

/* The system's files. It has no state and lives as long as the process. */
struct fs *fs_real(void);

#endif
