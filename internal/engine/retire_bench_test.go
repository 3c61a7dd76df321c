package engine

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/headrace/headrace/internal/arrowipc"
	"github.com/headrace/headrace/internal/vfs"
)

const (
	retireBenchKeys, retireBenchRows, retireBenchBuckets = 1_000_000, 1000, 4
	// One request is due each retireBenchPause: 100,000 rows a second.
	retireBenchPause = 10 * time.Millisecond
)

// BenchmarkRetireBesideUpserts retires three quarters of the rows of a table, in three steps, while rows are upserted
// at a fixed rate with fsync acknowledgements, and tells how long these take from when a request was due: before,
// in each step, and behind it.
func BenchmarkRetireBesideUpserts(b *testing.B) {
	runtime.GOMAXPROCS(max(4, runtime.GOMAXPROCS(0))) // as in a server
	for b.Loop() {
		x := newRetireBench(b)
		x.upserts("before", after(3*time.Second))
		for step := range int64(3) {
			done := make(chan struct{})
			go func() {
				defer close(done)
				for _, bucket := range x.e.catalog.lookup(name(b, "t")).opened() {
					before := retireBenchKeys / retireBenchBuckets * (step + 1) / 4
					if err := x.e.retireBucket(b.Context(), bucket, before, x.e.newPacer()); err != nil {
						b.Error(err)
					}
				}
			}()
			x.upserts(fmt.Sprint("step", step+1), done)
			x.upserts(fmt.Sprint("behind", step+1), after(2*time.Second))
		}
		closeEngine(b, x.e)
		_ = x.disk.Close()
	}
}

func after(d time.Duration) <-chan struct{} {
	done := make(chan struct{})
	time.AfterFunc(d, func() { close(done) })
	return done
}

// retireBench is a table with all keys, and requests that replace random ones.
type retireBench struct {
	b        *testing.B
	e        *Engine
	disk     *vfs.Disk
	put      *Put
	requests []retireBenchRequest
}

type retireBenchRequest struct {
	header []byte
	body   [][]byte
}

func newRetireBench(b *testing.B) *retireBench {
	b.Helper()
	x := &retireBench{b: b}
	folder := b.TempDir()
	var err error
	if x.disk, err = vfs.NewDisk(folder); err != nil {
		b.Fatal(err)
	}
	options := testOptions(x.disk)
	options.SegmentBytes, options.CommitBytes, options.GroupGap, options.Folder = 256<<20, 16<<20, time.Millisecond, folder
	x.e = open(b, options)
	createKeyed(b, x.e, "t", retireBenchBuckets, map[string]string{"log.durability": "fsync"})
	if x.put, err = x.e.OpenPut(b.Context(), PutRequest{Table: name(b, "t"), Schema: arrowipc.EncodeSchema(keyedSchema)}); err != nil {
		b.Fatal(err)
	}
	const each = 10_000
	for from := int64(0); from < retireBenchKeys; from += each {
		<-x.send(x.request(each, func(i int64) int64 { return from + i })).Done()
	}
	for range 500 {
		first := rand.Int64N(retireBenchKeys)
		const step = 7919 // keys of one request differ
		x.requests = append(x.requests, x.request(retireBenchRows, func(i int64) int64 { return (first + i*step) % retireBenchKeys }))
	}
	if err := x.disk.SyncAll(); err != nil {
		b.Fatal(err)
	}
	return x
}

func (x *retireBench) request(rows int64, id func(i int64) int64) retireBenchRequest {
	all := make([]keyedRow, rows)
	for i := range all {
		text := fmt.Sprintf("%016x%016x%016x%016x%016x", rand.Uint64(), rand.Uint64(), rand.Uint64(), rand.Uint64(), rand.Uint64())
		all[i] = keyedRow{id(int64(i)), text, 1}
	}
	header, body := keyedMessage(x.b, keyedSchema, all)
	return retireBenchRequest{header, body}
}

func (x *retireBench) send(r retireBenchRequest) *Pending {
	pending, err := x.put.Send(x.b.Context(), r.header, r.body, nil)
	if err != nil {
		x.b.Fatal(err)
	}
	return pending
}

// upserts sends requests until it is told to stop.
func (x *retireBench) upserts(phase string, stop <-chan struct{}) {
	type sent struct {
		pending *Pending
		due     time.Time
	}
	var took []time.Duration
	window := make(chan sent, 16)
	var acknowledged sync.WaitGroup
	acknowledged.Go(func() {
		for s := range window {
			<-s.pending.Done()
			if _, err := s.pending.Ack(); err != nil {
				x.b.Error(err)
			}
			took = append(took, time.Since(s.due))
		}
	})
	began, used := time.Now(), processorTime()
	for due, running := began, true; running; due = due.Add(retireBenchPause) {
		pass(time.Until(due))
		window <- sent{x.send(x.requests[rand.IntN(len(x.requests))]), due}
		select {
		case <-stop:
			running = false
		default:
		}
	}
	close(window)
	acknowledged.Wait()
	slices.Sort(took)
	for _, at := range []struct {
		name string
		at   int
	}{{"p50", len(took) / 2}, {"p90", len(took) * 90 / 100}, {"p99", len(took) * 99 / 100}, {"longest", len(took) - 1}} {
		x.b.ReportMetric(float64(took[at.at].Microseconds())/1000, phase+"-"+at.name+"-ms")
	}
	x.b.ReportMetric(time.Since(began).Seconds(), phase+"-s")
	x.b.ReportMetric((processorTime() - used).Seconds(), phase+"-cpu-s")
}
