/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_LIB_EFFORT_H
#define TESTS_LIB_EFFORT_H

/* How much of a test is run. A test that tries more cases than its claim needs, because each may
 * find something, asks here for their number: where every instruction costs fifty (valgrind), fewer
 * are tried, and the claim is the same. TRIVET_TEST_EFFORT is the part of them in percent, 1 to
 * 100; not set, all are tried. */

/* That part of FULL, but at least LEAST, which is what the claim needs. What is not FULL is printed
 * as a comment: "# effort: LEAST-or-more of FULL WHAT". WHAT: "seeds", "random keys". */
unsigned effort_count(unsigned full, unsigned least, const char *what);

/* For a sweep over cases 1, 2, 3 ... whose end is not known: the case after K. The first DENSE are
 * all tried, of the others one in as many as the effort leaves out; not printed. */
unsigned long long effort_next(unsigned long long k, unsigned dense);

#endif
