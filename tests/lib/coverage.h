/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_LIB_COVERAGE_H
#define TESTS_LIB_COVERAGE_H

/* What ran in this process goes to its files, which a process that ends with _exit would not write.
 * Nothing in a build without --enable-coverage. */
#ifdef TRIVET_COVERAGE

void __gcov_dump(void); /* gcc's */

static inline void coverage_write(void)
{
    __gcov_dump();
}

#else

static inline void coverage_write(void)
{
}

#endif

#endif
