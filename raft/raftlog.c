/* SPDX-License-Identifier: Apache-2.0 */
#include "raft/raftlog.h"

#include <stdlib.h>

uint8_t *raftlog_image_alloc(struct raftlog_image *image, size_t size)
{
    struct raftlog_memory *memory = malloc(sizeof *memory + size);
    if (memory == NULL) {
        return NULL;
    }
    memory->next = image->memory;
    image->memory = memory;
    return memory->data;
}

void raftlog_image_fini(struct raftlog_image *image)
{
    free(image->entries);
    while (image->memory != NULL) {
        struct raftlog_memory *next = image->memory->next;
        free(image->memory);
        image->memory = next;
    }
    *image = (struct raftlog_image){0};
}
