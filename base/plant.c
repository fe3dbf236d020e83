/* SPDX-License-Identifier: Apache-2.0 */
#include "base/plant.h"

#include <string.h>

/* Of the process: the members that a test program simulates have the same fault. This file is part
 * of the build with --enable-planted-faults only. */
static struct {
    enum plant selected;
    unsigned long long reached;
} planted;

static const struct {
    const char *name;
    const char *description;
} plants[PLANT_COUNT] = {
#define PLANT_ROW(name, text, what) [PLANT_##name] = {text, what},
    PLANTS(PLANT_ROW)
#undef PLANT_ROW
};

bool plant_is(enum plant plant)
{
    return plant_is_every(plant, 1);
}

bool plant_is_every(enum plant plant, unsigned n)
{
    return planted.selected == plant && ++planted.reached % n == 0;
}

bool plant_select(const char *name)
{
    for (enum plant i = PLANT_NONE + 1; i < PLANT_COUNT; i++) {
        if (strcmp(plants[i].name, name) == 0) {
            planted.selected = i;
            return true;
        }
    }
    return false;
}

unsigned long long plant_reached(void)
{
    return planted.reached;
}

const char *plant_name(enum plant plant)
{
    return plants[plant].name;
}

const char *plant_description(enum plant plant)
{
    return plants[plant].description;
}
