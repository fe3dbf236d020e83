// SPDX-License-Identifier: Apache-2.0

// goclient uses a cluster as Go programs do: by etcd's own client of today and what comes with it (sessions,
// locks, elections, transactional memory, leasing, mirrors). It prints TAP. scripts/go-client starts it.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/concurrency"
	"go.etcd.io/etcd/client/v3/leasing"
	"go.etcd.io/etcd/client/v3/mirror"
	"go.etcd.io/etcd/client/v3/namespace"
	"go.etcd.io/etcd/client/v3/ordering"
	"go.uber.org/zap"
)

const prefix = "goclient/"

type run struct {
	ctx       context.Context
	client    *clientv3.Client
	endpoints []string
}

// failure ends a case.
type failure struct{ text string }

func need(holds bool, format string, args ...any) {
	if !holds {
		panic(failure{fmt.Sprintf(format, args...)})
	}
}

func must[T any](value T, err error) T {
	need(err == nil, "%v", err)
	return value
}

var cases = []struct {
	name string
	run  func(r *run)
}{
	{"ranges", ranges},
	{"errors_are_those_of_rpctypes", knownErrors},
	{"transactions", transactions},
	{"transactional_memory", transactionalMemory},
	{"locks_exclude", locks},
	{"a_lock_that_is_held_is_not_waited_for", tryLock},
	{"elections", elections},
	{"a_watch_tells_all_in_order", watchAll},
	{"large_events_come_in_fragments", watchLarge},
	{"a_watch_behind_a_compaction_is_told", watchCompacted},
	{"leases", leases},
	{"a_session_outlives_its_time_to_live", sessionLives},
	{"maintenance", maintenance},
	{"a_snapshot_is_read_to_its_end", snapshot},
	{"members", members},
	{"leadership_moves", moveLeader},
	{"namespaces", namespaces},
	{"answers_do_not_go_back", ordered},
	{"leasing_cache", leasingCache},
	{"mirrors", mirrors},
}

func ranges(r *run) {
	for i := range 50 {
		must(r.client.Put(r.ctx, fmt.Sprintf(prefix+"range/%02d", i), strings.Repeat("v", i)))
	}
	got := must(r.client.Get(r.ctx, prefix+"range/", clientv3.WithPrefix(), clientv3.WithLimit(7),
		clientv3.WithSort(clientv3.SortByModRevision, clientv3.SortDescend)))
	need(got.More && got.Count == 50 && len(got.Kvs) == 7, "more %v, count %d, %d keys", got.More, got.Count, len(got.Kvs))
	need(string(got.Kvs[0].Key) == prefix+"range/49", "the newest is %s", got.Kvs[0].Key)
	past := must(r.client.Get(r.ctx, prefix+"range/", clientv3.WithPrefix(), clientv3.WithRev(got.Kvs[6].ModRevision)))
	need(past.Count == 44, "%d in the past", past.Count)
	names := must(r.client.Get(r.ctx, prefix+"range/45", clientv3.WithRange(clientv3.GetPrefixRangeEnd(prefix+"range/")),
		clientv3.WithKeysOnly(), clientv3.WithSerializable()))
	need(len(names.Kvs) == 5 && len(names.Kvs[0].Value) == 0, "%d names", len(names.Kvs))
	count := must(r.client.Get(r.ctx, prefix+"range/", clientv3.WithPrefix(), clientv3.WithCountOnly()))
	need(count.Count == 50 && len(count.Kvs) == 0, "counted %d", count.Count)
	gone := must(r.client.Delete(r.ctx, prefix+"range/4", clientv3.WithPrefix(), clientv3.WithPrevKV()))
	need(gone.Deleted == 10 && len(gone.PrevKvs[9].Value) == 49, "%d deleted", gone.Deleted)
}

func knownErrors(r *run) {
	_, err := r.client.Get(r.ctx, prefix+"x", clientv3.WithRev(1<<40))
	need(errors.Is(err, rpctypes.ErrFutureRev), "a revision of the future: %v", err)
	_, err = r.client.Put(r.ctx, prefix+"x", strings.Repeat("y", 1600000))
	need(errors.Is(err, rpctypes.ErrRequestTooLarge), "a request that is too large: %v", err)
	_, err = r.client.Put(r.ctx, prefix+"x", "y", clientv3.WithLease(4711))
	need(errors.Is(err, rpctypes.ErrLeaseNotFound), "a lease that there is not: %v", err)
	_, err = r.client.Txn(r.ctx).Then(clientv3.OpPut(prefix+"x", "1"), clientv3.OpPut(prefix+"x", "2")).Commit()
	need(errors.Is(err, rpctypes.ErrDuplicateKey), "a key twice: %v", err)
	_, err = r.client.KeepAliveOnce(r.ctx, 4711)
	need(errors.Is(err, rpctypes.ErrLeaseNotFound), "to keep a lease alive that there is not: %v", err)
}

func transactions(r *run) {
	must(r.client.Put(r.ctx, prefix+"txn/a", "1"))
	// All comparisons are made before anything is written.
	inner := clientv3.OpTxn([]clientv3.Cmp{clientv3.Compare(clientv3.Version(prefix+"txn/b"), "=", 0)},
		[]clientv3.Op{clientv3.OpDelete(prefix+"txn/a", clientv3.WithPrevKV())}, nil)
	done := must(r.client.Txn(r.ctx).
		If(clientv3.Compare(clientv3.Value(prefix+"txn/a"), "=", "1"),
			clientv3.Compare(clientv3.CreateRevision(prefix+"txn/"), ">", 0).WithPrefix()).
		Then(clientv3.OpPut(prefix+"txn/b", "2"), clientv3.OpGet(prefix+"txn/b"), inner).
		Else(clientv3.OpGet(prefix + "txn/a")).Commit())
	need(done.Succeeded && len(done.Responses) == 3, "%v", done)
	read := done.Responses[1].GetResponseRange()
	need(read.Count == 1 && read.Kvs[0].ModRevision == done.Header.Revision, "it reads %v of its own", read)
	deleted := done.Responses[2].GetResponseTxn().Responses[0].GetResponseDeleteRange()
	need(deleted.Deleted == 1 && string(deleted.PrevKvs[0].Value) == "1", "%v", deleted)
}

// parallel waits until N goroutines have ended; the first failure is that of the case.
func parallel(n int, work func(i int)) {
	var wait sync.WaitGroup
	var first atomic.Pointer[failure]
	for i := range n {
		wait.Add(1)
		go func() {
			defer wait.Done()
			defer func() {
				if f, failed := recover().(failure); failed {
					first.CompareAndSwap(nil, &f)
				}
			}()
			work(i)
		}()
	}
	wait.Wait()
	if f := first.Load(); f != nil {
		panic(*f)
	}
}

func transactionalMemory(r *run) {
	must(r.client.Put(r.ctx, prefix+"stm", "0"))
	parallel(8, func(int) {
		for range 10 {
			must(concurrency.NewSTM(r.client, func(s concurrency.STM) error {
				var n int
				fmt.Sscan(s.Get(prefix+"stm"), &n)
				s.Put(prefix+"stm", fmt.Sprint(n+1))
				return nil
			}, concurrency.WithIsolation(concurrency.SerializableSnapshot)))
		}
	})
	got := must(r.client.Get(r.ctx, prefix+"stm"))
	need(string(got.Kvs[0].Value) == "80", "80 increments make %s", got.Kvs[0].Value)
}

func (r *run) session(options ...concurrency.SessionOption) *concurrency.Session {
	return must(concurrency.NewSession(r.client, options...))
}

func locks(r *run) {
	var inside, passed atomic.Int32
	parallel(6, func(int) {
		session := r.session(concurrency.WithTTL(10))
		defer session.Close()
		mutex := concurrency.NewMutex(session, prefix+"lock")
		for range 5 {
			must(0, mutex.Lock(r.ctx))
			need(inside.Add(1) == 1, "two hold the lock")
			passed.Add(1)
			inside.Add(-1)
			must(0, mutex.Unlock(r.ctx))
		}
	})
	need(passed.Load() == 30, "the lock was held %d times", passed.Load())
}

func tryLock(r *run) {
	one, two := r.session(), r.session()
	first, second := concurrency.NewMutex(one, prefix+"try"), concurrency.NewMutex(two, prefix+"try")
	must(0, first.TryLock(r.ctx))
	err := second.TryLock(r.ctx)
	need(errors.Is(err, concurrency.ErrLocked), "a lock that is held: %v", err)
	must(0, one.Close())
	must(0, second.TryLock(r.ctx))
	must(0, two.Close())
}

func elections(r *run) {
	parallel(5, func(i int) {
		session := r.session(concurrency.WithTTL(10))
		defer session.Close()
		election := concurrency.NewElection(session, prefix+"election")
		must(0, election.Campaign(r.ctx, fmt.Sprint(i)))
		leader := must(election.Leader(r.ctx))
		need(string(leader.Kvs[0].Value) == fmt.Sprint(i), "%s leads, and not %d", leader.Kvs[0].Value, i)
		must(0, election.Proclaim(r.ctx, "again"))
		must(0, election.Resign(r.ctx))
	})
	session := r.session()
	defer session.Close()
	_, err := concurrency.NewElection(session, prefix+"election").Leader(r.ctx)
	need(errors.Is(err, concurrency.ErrElectionNoLeader), "after all: %v", err)
}

// events reads from a watch until it has N of them.
func events(watch clientv3.WatchChan, n int) []*clientv3.Event {
	var all []*clientv3.Event
	for len(all) < n {
		response, open := <-watch
		need(open && response.Err() == nil, "the watch ended: %v", response.Err())
		all = append(all, response.Events...)
	}
	return all
}

func watchAll(r *run) {
	ctx, cancel := context.WithCancel(r.ctx)
	defer cancel()
	watch := r.client.Watch(ctx, prefix+"watch/", clientv3.WithPrefix(), clientv3.WithPrevKV(), clientv3.WithCreatedNotify())
	created := <-watch
	need(created.Created, "the first word is %v", created)
	const puts = 200
	for i := range puts {
		must(r.client.Put(r.ctx, prefix+"watch/a", fmt.Sprint(i)))
	}
	must(r.client.Delete(r.ctx, prefix+"watch/a"))
	all := events(watch, puts+1)
	for i, event := range all {
		need(event.Kv.ModRevision == all[0].Kv.ModRevision+int64(i), "event %d is of revision %d", i, event.Kv.ModRevision)
		need(i == 0 || string(event.PrevKv.Value) == fmt.Sprint(i-1), "before event %d there was %v", i, event.PrevKv)
	}
	need(all[puts].Type == clientv3.EventTypeDelete, "the last is %v", all[puts])
	must(0, r.client.RequestProgress(ctx))
	progress := <-watch
	need(progress.IsProgressNotify() && progress.Header.Revision >= all[puts].Kv.ModRevision, "progress: %v", progress)
	again := r.client.Watch(ctx, prefix+"watch/", clientv3.WithPrefix(), clientv3.WithRev(all[100].Kv.ModRevision),
		clientv3.WithFilterDelete())
	for i, event := range events(again, puts-100) {
		need(string(event.Kv.Value) == fmt.Sprint(100+i), "history has %s at %d", event.Kv.Value, 100+i)
	}
}

func watchLarge(r *run) {
	ctx, cancel := context.WithCancel(r.ctx)
	defer cancel()
	from := must(r.client.Get(r.ctx, prefix)).Header.Revision + 1
	large := strings.Repeat("x", 700000)
	for range 4 {
		must(r.client.Txn(r.ctx).Then(clientv3.OpPut(prefix+"large/a", large), clientv3.OpPut(prefix+"large/b", large)).Commit())
	}
	watch := r.client.Watch(ctx, prefix+"large/", clientv3.WithPrefix(), clientv3.WithFragment(), clientv3.WithRev(from))
	for _, event := range events(watch, 8) {
		need(len(event.Kv.Value) == len(large), "%d bytes", len(event.Kv.Value))
	}
}

func watchCompacted(r *run) {
	revision := must(r.client.Put(r.ctx, prefix+"x", "y")).Header.Revision
	must(r.client.Compact(r.ctx, revision, clientv3.WithCompactPhysical()))
	response := <-r.client.Watch(r.ctx, prefix, clientv3.WithPrefix(), clientv3.WithRev(2))
	need(errors.Is(response.Err(), rpctypes.ErrCompacted) && response.CompactRevision == revision, "%v", response)
	_, err := r.client.Get(r.ctx, prefix+"x", clientv3.WithRev(revision-1))
	need(errors.Is(err, rpctypes.ErrCompacted), "a read: %v", err)
}

func leases(r *run) {
	lease := must(r.client.Grant(r.ctx, 5))
	must(r.client.Put(r.ctx, prefix+"lease/a", "x", clientv3.WithLease(lease.ID)))
	alive := <-must(r.client.KeepAlive(r.ctx, lease.ID))
	need(alive.TTL == 5, "it lives for %d s", alive.TTL)
	left := must(r.client.TimeToLive(r.ctx, lease.ID, clientv3.WithAttachedKeys()))
	need(len(left.Keys) == 1 && left.GrantedTTL == 5, "%v", left)
	need(len(must(r.client.Leases(r.ctx)).Leases) > 0, "none is listed")
	must(r.client.Revoke(r.ctx, lease.ID))
	need(must(r.client.Get(r.ctx, prefix+"lease/a")).Count == 0, "its key is still there")
	short := must(r.client.Grant(r.ctx, 2))
	must(r.client.Put(r.ctx, prefix+"lease/b", "x", clientv3.WithLease(short.ID)))
	end := events(r.client.Watch(r.ctx, prefix+"lease/b", clientv3.WithFilterPut()), 1)
	need(end[0].Type == clientv3.EventTypeDelete, "%v", end)
}

func sessionLives(r *run) {
	session := r.session(concurrency.WithTTL(2))
	select {
	case <-session.Done():
		need(false, "it ended")
	case <-time.After(5 * time.Second):
	}
	must(0, session.Close())
}

func maintenance(r *run) {
	for _, endpoint := range r.endpoints {
		status := must(r.client.Status(r.ctx, endpoint))
		need(status.Leader != 0 && status.DbSize > 0 && len(status.Errors) == 0, "%v", status)
		need(must(r.client.HashKV(r.ctx, endpoint, 0)).Hash != 0, "no hash")
		must(r.client.Defragment(r.ctx, endpoint))
	}
	need(len(must(r.client.AlarmList(r.ctx)).Alarms) == 0, "there is an alarm")
}

func snapshot(r *run) {
	opened := must(r.client.SnapshotWithVersion(r.ctx))
	need(must(io.Copy(io.Discard, opened.Snapshot)) > 0, "it is empty")
	must(0, opened.Snapshot.Close())
}

func members(r *run) {
	before := must(r.client.MemberList(r.ctx)).Members
	need(len(before) == len(r.endpoints), "%d members", len(before))
	var added *clientv3.MemberAddResponse
	for { // until members have been connected for the while that the check of a change asks for
		var err error
		added, err = r.client.MemberAddAsLearner(r.ctx, []string{"http://127.0.0.1:1"})
		if !errors.Is(err, rpctypes.ErrUnhealthy) {
			need(err == nil, "%v", err)
			break
		}
		time.Sleep(time.Second)
	}
	_, err := r.client.MemberPromote(r.ctx, added.Member.ID)
	need(errors.Is(err, rpctypes.ErrMemberLearnerNotReady), "a learner that is not there: %v", err)
	must(r.client.MemberUpdate(r.ctx, added.Member.ID, []string{"http://127.0.0.1:2"}))
	after := must(r.client.MemberRemove(r.ctx, added.Member.ID)).Members
	need(len(after) == len(before), "%d members", len(after))
	must(0, r.client.Sync(r.ctx))
}

func moveLeader(r *run) {
	leader := must(r.client.Status(r.ctx, r.endpoints[0])).Leader
	var other uint64
	var at string
	for _, endpoint := range r.endpoints {
		status := must(r.client.Status(r.ctx, endpoint))
		if status.Header.MemberId == leader {
			at = endpoint
		} else {
			other = status.Header.MemberId
		}
	}
	direct := must(clientv3.New(clientv3.Config{Endpoints: []string{at}, Logger: zap.NewNop()}))
	defer direct.Close()
	must(direct.MoveLeader(r.ctx, other))
	status := must(direct.Status(r.ctx, at))
	need(status.Leader == other, "%x leads", status.Leader)
}

func namespaces(r *run) {
	inside := namespace.NewKV(r.client.KV, prefix+"ns/")
	must(inside.Put(r.ctx, "a", "1"))
	got := must(inside.Get(r.ctx, "", clientv3.WithPrefix()))
	need(got.Count == 1 && string(got.Kvs[0].Key) == "a", "%v", got)
	need(must(r.client.Get(r.ctx, prefix+"ns/a")).Count == 1, "it is not there")
}

func ordered(r *run) {
	kv := ordering.NewKV(r.client.KV, func(clientv3.Op, clientv3.OpResponse, int64) error {
		return errors.New("an answer is older than one before")
	})
	for i := range 200 {
		if i%5 == 0 {
			must(kv.Put(r.ctx, prefix+"ordered", fmt.Sprint(i)))
		}
		got := must(kv.Get(r.ctx, prefix+"ordered"))
		need(string(got.Kvs[0].Value) == fmt.Sprint(i-i%5), "%s is read at %d", got.Kvs[0].Value, i)
	}
}

func leasingCache(r *run) {
	cached, closeCached, err := leasing.NewKV(r.client, prefix+"leasing/")
	need(err == nil, "%v", err)
	defer closeCached()
	for i := range 20 {
		must(cached.Put(r.ctx, prefix+"cached", fmt.Sprint(i)))
		got := must(cached.Get(r.ctx, prefix+"cached"))
		need(string(got.Kvs[0].Value) == fmt.Sprint(i), "%s is cached, and not %d", got.Kvs[0].Value, i)
	}
	other, closeOther, err := leasing.NewKV(r.client, prefix+"leasing/")
	need(err == nil, "%v", err)
	defer closeOther()
	must(other.Put(r.ctx, prefix+"cached", "other"))
	got := must(cached.Get(r.ctx, prefix+"cached"))
	need(string(got.Kvs[0].Value) == "other", "%s is cached", got.Kvs[0].Value)
}

func mirrors(r *run) {
	ctx, cancel := context.WithCancel(r.ctx)
	defer cancel()
	syncer := mirror.NewSyncer(r.client, prefix, 0)
	answers, ends := syncer.SyncBase(ctx)
	keys := 0
	for answer := range answers {
		keys += len(answer.Kvs)
	}
	if err := <-ends; err != nil {
		need(false, "%v", err)
	}
	want := must(r.client.Get(r.ctx, prefix, clientv3.WithPrefix(), clientv3.WithCountOnly())).Count
	need(int64(keys) == want, "%d keys of %d", keys, want)
	updates := syncer.SyncUpdates(ctx)
	must(r.client.Put(r.ctx, prefix+"mirrored", "1"))
	need(string(events(updates, 1)[0].Kv.Key) == prefix+"mirrored", "another key")
}

func (r *run) runCase(run func(r *run)) (failed *failure) {
	defer func() {
		switch cause := recover().(type) {
		case nil:
		case failure:
			failed = &cause
		default:
			panic(cause)
		}
	}()
	run(r)
	return nil
}

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: goclient ENDPOINTS")
		os.Exit(2)
	}
	endpoints := strings.Split(os.Args[1], ",")
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	client, err := clientv3.New(clientv3.Config{Endpoints: endpoints, DialTimeout: 5 * time.Second, Logger: zap.NewNop()})
	if err != nil {
		fmt.Println("Bail out!", err)
		os.Exit(1)
	}
	defer client.Close()
	r := &run{ctx: ctx, client: client, endpoints: endpoints}
	must(client.Delete(ctx, prefix, clientv3.WithPrefix()))
	fmt.Printf("1..%d\n", len(cases))
	bad := 0
	for i, one := range cases {
		if f := r.runCase(one.run); f != nil {
			bad++
			fmt.Printf("not ok %d - goclient:%s\n# %s\n", i+1, one.name, f.text)
		} else {
			fmt.Printf("ok %d - goclient:%s\n", i+1, one.name)
		}
	}
	if bad > 0 {
		os.Exit(1)
	}
}
