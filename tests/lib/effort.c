/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/lib/effort.h"

#include <stdio.h>
#include <stdlib.h>

#define PERCENT_ALL 100u

static unsigned effort_percent(void)
{
    const char *text = getenv("TRIVET_TEST_EFFORT");
    if (text == NULL || text[0] == '\0') {
        return PERCENT_ALL;
    }
    char *end;
    unsigned long percent = strtoul(text, &end, 10);
    if (*end != '\0' || percent < 1 || percent > PERCENT_ALL) {
        fprintf(stderr, "TRIVET_TEST_EFFORT is '%s': 1 to %u are percent\n", text, PERCENT_ALL);
        exit(EXIT_FAILURE);
    }
    return (unsigned)percent;
}

unsigned effort_count(unsigned full, unsigned least, const char *what)
{
    unsigned count = (unsigned)((unsigned long long)full * effort_percent() / PERCENT_ALL);
    if (count < least) {
        count = least < full ? least : full;
    }
    if (count < full) {
        printf("# effort: %u of %u %s\n", count, full, what);
        fflush(stdout); /* Check forks: what is buffered would be printed twice */
    }
    return count;
}

unsigned long long effort_next(unsigned long long k, unsigned dense)
{
    unsigned step = PERCENT_ALL / effort_percent();
    return k < dense ? k + 1 : k + step;
}
