package engine

import (
	"github.com/headrace/headrace/internal/arrowipc"
	"github.com/headrace/headrace/internal/model"
	"github.com/headrace/headrace/internal/vfs"
	"github.com/headrace/headrace/streams"
)

// request is one thing that the committer puts into the sequence: a batch, the opening of a
// producer's epoch, a flush, or a change that has to happen between two groups.
type request struct {
	table *table
	// put is the stream that the batch came in; nil for what is no batch.
	put *Put
	// parts are the rows, by bucket; the committer takes the batches over.
	parts []part
	// routed is the routing that the parts were made by; nil where rows are not routed by a bucket key.
	routed *routing
	rows   int64
	bytes  int64 // held of the byte budget until the request is done
	// fault is why the partitions that the rows need cannot be made; nil if they can.
	fault error
	// sequence and hash are for exactly-once; nil for none.
	sequence *Sequence
	hash     uint64
	// epoch opens an epoch of a producer in place of rows.
	epoch *epochOpening
	// roll is the bucket that is to begin a new segment, in place of rows; nil for none.
	roll *bucket
	// level is what the acknowledgement waits for.
	level model.Durability
	// control runs in the committer between two groups: behind the requests before it, which have been
	// written by then, and before those behind it. Such a request has nothing else.
	control func()

	pending Pending
	// finished says that pending.done is closed.
	finished bool
}

// part is the rows of a request that go to one bucket.
type part struct {
	// bucket is −1 where the partition is not there yet: then it is the one at index in it.
	bucket int32
	index  int32
	// partition is where the rows belong, as it was when they were routed; nil in a table without partitions.
	partition *partition
	batch     *arrowipc.Batch
	// hashes are those of the rows' primary keys; nil in a log table.
	hashes []uint64
	// expected makes the part a deletion of rows that are still the newest of their keys: their offsets.
	expected []int64
}

// epochOpening asks for a new epoch of a producer, or only for its state.
type epochOpening struct {
	producer string
	bump     bool
	state    ProducerState // the answer
}

// Pending is a batch on its way. It is done when its rows have reached the level that the put asked
// for, or will not be stored.
type Pending struct {
	done chan struct{}
	ack  Ack
	err  error
}

// Done is closed when the batch is acknowledged or refused.
func (p *Pending) Done() <-chan struct{} { return p.done }

// Ack tells what became of the batch. It may be called once Done is closed.
func (p *Pending) Ack() (Ack, error) { return p.ack, p.err }

// group is what is written, synced and published together.
type group struct {
	requests []*request
	bytes    int64
	// time is the append time of the rows, in µs.
	time int64
	// touched are the buckets with new rows, in the order of their first row in the group.
	touched []*bucket
	// ends are the offsets behind the last row of each touched bucket, once the group is written.
	ends []int64
	// undo takes back what apply did outside the buckets, should the group not be written.
	undo []func()
	// written is what the buckets have written and has to be synced.
	written streams.Written
	// sequence is that of the commit record; 0 if the group has none. commits is the file with the
	// record, and carried says that what was written stands in it too.
	sequence int64
	commits  vfs.File
	carried  bool
	// sync says that a request waits for the disk.
	sync bool
	// settled is closed when everything up to this group is durable in its segments or has failed; nil:
	// nobody waits.
	settled chan struct{}
}

// touch notes that b has new rows in g.
func (g *group) touch(b *bucket) {
	if b.group != g {
		b.group = g
		g.touched = append(g.touched, b)
	}
}

// wrote notes what a bucket has written.
func (g *group) wrote(w streams.Written) {
	g.written.Extents = append(g.written.Extents, w.Extents...)
	g.written.Tails = append(g.written.Tails, w.Tails...)
	g.written.Files = append(g.written.Files, w.Files...)
	g.written.Dirs = append(g.written.Dirs, w.Dirs...)
	g.written.Sealed = append(g.written.Sealed, w.Sealed...)
}
