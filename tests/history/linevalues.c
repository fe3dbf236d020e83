/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/history/linereader.h"

#include "base/cleanup.h"

/* The values of each workload, as README.md's table has them. A loop over members ends at the
 * closing bracket or with a problem, and the scanner remembers which. */

bool linereader_fail(struct linereader *r, const char *problem)
{
    return jsonscan_fail(&r->scan, problem);
}

/* A key, value or element; null is HISTORY_NONE. */
bool linereader_symbol(struct linereader *r, uint32_t *ret)
{
    struct bytes text;
    int64_t number;
    uint8_t c = jsonscan_peek(&r->scan);
    if (jsonscan_null(&r->scan)) {
        *ret = HISTORY_NONE;
        return true;
    }
    if (c == '"') {
        if (!jsonscan_string(&r->scan, &text)) {
            return false;
        }
        *ret = history_text(r->h, text);
    } else if (c == '-' || (c >= '0' && c <= '9')) {
        if (!jsonscan_int(&r->scan, &number)) {
            return false;
        }
        *ret = history_int(r->h, number);
    } else {
        return linereader_fail(r, "a string, an integer or null is expected");
    }
    return *ret != HISTORY_NONE || linereader_fail(r, "out of memory");
}

static bool take_key(struct linereader *r, uint32_t *ret)
{
    return linereader_symbol(r, ret) &&
           (*ret != HISTORY_NONE || linereader_fail(r, "a key is missing"));
}

/* The member's name of an object as a key. */
static bool take_named_key(struct linereader *r, struct bytes name, uint32_t *ret)
{
    *ret = history_text(r->h, name);
    return *ret != HISTORY_NONE || linereader_fail(r, "out of memory");
}

bool linereader_positive(struct linereader *r, int64_t *ret)
{
    return jsonscan_int(&r->scan, ret) &&
           (*ret >= 0 || linereader_fail(r, "the number is negative"));
}

static bool add_item(struct linereader *r, const struct history_item *item)
{
    buf_append(&r->items, item, sizeof *item);
    return buf_ok(&r->items) || linereader_fail(r, "out of memory");
}

/* The element of a list that shall be there. */
static bool next_element(struct linereader *r)
{
    return jsonscan_next(&r->scan, ']') || linereader_fail(r, "an element is missing");
}

static bool end_list(struct linereader *r)
{
    return !jsonscan_next(&r->scan, ']') && (r->scan.problem == NULL)
               ? true
               : linereader_fail(r, "too many elements");
}

/* [KEY, and then what the caller reads, and end_list. */
static bool open_pair(struct linereader *r, struct history_item *item)
{
    return jsonscan_open(&r->scan, '[') && next_element(r) && take_key(r, &item->key) &&
           next_element(r);
}

static bool take_list(struct linereader *r, struct history_item *item)
{
    if (jsonscan_null(&r->scan)) {
        return true;
    }
    if (!jsonscan_open(&r->scan, '[')) {
        return false;
    }
    buf_clear(&r->list);
    while (jsonscan_next(&r->scan, ']')) {
        uint32_t element;
        if (!take_key(r, &element)) {
            return false;
        }
        buf_append(&r->list, &element, sizeof element);
    }
    struct bytes kept;
    if (!buf_ok(&r->list) || !arena_copy(&r->arena, buf_bytes(&r->list), &kept)) {
        return linereader_fail(r, "out of memory");
    }
    item->list = (const uint32_t *)(const void *)kept.data;
    item->list_count = (uint32_t)(kept.len / sizeof(uint32_t));
    return r->scan.problem == NULL;
}

static bool read_register(struct linereader *r)
{
    struct history_item item = {.f = HISTORY_ITEM_READ, .mod_revision = r->mod_revision};
    if (!open_pair(r, &item)) {
        return false;
    }
    if (r->event.f != HISTORY_CAS) {
        item.f = r->event.f == HISTORY_READ ? HISTORY_ITEM_READ : HISTORY_ITEM_WRITE;
        return linereader_symbol(r, &item.value) && add_item(r, &item) && end_list(r);
    }
    struct history_item write = {.f = HISTORY_ITEM_WRITE, .key = item.key};
    item.f = HISTORY_ITEM_COMPARE;
    return jsonscan_open(&r->scan, '[') && next_element(r) && linereader_symbol(r, &item.value) &&
           next_element(r) && linereader_symbol(r, &write.value) && end_list(r) &&
           add_item(r, &item) && add_item(r, &write) && end_list(r);
}

static bool read_set(struct linereader *r)
{
    struct history_item item = {.f = HISTORY_ITEM_READ};
    if (!open_pair(r, &item)) {
        return false;
    }
    if (r->event.f == HISTORY_ADD) {
        item.f = HISTORY_ITEM_WRITE;
        return take_key(r, &item.value) && add_item(r, &item) && end_list(r);
    }
    return take_list(r, &item) && add_item(r, &item) && end_list(r);
}

/* ["r","x",[1,2]] ["append","x",3] ["w","x",1] ["c","x",null] */
static bool read_micro(struct linereader *r)
{
    bool lists = r->event.workload == HISTORY_APPEND;
    struct history_item item = {0};
    struct bytes name;
    if (!jsonscan_open(&r->scan, '[') || !next_element(r) || !jsonscan_string(&r->scan, &name)) {
        return false;
    }
    if (bytes_equal(name, bytes_of_str("r"))) {
        item.f = HISTORY_ITEM_READ;
    } else if (lists && bytes_equal(name, bytes_of_str("append"))) {
        item.f = HISTORY_ITEM_APPEND;
    } else if (!lists && bytes_equal(name, bytes_of_str("w"))) {
        item.f = HISTORY_ITEM_WRITE;
    } else if (!lists && bytes_equal(name, bytes_of_str("c"))) {
        item.f = HISTORY_ITEM_COMPARE;
    } else {
        return linereader_fail(r, lists ? "\"r\" or \"append\" is expected"
                                        : "\"r\", \"w\" or \"c\" is expected");
    }
    if (!next_element(r) || !take_key(r, &item.key) || !next_element(r)) {
        return false;
    }
    if (item.f == HISTORY_ITEM_READ && lists) {
        return take_list(r, &item) && add_item(r, &item) && end_list(r);
    }
    if (item.f == HISTORY_ITEM_APPEND) {
        return take_key(r, &item.value) && add_item(r, &item) && end_list(r);
    }
    if (!linereader_symbol(r, &item.value)) {
        return false;
    }
    if (item.f != HISTORY_ITEM_READ) {
        return add_item(r, &item) && end_list(r);
    }
    if (jsonscan_next(&r->scan, ']')) {
        return linereader_positive(r, &item.mod_revision) && add_item(r, &item) && end_list(r);
    }
    return add_item(r, &item);
}

static bool read_txn(struct linereader *r)
{
    if (!jsonscan_open(&r->scan, '[')) {
        return false;
    }
    while (jsonscan_next(&r->scan, ']')) {
        if (!read_micro(r)) {
            return false;
        }
    }
    return true;
}

/* Members of an object that all workloads name alike. */
static bool read_common(struct linereader *r, struct bytes name)
{
    struct bytes skipped;
    if (bytes_equal(name, bytes_of_str("lease")) || bytes_equal(name, bytes_of_str("watch"))) {
        return jsonscan_int(&r->scan, &r->event.id);
    }
    if (bytes_equal(name, bytes_of_str("ttl"))) {
        return jsonscan_int(&r->scan, &r->event.number);
    }
    return jsonscan_skip(&r->scan, &skipped);
}

static bool read_lock(struct linereader *r)
{
    struct history_item item = {.f = HISTORY_ITEM_READ};
    struct history_item write = {.f = HISTORY_ITEM_WRITE};
    struct bytes name;
    if (!jsonscan_open(&r->scan, '{')) {
        return false;
    }
    while (jsonscan_next(&r->scan, '}') && jsonscan_name(&r->scan, &name)) {
        if (bytes_equal(name, bytes_of_str("lock"))) {
            take_key(r, &item.value);
        } else if (bytes_equal(name, bytes_of_str("key"))) {
            take_key(r, &item.key);
        } else if (bytes_equal(name, bytes_of_str("create_revision"))) {
            linereader_positive(r, &item.create_revision);
        } else if (bytes_equal(name, bytes_of_str("write"))) {
            (void)(open_pair(r, &write) && linereader_symbol(r, &write.value) && end_list(r));
        } else {
            read_common(r, name);
        }
    }
    if (item.value == HISTORY_NONE) {
        return linereader_fail(r, "no \"lock\" in the value");
    }
    bool key_needed = r->event.f == HISTORY_RELEASE || r->event.type == HISTORY_OK;
    if (key_needed && item.key == HISTORY_NONE) {
        return linereader_fail(r, "no \"key\" in the value");
    }
    return add_item(r, &item) && (write.key == HISTORY_NONE || add_item(r, &write));
}

bool linereader_flag(struct linereader *r, uint32_t flag)
{
    bool set;
    if (!jsonscan_bool(&r->scan, &set)) {
        return false;
    }
    r->event.flags |= set ? flag : 0;
    return true;
}

/* What starts a watch, and what asks for a state. */
static bool read_range(struct linereader *r)
{
    struct history_item item = {.f = HISTORY_ITEM_READ};
    struct bytes name;
    if (!jsonscan_open(&r->scan, '{')) {
        return false;
    }
    while (jsonscan_next(&r->scan, '}') && jsonscan_name(&r->scan, &name)) {
        if (bytes_equal(name, bytes_of_str("key"))) {
            take_key(r, &item.key);
        } else if (bytes_equal(name, bytes_of_str("range_end"))) {
            linereader_symbol(r, &item.value);
        } else if (bytes_equal(name, bytes_of_str("start_revision"))) {
            linereader_positive(r, &r->event.at_revision);
        } else if (bytes_equal(name, bytes_of_str("prev_kv"))) {
            linereader_flag(r, HISTORY_PREV_KV);
        } else if (bytes_equal(name, bytes_of_str("no_put"))) {
            linereader_flag(r, HISTORY_NO_PUT);
        } else if (bytes_equal(name, bytes_of_str("no_delete"))) {
            linereader_flag(r, HISTORY_NO_DELETE);
        } else {
            read_common(r, name);
        }
    }
    if (item.key == HISTORY_NONE) {
        return linereader_fail(r, "no \"key\" in the value");
    }
    int64_t unused;
    if (item.value != HISTORY_NONE && !history_symbol_int(r->h, item.value, &unused) &&
        history_symbol_text(r->h, item.value).len == 0) {
        item.value = HISTORY_NONE;
    }
    return add_item(r, &item);
}

/* "prev":{"value":6,"mod_revision":9} */
static bool read_prev(struct linereader *r, struct history_item *item)
{
    struct bytes name;
    struct bytes skipped;
    if (jsonscan_null(&r->scan)) {
        return true;
    }
    if (!jsonscan_open(&r->scan, '{')) {
        return false;
    }
    while (jsonscan_next(&r->scan, '}') && jsonscan_name(&r->scan, &name)) {
        if (bytes_equal(name, bytes_of_str("value"))) {
            linereader_symbol(r, &item->prev_value);
        } else if (bytes_equal(name, bytes_of_str("mod_revision"))) {
            linereader_positive(r, &item->prev_mod_revision);
        } else {
            jsonscan_skip(&r->scan, &skipped);
        }
    }
    return item->prev_value != HISTORY_NONE || linereader_fail(r, "no \"value\" in \"prev\"");
}

static bool read_event_type(struct linereader *r, struct history_item *item)
{
    struct bytes name;
    if (!jsonscan_string(&r->scan, &name)) {
        return false;
    }
    item->f = bytes_equal(name, bytes_of_str("put")) ? HISTORY_ITEM_PUT : HISTORY_ITEM_DELETE;
    return item->f == HISTORY_ITEM_PUT || bytes_equal(name, bytes_of_str("delete")) ||
           linereader_fail(r, "\"put\" or \"delete\" is expected");
}

static bool read_watch_event(struct linereader *r)
{
    struct history_item item = {.f = HISTORY_ITEM_FS};
    struct bytes name;
    struct bytes skipped;
    if (!jsonscan_open(&r->scan, '{')) {
        return false;
    }
    while (jsonscan_next(&r->scan, '}') && jsonscan_name(&r->scan, &name)) {
        if (bytes_equal(name, bytes_of_str("type"))) {
            read_event_type(r, &item);
        } else if (bytes_equal(name, bytes_of_str("key"))) {
            take_key(r, &item.key);
        } else if (bytes_equal(name, bytes_of_str("value"))) {
            linereader_symbol(r, &item.value);
        } else if (bytes_equal(name, bytes_of_str("mod_revision"))) {
            linereader_positive(r, &item.mod_revision);
        } else if (bytes_equal(name, bytes_of_str("create_revision"))) {
            linereader_positive(r, &item.create_revision);
        } else if (bytes_equal(name, bytes_of_str("version"))) {
            linereader_positive(r, &item.version);
        } else if (bytes_equal(name, bytes_of_str("prev"))) {
            read_prev(r, &item);
        } else {
            jsonscan_skip(&r->scan, &skipped);
        }
    }
    if (item.f == HISTORY_ITEM_FS || item.key == HISTORY_NONE || item.mod_revision == 0) {
        return linereader_fail(r, "an event needs \"type\", \"key\" and \"mod_revision\"");
    }
    if ((item.f == HISTORY_ITEM_PUT) != (item.value != HISTORY_NONE)) {
        return linereader_fail(r, "a put has a value, a delete has none");
    }
    return add_item(r, &item);
}

static bool read_watch(struct linereader *r)
{
    struct bytes name;
    if (!jsonscan_open(&r->scan, '{')) {
        return false;
    }
    while (jsonscan_next(&r->scan, '}') && jsonscan_name(&r->scan, &name)) {
        if (bytes_equal(name, bytes_of_str("compact_revision"))) {
            linereader_positive(r, &r->event.at_revision);
        } else if (bytes_equal(name, bytes_of_str("fragment"))) {
            linereader_flag(r, HISTORY_MORE);
        } else if (bytes_equal(name, bytes_of_str("events"))) {
            jsonscan_open(&r->scan, '[');
            while (jsonscan_next(&r->scan, ']') && read_watch_event(r)) {
            }
        } else {
            read_common(r, name);
        }
    }
    return r->scan.problem == NULL;
}

static bool read_lease(struct linereader *r)
{
    struct history_item item = {.f = HISTORY_ITEM_WRITE};
    struct bytes name;
    if (!jsonscan_open(&r->scan, '{')) {
        return false;
    }
    while (jsonscan_next(&r->scan, '}') && jsonscan_name(&r->scan, &name)) {
        if (bytes_equal(name, bytes_of_str("key"))) {
            take_key(r, &item.key);
        } else if (bytes_equal(name, bytes_of_str("value"))) {
            take_key(r, &item.value);
        } else {
            read_common(r, name);
        }
    }
    if (r->event.f != HISTORY_ATTACH) {
        return r->scan.problem == NULL;
    }
    if (item.key == HISTORY_NONE || item.value == HISTORY_NONE) {
        return linereader_fail(r, "\"attach\" needs \"key\" and \"value\"");
    }
    return add_item(r, &item);
}

static bool read_transfer(struct linereader *r)
{
    struct history_item from = {.f = HISTORY_ITEM_READ};
    struct history_item to = {.f = HISTORY_ITEM_READ};
    struct bytes name;
    struct bytes skipped;
    if (!jsonscan_open(&r->scan, '{')) {
        return false;
    }
    while (jsonscan_next(&r->scan, '}') && jsonscan_name(&r->scan, &name)) {
        if (bytes_equal(name, bytes_of_str("from"))) {
            take_key(r, &from.key);
        } else if (bytes_equal(name, bytes_of_str("to"))) {
            take_key(r, &to.key);
        } else if (bytes_equal(name, bytes_of_str("amount"))) {
            linereader_positive(r, &r->event.number);
        } else {
            jsonscan_skip(&r->scan, &skipped);
        }
    }
    if (from.key == HISTORY_NONE || to.key == HISTORY_NONE) {
        return linereader_fail(r, "\"transfer\" needs \"from\" and \"to\"");
    }
    return add_item(r, &from) && add_item(r, &to);
}

static bool read_bank(struct linereader *r)
{
    if (r->event.f == HISTORY_TRANSFER) {
        return read_transfer(r);
    }
    struct history_item item = {.f = r->event.f == HISTORY_OPEN ? HISTORY_ITEM_WRITE
                                                                : HISTORY_ITEM_READ};
    struct bytes name;
    if (jsonscan_null(&r->scan)) {
        return true;
    }
    if (!jsonscan_open(&r->scan, '{')) {
        return false;
    }
    while (jsonscan_next(&r->scan, '}') && jsonscan_name(&r->scan, &name)) {
        if (!take_named_key(r, name, &item.key) || !linereader_symbol(r, &item.value)) {
            return false;
        }
        if (!add_item(r, &item)) {
            return false;
        }
    }
    return r->scan.problem == NULL;
}

/* [[key,value,mod_revision,create_revision,version]] */
static bool read_state_item(struct linereader *r)
{
    struct history_item item = {.f = HISTORY_ITEM_READ};
    if (!open_pair(r, &item) || !take_key(r, &item.value) || !next_element(r) ||
        !linereader_positive(r, &item.mod_revision)) {
        return false;
    }
    if (!jsonscan_next(&r->scan, ']')) {
        return add_item(r, &item);
    }
    return linereader_positive(r, &item.create_revision) && next_element(r) &&
           linereader_positive(r, &item.version) && add_item(r, &item) && end_list(r);
}

static bool read_final(struct linereader *r)
{
    if (r->event.type != HISTORY_OK) {
        return read_range(r);
    }
    struct bytes name;
    struct bytes skipped;
    if (!jsonscan_open(&r->scan, '{')) {
        return false;
    }
    while (jsonscan_next(&r->scan, '}') && jsonscan_name(&r->scan, &name)) {
        if (bytes_equal(name, bytes_of_str("hash"))) {
            jsonscan_int(&r->scan, &r->event.number);
        } else if (bytes_equal(name, bytes_of_str("kvs"))) {
            jsonscan_open(&r->scan, '[');
            while (jsonscan_next(&r->scan, ']') && read_state_item(r)) {
            }
        } else {
            jsonscan_skip(&r->scan, &skipped);
        }
    }
    return r->scan.problem == NULL;
}

static bool read_admin(struct linereader *r)
{
    struct bytes name;
    struct bytes skipped;
    if (!jsonscan_open(&r->scan, '{')) {
        return false;
    }
    while (jsonscan_next(&r->scan, '}') && jsonscan_name(&r->scan, &name)) {
        if (bytes_equal(name, bytes_of_str("revision"))) {
            linereader_positive(r, &r->event.at_revision);
        } else {
            jsonscan_skip(&r->scan, &skipped);
        }
    }
    return r->scan.problem == NULL;
}

/* Its name, and the JSON of its value as a text. */
static bool read_nemesis(struct linereader *r)
{
    struct history_item item = {.f = HISTORY_ITEM_READ};
    struct bytes text;
    return take_named_key(r, buf_bytes(&r->f), &item.key) && jsonscan_skip(&r->scan, &text) &&
           take_named_key(r, text, &item.value) && add_item(r, &item);
}

bool linereader_value(struct linereader *r)
{
    switch (r->event.workload) {
    case HISTORY_REGISTER:
        return read_register(r);
    case HISTORY_SET:
        return read_set(r);
    case HISTORY_APPEND:
    case HISTORY_WR:
        return read_txn(r);
    case HISTORY_LOCK:
        return read_lock(r);
    case HISTORY_WATCH:
        return r->event.f == HISTORY_START ? read_range(r) : read_watch(r);
    case HISTORY_LEASE:
        return read_lease(r);
    case HISTORY_BANK:
        return read_bank(r);
    case HISTORY_FINAL:
        return read_final(r);
    case HISTORY_ADMIN:
        return read_admin(r);
    case HISTORY_NEMESIS:
        return read_nemesis(r);
    case HISTORY_WORKLOADS:
        break;
    }
    return linereader_fail(r, "unknown workload");
}
