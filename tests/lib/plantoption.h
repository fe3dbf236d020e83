/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_LIB_PLANTOPTION_H
#define TESTS_LIB_PLANTOPTION_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/plant.h"

/* For the simulators: what follows their option --plant. "list" prints all names and what they
 * stand for, and ends the process. False, and a word on stderr: there is no such fault. */
#ifdef TRIVET_PLANTED_FAULTS

static inline bool plantoption_take(const char *name)
{
    if (strcmp(name, "list") == 0) {
        for (enum plant i = PLANT_NONE + 1; i < PLANT_COUNT; i++) {
            printf("%s\t%s\n", plant_name(i), plant_description(i));
        }
        exit(EXIT_SUCCESS);
    }
    if (!plant_select(name)) {
        fprintf(stderr, "no fault is called '%s'; --plant list tells all\n", name);
        return false;
    }
    return true;
}

/* How often it had its chance in this process. */
static inline unsigned long long plantoption_reached(void)
{
    return plant_reached();
}

#else

static inline bool plantoption_take(const char *name)
{
    fprintf(stderr, "no fault '%s': they are in a build with --enable-planted-faults only\n", name);
    return false;
}

static inline unsigned long long plantoption_reached(void)
{
    return 0;
}

#endif

#endif
