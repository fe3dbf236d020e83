/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/history/history.h"

#include <stdlib.h>

#include "base/cleanup.h"
#include "tests/history/names.h"
#include "tests/lib/runner.h"

/* Small histories written by hand, right ones and wrong ones, and which rule each breaks. */
#define LINES_MAX 16

struct line {
    int process;
    const char *type;
    const char *workload;
    const char *f;
    const char *value; /* with ' for " */
    const char *more;  /* other members: "'revision':3" */
};

struct example {
    const char *name;
    const char *rule; /* NULL: right */
    enum history_checker checker;
    struct line lines[LINES_MAX];
};

#define APPEND(process, type, value)                \
    {                                               \
        process, type, "append", "txn", value, NULL \
    }
#define WR(process, type, value)                \
    {                                           \
        process, type, "wr", "txn", value, NULL \
    }
#define REGISTER(process, type, f, value, more)   \
    {                                             \
        process, type, "register", f, value, more \
    }
#define WATCH(type, f, value, more)       \
    {                                     \
        90, type, "watch", f, value, more \
    }
#define LEASE(process, type, f, value, more)   \
    {                                          \
        process, type, "lease", f, value, more \
    }
#define FINAL(type, value, more)                \
    {                                           \
        95, type, "final", "state", value, more \
    }
#define LOCK(process, type, f, value, more)   \
    {                                         \
        process, type, "lock", f, value, more \
    }

static const struct example examples[] = {
    {"one after the other",
     NULL,
     HISTORY_CHECK_CYCLE,
     {APPEND(0, "invoke", "[['append','x',1]]"), APPEND(0, "ok", "[['append','x',1]]"),
      APPEND(1, "invoke", "[['append','x',2],['r','x',null]]"),
      APPEND(1, "ok", "[['append','x',2],['r','x',[1,2]]]")}},
    {"writes in two orders",
     "G0",
     HISTORY_CHECK_CYCLE,
     {APPEND(0, "invoke", "[['append','x',1],['append','y',1]]"),
      APPEND(1, "invoke", "[['append','x',2],['append','y',2]]"),
      APPEND(0, "ok", "[['append','x',1],['append','y',1]]"),
      APPEND(1, "ok", "[['append','x',2],['append','y',2]]"),
      APPEND(2, "invoke", "[['r','x',null],['r','y',null]]"),
      APPEND(2, "ok", "[['r','x',[1,2]],['r','y',[2,1]]]")}},
    {"an aborted write is read",
     "G1a",
     HISTORY_CHECK_CYCLE,
     {APPEND(0, "invoke", "[['append','x',1]]"), APPEND(0, "fail", "[['append','x',1]]"),
      APPEND(1, "invoke", "[['r','x',null]]"), APPEND(1, "ok", "[['r','x',[1]]]")}},
    {"half of a transaction is read",
     "G1b",
     HISTORY_CHECK_CYCLE,
     {APPEND(0, "invoke", "[['append','x',1],['append','x',2]]"),
      APPEND(1, "invoke", "[['r','x',null]]"), APPEND(1, "ok", "[['r','x',[1]]]"),
      APPEND(0, "ok", "[['append','x',1],['append','x',2]]")}},
    {"each reads what the other wrote",
     "G1c",
     HISTORY_CHECK_CYCLE,
     {APPEND(0, "invoke", "[['append','x',1],['r','y',null]]"),
      APPEND(1, "invoke", "[['append','y',1],['r','x',null]]"),
      APPEND(0, "ok", "[['append','x',1],['r','y',[1]]]"),
      APPEND(1, "ok", "[['append','y',1],['r','x',[1]]]")}},
    {"half of it is seen",
     "G-single",
     HISTORY_CHECK_CYCLE,
     {APPEND(0, "invoke", "[['append','x',1],['append','y',1]]"),
      APPEND(1, "invoke", "[['r','x',null],['r','y',null]]"),
      APPEND(1, "ok", "[['r','x',[1]],['r','y',[]]]"),
      APPEND(0, "ok", "[['append','x',1],['append','y',1]]"),
      APPEND(2, "invoke", "[['r','y',null]]"), APPEND(2, "ok", "[['r','y',[1]]]")}},
    {"write skew",
     "G2",
     HISTORY_CHECK_CYCLE,
     {APPEND(0, "invoke", "[['r','x',null],['append','y',1]]"),
      APPEND(1, "invoke", "[['r','y',null],['append','x',1]]"),
      APPEND(0, "ok", "[['r','x',[]],['append','y',1]]"),
      APPEND(1, "ok", "[['r','y',[]],['append','x',1]]"),
      APPEND(2, "invoke", "[['r','x',null],['r','y',null]]"),
      APPEND(2, "ok", "[['r','x',[1]],['r','y',[1]]]")}},
    {"not seen although it had ended",
     "G-single-realtime",
     HISTORY_CHECK_CYCLE,
     {APPEND(0, "invoke", "[['append','x',1]]"), APPEND(0, "ok", "[['append','x',1]]"),
      APPEND(1, "invoke", "[['r','x',null]]"), APPEND(1, "ok", "[['r','x',[]]]")}},
    {"not seen, and it had not ended",
     NULL,
     HISTORY_CHECK_CYCLE,
     {APPEND(0, "invoke", "[['append','x',1]]"), APPEND(1, "invoke", "[['r','x',null]]"),
      APPEND(0, "ok", "[['append','x',1]]"), APPEND(1, "ok", "[['r','x',[]]]")}},
    {"own append not read",
     "internal",
     HISTORY_CHECK_CYCLE,
     {APPEND(0, "invoke", "[['append','x',1],['r','x',null]]"),
      APPEND(0, "ok", "[['append','x',1],['r','x',[]]]")}},
    {"an attempt without an answer is read",
     NULL,
     HISTORY_CHECK_CYCLE,
     {APPEND(0, "invoke", "[['append','x',1]]"), APPEND(0, "info", "[['append','x',1]]"),
      APPEND(1, "invoke", "[['r','x',null]]"), APPEND(1, "ok", "[['r','x',[1]]]")}},
    {"wr: each reads what the other wrote",
     "G1c",
     HISTORY_CHECK_CYCLE,
     {WR(0, "invoke", "[['w','x',1],['r','y',null]]"),
      WR(1, "invoke", "[['w','y',2],['r','x',null]]"), WR(0, "ok", "[['w','x',1],['r','y',2]]"),
      WR(1, "ok", "[['w','y',2],['r','x',1]]")}},
    {"wr: write skew by revisions",
     "G2",
     HISTORY_CHECK_CYCLE,
     {WR(0, "invoke", "[['r','x',null],['w','y',1]]"),
      WR(1, "invoke", "[['r','y',null],['w','x',2]]"),
      {0, "ok", "wr", "txn", "[['r','x',null],['w','y',1]]", "'revision':2"},
      {1, "ok", "wr", "txn", "[['r','y',null],['w','x',2]]", "'revision':3"}}},

    {"an attempt that took effect",
     NULL,
     HISTORY_CHECK_REVISION,
     {REGISTER(0, "invoke", "write", "['a',1]", NULL),
      REGISTER(0, "info", "write", "['a',1]", NULL),
      REGISTER(1, "invoke", "read", "['a',null]", NULL),
      REGISTER(1, "ok", "read", "['a',1]", "'revision':2,'mod_revision':2")}},
    {"an attempt that took effect at once, and then did not",
     "wrong read",
     HISTORY_CHECK_REVISION,
     {REGISTER(0, "invoke", "write", "['a',1]", NULL),
      REGISTER(0, "info", "write", "['a',1]", NULL),
      REGISTER(1, "invoke", "read", "['a',null]", NULL),
      REGISTER(1, "ok", "read", "['a',1]", "'revision':2,'mod_revision':2"),
      REGISTER(1, "invoke", "read", "['a',null]", NULL),
      REGISTER(1, "ok", "read", "['a',null]", "'revision':2")}},
    {"an attempt that may have filled a hole",
     NULL,
     HISTORY_CHECK_REVISION,
     {REGISTER(0, "invoke", "write", "['a',1]", NULL),
      REGISTER(0, "ok", "write", "['a',1]", "'revision':2"),
      REGISTER(1, "invoke", "write", "['a',null]", NULL),
      REGISTER(1, "info", "write", "['a',null]", NULL),
      REGISTER(0, "invoke", "read", "['a',null]", NULL),
      REGISTER(0, "ok", "read", "['a',null]", "'revision':3")}},
    {"two deletions without an answer, and one was told of",
     NULL,
     HISTORY_CHECK_REVISION,
     {REGISTER(0, "invoke", "write", "['a',1]", NULL),
      REGISTER(0, "ok", "write", "['a',1]", "'revision':2"),
      REGISTER(1, "invoke", "write", "['a',null]", NULL),
      REGISTER(1, "info", "write", "['a',null]", NULL),
      REGISTER(0, "invoke", "read", "['a',null]", NULL),
      REGISTER(0, "ok", "read", "['a',null]", "'revision':3"),
      REGISTER(0, "invoke", "write", "['a',2]", NULL),
      REGISTER(0, "ok", "write", "['a',2]", "'revision':4"),
      REGISTER(2, "invoke", "write", "['a',null]", NULL),
      REGISTER(2, "info", "write", "['a',null]", NULL),
      WATCH("invoke", "start", "{'watch':1,'key':'a','start_revision':5}", NULL),
      WATCH("ok", "start", "{'watch':1,'key':'a','start_revision':5}", "'revision':5"),
      WATCH("info", "events", "{'watch':1,'events':[{'type':'delete','key':'a','mod_revision':5}]}",
            "'revision':5")}},
    {"two deletions without an answer, and the comparison of the first was not so",
     NULL,
     HISTORY_CHECK_REVISION,
     {REGISTER(0, "invoke", "write", "['a',1]", NULL),
      REGISTER(0, "ok", "write", "['a',1]", "'revision':2"),
      REGISTER(1, "invoke", "cas", "['a',[1,null]]", NULL),
      REGISTER(0, "invoke", "write", "['a',2]", NULL),
      REGISTER(0, "ok", "write", "['a',2]", "'revision':3"),
      REGISTER(1, "info", "cas", "['a',[1,null]]", NULL),
      REGISTER(0, "invoke", "read", "['a',null]", NULL),
      REGISTER(0, "ok", "read", "['a',2]", "'revision':3,'mod_revision':3"),
      REGISTER(2, "invoke", "write", "['a',null]", NULL),
      REGISTER(2, "info", "write", "['a',null]", NULL),
      WATCH("invoke", "start", "{'watch':1,'key':'a','start_revision':4}", NULL),
      WATCH("ok", "start", "{'watch':1,'key':'a','start_revision':4}", "'revision':4"),
      WATCH("info", "events", "{'watch':1,'events':[{'type':'delete','key':'a','mod_revision':4}]}",
            "'revision':4")}},
    {"a deletion under a comparison that was not so, and it was told of",
     "comparison",
     HISTORY_CHECK_REVISION,
     {REGISTER(0, "invoke", "write", "['a',1]", NULL),
      REGISTER(0, "ok", "write", "['a',1]", "'revision':2"),
      REGISTER(1, "invoke", "cas", "['a',[1,null]]", NULL),
      REGISTER(0, "invoke", "write", "['a',2]", NULL),
      REGISTER(0, "ok", "write", "['a',2]", "'revision':3"),
      REGISTER(1, "info", "cas", "['a',[1,null]]", NULL),
      WATCH("invoke", "start", "{'watch':1,'key':'a','start_revision':4}", NULL),
      WATCH("ok", "start", "{'watch':1,'key':'a','start_revision':4}", "'revision':4"),
      WATCH("info", "events", "{'watch':1,'events':[{'type':'delete','key':'a','mod_revision':4}]}",
            "'revision':4")}},
    {"a deletion without an answer, and it was told of",
     "wrong read",
     HISTORY_CHECK_REVISION,
     {REGISTER(0, "invoke", "write", "['a',1]", NULL),
      REGISTER(0, "ok", "write", "['a',1]", "'revision':2"),
      REGISTER(1, "invoke", "write", "['a',null]", NULL),
      REGISTER(1, "info", "write", "['a',null]", NULL),
      REGISTER(0, "invoke", "read", "['a',null]", NULL),
      REGISTER(0, "ok", "read", "['a',null]", "'revision':3"),
      REGISTER(0, "invoke", "write", "['a',2]", NULL),
      REGISTER(0, "ok", "write", "['a',2]", "'revision':4"),
      WATCH("invoke", "start", "{'watch':1,'key':'a','start_revision':5}", NULL),
      WATCH("ok", "start", "{'watch':1,'key':'a','start_revision':5}", "'revision':5"),
      WATCH("info", "events", "{'watch':1,'events':[{'type':'delete','key':'a','mod_revision':5}]}",
            "'revision':5")}},
    {"no attempt, and a key that is gone",
     "wrong read",
     HISTORY_CHECK_REVISION,
     {REGISTER(0, "invoke", "write", "['a',1]", NULL),
      REGISTER(0, "ok", "write", "['a',1]", "'revision':2"),
      REGISTER(0, "invoke", "read", "['a',null]", NULL),
      REGISTER(0, "ok", "read", "['a',null]", "'revision':3")}},
    {"an attempt that is read before it was asked for",
     "nobody wrote it",
     HISTORY_CHECK_REVISION,
     {REGISTER(1, "invoke", "read", "['a',null]", NULL),
      REGISTER(1, "ok", "read", "['a',1]", "'revision':2,'mod_revision':2"),
      REGISTER(0, "invoke", "write", "['a',1]", NULL),
      REGISTER(0, "info", "write", "['a',1]", NULL)}},
    {"an old read of an old revision",
     NULL,
     HISTORY_CHECK_REVISION,
     {REGISTER(0, "invoke", "write", "['a',1]", NULL),
      REGISTER(0, "ok", "write", "['a',1]", "'revision':2"),
      REGISTER(0, "invoke", "write", "['a',2]", NULL),
      REGISTER(0, "ok", "write", "['a',2]", "'revision':3"),
      REGISTER(0, "invoke", "read", "['a',null]", "'at':2"),
      REGISTER(0, "ok", "read", "['a',1]", "'revision':3,'mod_revision':2,'at':2")}},
    {"an old read where none was asked for",
     "stale",
     HISTORY_CHECK_REVISION,
     {REGISTER(0, "invoke", "write", "['a',1]", NULL),
      REGISTER(0, "ok", "write", "['a',1]", "'revision':2"),
      REGISTER(0, "invoke", "write", "['a',2]", NULL),
      REGISTER(0, "ok", "write", "['a',2]", "'revision':3"),
      REGISTER(0, "invoke", "read", "['a',null]", NULL),
      REGISTER(0, "ok", "read", "['a',1]", "'revision':2,'mod_revision':2")}},
    {"the same, where it may be old",
     NULL,
     HISTORY_CHECK_REVISION,
     {REGISTER(0, "invoke", "write", "['a',1]", NULL),
      REGISTER(0, "ok", "write", "['a',1]", "'revision':2"),
      REGISTER(0, "invoke", "write", "['a',2]", NULL),
      REGISTER(0, "ok", "write", "['a',2]", "'revision':3"),
      REGISTER(0, "invoke", "read", "['a',null]", "'serializable':true"),
      REGISTER(0, "ok", "read", "['a',1]", "'revision':2,'mod_revision':2,'serializable':true")}},
    {"a refusal although it was equal",
     "refused",
     HISTORY_CHECK_REVISION,
     {REGISTER(0, "invoke", "write", "['a',1]", NULL),
      REGISTER(0, "ok", "write", "['a',1]", "'revision':2"),
      REGISTER(0, "invoke", "cas", "['a',[1,2]]", NULL),
      REGISTER(0, "fail", "cas", "['a',[1,2]]", "'revision':2")}},
    {"a transaction whose comparison was false",
     "comparison",
     HISTORY_CHECK_REVISION,
     {WR(0, "invoke", "[['w','x',1]]"),
      {0, "ok", "wr", "txn", "[['w','x',1]]", "'revision':2"},
      WR(0, "invoke", "[['c','x',5],['w','y',2]]"),
      {0, "ok", "wr", "txn", "[['c','x',5],['w','y',2]]", "'revision':3"}}},

    {"a watch that resumes",
     NULL,
     HISTORY_CHECK_WATCH,
     {REGISTER(0, "invoke", "write", "['a',1]", NULL),
      REGISTER(0, "ok", "write", "['a',1]", "'revision':2"),
      REGISTER(0, "invoke", "write", "['a',2]", NULL),
      REGISTER(0, "ok", "write", "['a',2]", "'revision':3"),
      WATCH("invoke", "start", "{'watch':1,'key':'a','start_revision':1}", NULL),
      WATCH("ok", "start", "{'watch':1,'key':'a','start_revision':1}", "'revision':3"),
      WATCH("info", "events",
            "{'watch':1,'events':[{'type':'put','key':'a','value':1,'mod_revision':2}]}",
            "'revision':3"),
      WATCH("info", "close", "{}", NULL),
      WATCH("invoke", "start", "{'watch':1,'key':'a','start_revision':3}", NULL),
      WATCH("ok", "start", "{'watch':1,'key':'a','start_revision':3}", "'revision':3"),
      WATCH("info", "events",
            "{'watch':1,'events':[{'type':'put','key':'a','value':2,'mod_revision':3}]}",
            "'revision':3")}},
    {"a bookmark, and a write below it was not told",
     "event missing",
     HISTORY_CHECK_WATCH,
     {WATCH("invoke", "start", "{'watch':1,'key':'a','start_revision':1}", NULL),
      WATCH("ok", "start", "{'watch':1,'key':'a','start_revision':1}", "'revision':1"),
      REGISTER(0, "invoke", "write", "['a',1]", NULL),
      REGISTER(0, "ok", "write", "['a',1]", "'revision':2"),
      WATCH("info", "progress", "{'watch':-1}", "'revision':2")}},
    {"a bookmark of a watch that begins later",
     "early bookmark",
     HISTORY_CHECK_WATCH,
     {WATCH("invoke", "start", "{'watch':1,'key':'a','start_revision':9}", NULL),
      WATCH("ok", "start", "{'watch':1,'key':'a','start_revision':9}", "'revision':1"),
      WATCH("info", "progress", "{'watch':1}", "'revision':4")}},
    {"an event of another key",
     "outside the range",
     HISTORY_CHECK_WATCH,
     {REGISTER(0, "invoke", "write", "['b',1]", NULL),
      REGISTER(0, "ok", "write", "['b',1]", "'revision':2"),
      WATCH("invoke", "start", "{'watch':1,'key':'a','start_revision':1}", NULL),
      WATCH("ok", "start", "{'watch':1,'key':'a','start_revision':1}", "'revision':2"),
      WATCH("info", "events",
            "{'watch':1,'events':[{'type':'put','key':'b','value':1,'mod_revision':2}]}",
            "'revision':2")}},
    {"a transaction's events in another order",
     "order",
     HISTORY_CHECK_WATCH,
     {WR(0, "invoke", "[['w','x',1],['w','y',2]]"),
      {0, "ok", "wr", "txn", "[['w','x',1],['w','y',2]]", "'revision':2"},
      WATCH("invoke", "start", "{'watch':1,'key':'','range_end':'\\u0000','start_revision':1}",
            NULL),
      WATCH("ok", "start", "{'watch':1,'key':'','range_end':'\\u0000','start_revision':1}",
            "'revision':2"),
      WATCH("info", "events",
            "{'watch':1,'events':[{'type':'put','key':'y','value':2,'mod_revision':2},"
            "{'type':'put','key':'x','value':1,'mod_revision':2}]}",
            "'revision':2")}},
    {"a revision in two fragments",
     NULL,
     HISTORY_CHECK_WATCH,
     {WR(0, "invoke", "[['w','x',1],['w','y',2]]"),
      {0, "ok", "wr", "txn", "[['w','x',1],['w','y',2]]", "'revision':2"},
      WATCH("invoke", "start", "{'watch':1,'key':'x','range_end':'z','start_revision':1}", NULL),
      WATCH("ok", "start", "{'watch':1,'key':'x','range_end':'z','start_revision':1}",
            "'revision':2"),
      WATCH("info", "events",
            "{'watch':1,'fragment':true,'events':["
            "{'type':'put','key':'x','value':1,'mod_revision':2}]}",
            "'revision':2"),
      WATCH("info", "events",
            "{'watch':1,'events':[{'type':'put','key':'y','value':2,'mod_revision':2}]}",
            "'revision':2")}},
    {"the same in two responses",
     "split revision",
     HISTORY_CHECK_WATCH,
     {WR(0, "invoke", "[['w','x',1],['w','y',2]]"),
      {0, "ok", "wr", "txn", "[['w','x',1],['w','y',2]]", "'revision':2"},
      WATCH("invoke", "start", "{'watch':1,'key':'x','range_end':'z','start_revision':1}", NULL),
      WATCH("ok", "start", "{'watch':1,'key':'x','range_end':'z','start_revision':1}",
            "'revision':2"),
      WATCH("info", "events",
            "{'watch':1,'events':[{'type':'put','key':'x','value':1,'mod_revision':2}]}",
            "'revision':2"),
      WATCH("info", "events",
            "{'watch':1,'events':[{'type':'put','key':'y','value':2,'mod_revision':2}]}",
            "'revision':2")}},
    {"canceled for a compaction",
     NULL,
     HISTORY_CHECK_WATCH,
     {{0, "invoke", "admin", "compact", "{'revision':5}", NULL},
      {0, "ok", "admin", "compact", "{'revision':5}", "'revision':7"},
      WATCH("invoke", "start", "{'watch':1,'key':'a','start_revision':4}", NULL),
      WATCH("ok", "start", "{'watch':1,'key':'a','start_revision':4}", "'revision':7"),
      WATCH("info", "cancel", "{'watch':1,'compact_revision':5}", "'revision':7")}},
    {"canceled at the compacted revision, which is still there",
     "canceled",
     HISTORY_CHECK_WATCH,
     {{0, "invoke", "admin", "compact", "{'revision':5}", NULL},
      {0, "ok", "admin", "compact", "{'revision':5}", "'revision':7"},
      WATCH("invoke", "start", "{'watch':1,'key':'a','start_revision':5}", NULL),
      WATCH("ok", "start", "{'watch':1,'key':'a','start_revision':5}", "'revision':7"),
      WATCH("info", "cancel", "{'watch':1,'compact_revision':5}", "'revision':7")}},

    {"a lease that is revoked",
     NULL,
     HISTORY_CHECK_LEASE,
     {LEASE(0, "invoke", "grant", "{'lease':7,'ttl':9}", NULL),
      LEASE(0, "ok", "grant", "{'lease':7,'ttl':9}", NULL),
      LEASE(1, "invoke", "revoke", "{'lease':7}", NULL),
      LEASE(2, "invoke", "ttl", "{'lease':7}", NULL),
      LEASE(2, "ok", "ttl", "{'lease':7,'ttl':-1}", NULL),
      LEASE(1, "ok", "revoke", "{'lease':7}", NULL)}},
    {"a lease that nobody revokes",
     "ended early",
     HISTORY_CHECK_LEASE,
     {LEASE(0, "invoke", "grant", "{'lease':7,'ttl':9}", NULL),
      LEASE(0, "ok", "grant", "{'lease':7,'ttl':9}", NULL),
      LEASE(2, "invoke", "ttl", "{'lease':7}", NULL),
      LEASE(2, "ok", "ttl", "{'lease':7,'ttl':-1}", NULL)}},
    {"a key whose lease was kept alive is gone",
     "ended early",
     HISTORY_CHECK_LEASE,
     {LEASE(0, "invoke", "grant", "{'lease':7,'ttl':9}", NULL),
      LEASE(0, "ok", "grant", "{'lease':7,'ttl':9}", NULL),
      LEASE(0, "invoke", "attach", "{'lease':7,'key':'e','value':1}", NULL),
      LEASE(0, "ok", "attach", "{'lease':7,'key':'e','value':1}", "'revision':2"),
      WATCH("invoke", "start", "{'watch':1,'key':'e','start_revision':1}", NULL),
      WATCH("ok", "start", "{'watch':1,'key':'e','start_revision':1}", "'revision':2"),
      WATCH("info", "events",
            "{'watch':1,'events':[{'type':'put','key':'e','value':1,'mod_revision':2},"
            "{'type':'delete','key':'e','mod_revision':3}]}",
            "'revision':3")}},

    {"a lock that changes hands",
     NULL,
     HISTORY_CHECK_LOCK,
     {LOCK(0, "invoke", "acquire", "{'lock':'l'}", NULL),
      LOCK(1, "invoke", "acquire", "{'lock':'l'}", NULL),
      LOCK(0, "ok", "acquire", "{'lock':'l','key':'l/a','create_revision':2}", "'revision':2"),
      LOCK(0, "invoke", "release", "{'lock':'l','key':'l/a'}", NULL),
      LOCK(0, "ok", "release", "{'lock':'l','key':'l/a'}", "'revision':4"),
      LOCK(1, "ok", "acquire", "{'lock':'l','key':'l/b','create_revision':3}", "'revision':4")}},
    {"two have a lock",
     "two holders",
     HISTORY_CHECK_LOCK,
     {LOCK(0, "invoke", "acquire", "{'lock':'l'}", NULL),
      LOCK(1, "invoke", "acquire", "{'lock':'l'}", NULL),
      LOCK(0, "ok", "acquire", "{'lock':'l','key':'l/a','create_revision':2}", "'revision':2"),
      LOCK(1, "ok", "acquire", "{'lock':'l','key':'l/b','create_revision':3}", "'revision':3"),
      LOCK(0, "invoke", "release", "{'lock':'l','key':'l/a'}", NULL),
      LOCK(0, "ok", "release", "{'lock':'l','key':'l/a'}", "'revision':4")}},
    {"a write by who had the lock, and another has it",
     "two holders",
     HISTORY_CHECK_LOCK,
     {LOCK(0, "invoke", "acquire", "{'lock':'l'}", NULL),
      LOCK(0, "ok", "acquire", "{'lock':'l','key':'l/a','create_revision':2}", "'revision':2"),
      LOCK(1, "invoke", "acquire", "{'lock':'l'}", NULL),
      LOCK(1, "ok", "acquire", "{'lock':'l','key':'l/b','create_revision':3}", "'revision':4"),
      LOCK(0, "invoke", "fenced", "{'lock':'l','key':'l/a','write':['x',1]}", NULL),
      LOCK(0, "ok", "fenced", "{'lock':'l','key':'l/a','write':['x',1]}", "'revision':5")}},
    {"by the clock two have it, by revisions not",
     NULL,
     HISTORY_CHECK_LOCK,
     {LOCK(0, "invoke", "acquire", "{'lock':'l'}", NULL),
      LOCK(0, "ok", "acquire", "{'lock':'l','key':'l/a','create_revision':2}", "'revision':2"),
      LOCK(1, "invoke", "acquire", "{'lock':'l'}", NULL),
      LOCK(1, "ok", "acquire", "{'lock':'l','key':'l/b','create_revision':3}", "'revision':4"),
      LOCK(0, "invoke", "fenced", "{'lock':'l','key':'l/a'}", NULL),
      LOCK(0, "fail", "fenced", "{'lock':'l','key':'l/a'}", "'revision':5")}},

    {"a key whose lease ended when nobody watched",
     NULL,
     HISTORY_CHECK_FINAL,
     {LEASE(0, "invoke", "attach", "{'lease':7,'key':'e','value':1}", NULL),
      LEASE(0, "info", "attach", "{'lease':7,'key':'e','value':1}", NULL),
      REGISTER(1, "invoke", "read", "['e',null]", NULL),
      REGISTER(1, "ok", "read", "['e',1]", "'revision':2,'mod_revision':2"),
      FINAL("invoke", "{'key':'','range_end':'\\u0000'}", NULL),
      FINAL("ok", "{'kvs':[]}", "'revision':3,'member':'m1'")}},
    {"who waits for longer is overtaken",
     "overtaken",
     HISTORY_CHECK_LOCK,
     {LOCK(0, "invoke", "acquire", "{'lock':'l'}", NULL),
      LOCK(0, "info", "acquire", "{'lock':'l'}", NULL),
      WATCH("invoke", "start", "{'watch':1,'key':'l','range_end':'m','start_revision':1}", NULL),
      WATCH("ok", "start", "{'watch':1,'key':'l','range_end':'m','start_revision':1}",
            "'revision':1"),
      WATCH("info", "events",
            "{'watch':1,'events':[{'type':'put','key':'l/a','value':'','mod_revision':2}]}",
            "'revision':2"),
      LOCK(1, "invoke", "acquire", "{'lock':'l'}", NULL),
      LOCK(1, "ok", "acquire", "{'lock':'l','key':'l/b','create_revision':3}", "'revision':3")}},
    {"who waited for longer has gone",
     NULL,
     HISTORY_CHECK_LOCK,
     {LOCK(0, "invoke", "acquire", "{'lock':'l'}", NULL),
      LOCK(0, "info", "acquire", "{'lock':'l'}", NULL),
      WATCH("invoke", "start", "{'watch':1,'key':'l','range_end':'m','start_revision':1}", NULL),
      WATCH("ok", "start", "{'watch':1,'key':'l','range_end':'m','start_revision':1}",
            "'revision':1"),
      WATCH("info", "events",
            "{'watch':1,'events':[{'type':'put','key':'l/a','value':'','mod_revision':2},"
            "{'type':'delete','key':'l/a','mod_revision':4}]}",
            "'revision':4"),
      LOCK(1, "invoke", "acquire", "{'lock':'l'}", NULL),
      LOCK(1, "ok", "acquire", "{'lock':'l','key':'l/b','create_revision':3}", "'revision':4")}},
    {"another one is said to lead than who does",
     "two holders",
     HISTORY_CHECK_LOCK,
     {LOCK(0, "invoke", "acquire", "{'lock':'l'}", NULL),
      LOCK(0, "ok", "acquire", "{'lock':'l','key':'l/a','create_revision':2}", "'revision':2"),
      LOCK(1, "invoke", "acquire", "{'lock':'l'}", NULL),
      LOCK(2, "invoke", "fenced", "{'lock':'l'}", NULL),
      LOCK(1, "ok", "acquire", "{'lock':'l','key':'l/b','create_revision':3}", "'revision':4"),
      LOCK(2, "ok", "fenced", "{'lock':'l','key':'l/a'}", "'revision':5")}},
    {"who leads does so with a key that had been released and came again",
     NULL,
     HISTORY_CHECK_LOCK,
     {LOCK(0, "invoke", "acquire", "{'lock':'l'}", NULL),
      LOCK(0, "ok", "acquire", "{'lock':'l','key':'l/a','create_revision':2}", "'revision':2"),
      LOCK(0, "invoke", "fenced", "{'lock':'l','key':'l/a'}", NULL),
      LOCK(0, "info", "fenced", "{'lock':'l','key':'l/a'}", NULL),
      LOCK(1, "invoke", "release", "{'lock':'l','key':'l/a'}", NULL),
      LOCK(1, "ok", "release", "{'lock':'l','key':'l/a'}", "'revision':3"),
      LOCK(2, "invoke", "fenced", "{'lock':'l'}", NULL),
      LOCK(2, "ok", "fenced", "{'lock':'l','key':'l/a','create_revision':4}", "'revision':5")}},
    {"who leads does so with a key that is younger than that of who has it",
     "two holders",
     HISTORY_CHECK_LOCK,
     {LOCK(0, "invoke", "acquire", "{'lock':'l'}", NULL),
      LOCK(0, "ok", "acquire", "{'lock':'l','key':'l/a','create_revision':2}", "'revision':2"),
      LOCK(1, "invoke", "fenced", "{'lock':'l'}", NULL),
      LOCK(1, "ok", "fenced", "{'lock':'l','key':'l/b','create_revision':3}", "'revision':4"),
      LOCK(0, "invoke", "release", "{'lock':'l','key':'l/a'}", NULL),
      LOCK(0, "ok", "release", "{'lock':'l','key':'l/a'}", "'revision':5")}},
    {"a lock that is lost before its lease was to end",
     "ended early",
     HISTORY_CHECK_LEASE,
     {LEASE(0, "invoke", "grant", "{'lease':7,'ttl':2}", NULL),
      LEASE(0, "ok", "grant", "{'lease':7,'ttl':2}", NULL),
      LOCK(0, "invoke", "acquire", "{'lock':'l','lease':7}", NULL),
      LOCK(0, "ok", "acquire", "{'lock':'l','key':'l/7','create_revision':2,'lease':7}",
           "'revision':2"),
      WATCH("invoke", "start", "{'watch':1,'key':'l','range_end':'m','start_revision':1}", NULL),
      WATCH("ok", "start", "{'watch':1,'key':'l','range_end':'m','start_revision':1}",
            "'revision':2"),
      WATCH("info", "events",
            "{'watch':1,'events':[{'type':'delete','key':'l/7','mod_revision':3}]}",
            "'revision':3")}},
    {"an ownership key that nobody was told of, and its end",
     NULL,
     HISTORY_CHECK_FINAL,
     {LOCK(0, "invoke", "acquire", "{'lock':'l'}", NULL),
      LOCK(0, "info", "acquire", "{'lock':'l'}", NULL),
      WATCH("invoke", "start", "{'watch':1,'key':'l','range_end':'m','start_revision':1}", NULL),
      WATCH("ok", "start", "{'watch':1,'key':'l','range_end':'m','start_revision':1}",
            "'revision':1"),
      WATCH("info", "events",
            "{'watch':1,'events':[{'type':'put','key':'l/a','value':'','mod_revision':2}]}",
            "'revision':2"),
      FINAL("invoke", "{'key':'','range_end':'\\u0000'}", NULL),
      FINAL("ok", "{'kvs':[]}", "'revision':3,'member':'m1'")}},
    {"a key that was written and is gone",
     "lost write",
     HISTORY_CHECK_FINAL,
     {REGISTER(0, "invoke", "write", "['a',1]", NULL),
      REGISTER(0, "ok", "write", "['a',1]", "'revision':2"),
      FINAL("invoke", "{'key':'','range_end':'\\u0000'}", NULL),
      FINAL("ok", "{'kvs':[]}", "'revision':3,'member':'m1'")}},
    {"a member at a revision that was asked for",
     NULL,
     HISTORY_CHECK_FINAL,
     {REGISTER(0, "invoke", "write", "['a',1]", NULL),
      REGISTER(0, "ok", "write", "['a',1]", "'revision':2"),
      REGISTER(0, "invoke", "write", "['a',2]", NULL),
      REGISTER(0, "ok", "write", "['a',2]", "'revision':3"),
      FINAL("invoke", "{'key':'','range_end':'\\u0000'}", "'at':2"),
      FINAL("ok", "{'kvs':[['a',1,2]]}", "'at':2,'revision':3,'member':'m1'")}},
    {"a member that lacks the end",
     "old state",
     HISTORY_CHECK_FINAL,
     {REGISTER(0, "invoke", "write", "['a',1]", NULL),
      REGISTER(0, "ok", "write", "['a',1]", "'revision':2"),
      FINAL("invoke", "{'key':'','range_end':'\\u0000'}", NULL),
      FINAL("ok", "{'kvs':[]}", "'revision':1,'member':'m1'")}},
    {"appends whose keys a client wrote in its own order",
     NULL,
     HISTORY_CHECK_WATCH,
     {{0, "invoke", "append", "txn", "[['append','y',1],['append','x',2]]", NULL},
      {0, "ok", "append", "txn", "[['append','y',1],['append','x',2]]", "'revision':2"},
      WATCH("invoke", "start", "{'watch':1,'key':'x','range_end':'z','start_revision':1}", NULL),
      WATCH("ok", "start", "{'watch':1,'key':'x','range_end':'z','start_revision':1}",
            "'revision':2"),
      WATCH("info", "events",
            "{'watch':1,'events':[{'type':'put','key':'x','value':2,'mod_revision':2},"
            "{'type':'put','key':'y','value':1,'mod_revision':2}]}",
            "'revision':2")}},
};

/* The lines as JSON, a millisecond apart. */
static void write_lines(const struct line *lines, struct buf *text)
{
    for (int i = 0; i < LINES_MAX && lines[i].type != NULL; i++) {
        const struct line *l = &lines[i];
        buf_printf(text,
                   "{'process':%d,'type':'%s','workload':'%s','f':'%s','value':%s,"
                   "'time':%d%s%s}\n",
                   l->process, l->type, l->workload, l->f, l->value, i * 1000000,
                   l->more != NULL ? "," : "", l->more != NULL ? l->more : "");
    }
    ck_assert(buf_ok(text));
    for (size_t i = 0; i < text->len; i++) {
        text->data[i] = text->data[i] == '\'' ? '"' : text->data[i];
    }
}

static struct history *read_lines(const struct line *lines)
{
    struct buf text = {0};
    struct why why = {0};
    struct history *h = history_new();
    ck_assert_ptr_nonnull(h);
    write_lines(lines, &text);
    FILE *in = fmemopen(text.data, text.len, "r");
    ck_assert_ptr_nonnull(in);
    enum err err = history_read_json(h, in, &why);
    ck_assert_msg(err == OK, "%s", why.text);
    fclose(in);
    buf_fini(&text);
    return h;
}

START_TEST(an_example_is_judged)
{
    const struct example *x = &examples[_i];
    struct history *h = read_lines(x->lines);
    struct history_report *report;
    struct history_options options = {.checkers = 1u << x->checker};
    ck_assert_int_eq(history_check(h, &options, &report), OK);
    ck_assert_msg(history_report_of(report, HISTORY_CHECK_SHAPE) == HISTORY_VALID,
                  "%s: not a history", x->name);
    size_t findings = history_report_findings(report);
    if (x->rule == NULL) {
        ck_assert_msg(findings == 0, "%s: %s", x->name,
                      findings == 0 ? "" : history_report_finding(report, 0)->text);
    } else {
        ck_assert_msg(findings > 0, "%s: nothing was found", x->name);
        ck_assert_msg(strcmp(history_report_finding(report, 0)->rule, x->rule) == 0, "%s: %s: %s",
                      x->name, history_report_finding(report, 0)->rule,
                      history_report_finding(report, 0)->text);
        ck_assert_uint_gt(history_report_finding(report, 0)->position_count, 0);
    }
    history_report_free(report);
    history_free(h);
}
END_TEST

/* A lease's end after its TTL: the clocks and the slack are the caller's. */
START_TEST(lateness_has_a_bound)
{
    static const struct line lines[LINES_MAX] = {
        LEASE(0, "invoke", "grant", "{'lease':7,'ttl':2}", NULL),
        LEASE(0, "ok", "grant", "{'lease':7,'ttl':2}", NULL),
        LEASE(0, "invoke", "ttl", "{'lease':7}", "'time':4000000000"),
        LEASE(0, "ok", "ttl", "{'lease':7,'ttl':1}", "'time':4001000000"),
    };
    static const struct {
        int64_t late_ns;
        enum history_verdict want;
    } rows[] = {{0, HISTORY_VALID},
                {INT64_C(1000000000), HISTORY_INVALID},
                {INT64_C(3000000000), HISTORY_VALID}};
    struct history *h = read_lines(lines);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct history_options options = {.lease_late_ns = rows[i].late_ns};
        struct history_report *report;
        ck_assert_int_eq(history_check(h, &options, &report), OK);
        ck_assert_int_eq(history_report_of(report, HISTORY_CHECK_LEASE), rows[i].want);
        history_report_free(report);
    }
    history_free(h);
}
END_TEST

/* A lease's end before its TTL: by as much as a clock that is fast, and no more. */
START_TEST(earliness_is_what_drift_makes_of_it)
{
    static const struct line lines[LINES_MAX] = {
        LEASE(0, "invoke", "grant", "{'lease':7,'ttl':21}", NULL),
        LEASE(0, "ok", "grant", "{'lease':7,'ttl':21}", NULL),
        LEASE(0, "invoke", "ttl", "{'lease':7}", "'time':20000000000"),
        LEASE(0, "ok", "ttl", "{'lease':7,'ttl':-1}", "'time':20000000000"),
    };
    static const struct {
        uint32_t fast_ppm;
        enum history_verdict want;
    } rows[] = {{0, HISTORY_INVALID},
                {49000, HISTORY_INVALID},
                {50000, HISTORY_VALID},
                {60000, HISTORY_VALID}};
    struct history *h = read_lines(lines);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct history_options options = {.clock_fast_ppm = rows[i].fast_ppm};
        struct history_report *report;
        ck_assert_int_eq(history_check(h, &options, &report), OK);
        ck_assert_int_eq(history_report_of(report, HISTORY_CHECK_LEASE), rows[i].want);
        history_report_free(report);
    }
    history_free(h);
}
END_TEST

START_TEST(too_little_is_void)
{
    struct history *h = read_lines(examples[0].lines);
    struct history_options options = {.operations_min = 2};
    struct history_report *report;
    ck_assert_int_eq(history_check(h, &options, &report), OK);
    ck_assert_int_eq(history_report_verdict(report), HISTORY_VALID);
    history_report_free(report);
    options.operations_min = 3;
    ck_assert_int_eq(history_check(h, &options, &report), OK);
    ck_assert_int_eq(history_report_verdict(report), HISTORY_VOID);
    history_report_free(report);
    history_free(h);
}
END_TEST

START_TEST(strangers_are_allowed_when_the_caller_says_so)
{
    static const struct line lines[LINES_MAX] = {
        REGISTER(1, "invoke", "read", "['a',null]", NULL),
        REGISTER(1, "ok", "read", "['a',1]", "'revision':2,'mod_revision':2")};
    struct history *h = read_lines(lines);
    for (int strangers = 0; strangers < 2; strangers++) {
        struct history_options options = {.strangers = strangers == 1,
                                          .checkers = 1u << HISTORY_CHECK_REVISION};
        struct history_report *report;
        ck_assert_int_eq(history_check(h, &options, &report), OK);
        ck_assert_int_eq(history_report_verdict(report),
                         strangers == 1 ? HISTORY_VALID : HISTORY_INVALID);
        history_report_free(report);
    }
    history_free(h);
}
END_TEST

static Suite *checkers_suite(void)
{
    Suite *suite = suite_create("checkers");
    TCase *tcase = tcase_create("examples");
    tcase_add_loop_test(tcase, an_example_is_judged, 0, (int)ARRAY_LEN(examples));
    suite_add_tcase(suite, tcase);
    TCase *options = tcase_create("options");
    tcase_add_test(options, lateness_has_a_bound);
    tcase_add_test(options, earliness_is_what_drift_makes_of_it);
    tcase_add_test(options, too_little_is_void);
    tcase_add_test(options, strangers_are_allowed_when_the_caller_says_so);
    suite_add_tcase(suite, options);
    return suite;
}

int main(void)
{
    return runner_main(checkers_suite);
}
