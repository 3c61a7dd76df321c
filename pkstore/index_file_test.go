package pkstore

import (
	"bytes"
	"encoding/binary"
	"flag"
	"hash/crc32"
	"maps"
	"math/rand/v2"
	"os"
	"strconv"
	"testing"

	"github.com/headrace/headrace/internal/model"
)

// rewriting says that golden files are written anew: the flag -rewrite of scripts.
func rewriting() bool { return flag.Lookup("rewrite").Value.String() == "true" }

const indexGolden = "testdata/index_v2.bin"

// filled is a bucket with some keys in several batches, deletions included, and its log.
func filled(t failer, keys int) (*Bucket, []Stored) {
	t.Helper()
	b := newTestBucket(t, Options{})
	var log []Stored
	apply := func(c Change, every int64) {
		batches, err := b.Apply(b.End(), c)
		if err != nil {
			t.Fatal(err)
		}
		stored := kept(t, b.End(), batches, every)
		if err := b.Publish(stored[len(stored)-1].end(), stored); err != nil {
			t.Fatal(err)
		}
		log = append(log, stored...)
	}
	var rows []testRow
	for i := range keys {
		rows = append(rows, testRow{strconv.Itoa(i), "n", "1", strconv.Itoa(i), "text"})
	}
	apply(changeOf(t, allOf, rows), 1000)
	for i := range rows {
		rows[i][numberColumn] = null
	}
	apply(changeOf(t, allOf, rows[:keys/3]), 7)
	gone := changeOf(t, testKey, rows[keys/4:keys/2])
	gone.Delete = true
	apply(gone, 100)
	return b, log
}

func loaded(t failer, file []byte, log []Stored) *Bucket {
	t.Helper()
	fresh := newTestBucket(t, Options{})
	start, end, err := fresh.LoadIndex(file)
	if err != nil {
		t.Fatal(err)
	}
	if start != 0 || end != log[len(log)-1].end() {
		t.Fatalf("the file stands for %d..%d, want the whole log", start, end)
	}
	if err := fresh.Attach(log); err != nil {
		t.Fatal(err)
	}
	return fresh
}

func TestIndexFile(t *testing.T) {
	for _, keys := range []int{4, 100, 30_000} {
		b, log := filled(t, keys)
		file := b.AppendIndex([]byte("before"))
		if string(file[:6]) != "before" {
			t.Fatal("what came before is gone")
		}
		file = file[6:]
		want := stateOf(t, b.Snapshot())
		fresh := loaded(t, file, log)
		checkShape(t, &fresh.index)
		if got := stateOf(t, fresh.Snapshot()); !maps.Equal(got, want) {
			t.Fatalf("%d keys: the state is another one after loading", keys)
		}
		if again := fresh.AppendIndex(nil); !bytes.Equal(again, file) {
			t.Fatalf("%d keys: what was loaded is written in another way", keys)
		}
		// The bucket goes on from there.
		c := changeOf(t, allOf, []testRow{{"0", "n", "1", "77", "new"}, {"-5", "n", null, null, null}})
		batches, err := fresh.Apply(fresh.End(), c)
		if err != nil {
			t.Fatal(err)
		}
		if kinds := logged(t, batches); len(kinds) != 3 {
			t.Fatalf("an update and an insertion give %v", kinds)
		}
	}
}

// The file is that of one moment, whatever is written while it is made.
func TestIndexFileAmongWrites(t *testing.T) {
	b, log := filled(t, 20_000)
	files := make(chan []byte)
	go func() { files <- b.AppendIndex(nil) }()
	var file []byte
	for i := 0; file == nil; i++ {
		batches, err := b.Apply(b.End(), changeOf(t, allOf, []testRow{{strconv.Itoa(i % 20_000), "n", "1", "1", "x"}}))
		if err != nil {
			t.Fatal(err)
		}
		stored := kept(t, b.End(), batches, 10)
		if err := b.Publish(stored[len(stored)-1].end(), stored); err != nil {
			t.Fatal(err)
		}
		log = append(log, stored...)
		select {
		case file = <-files:
		default:
		}
	}
	fresh := newTestBucket(t, Options{})
	_, end, err := fresh.LoadIndex(file)
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for n < len(log) && log[n].Base < end {
		n++
	}
	if err := fresh.Attach(log[:n]); err != nil {
		t.Fatal(err)
	}
	for _, s := range log[n:] {
		if err := fresh.Replay(s); err != nil {
			t.Fatal(err)
		}
	}
	want := stateOf(t, b.Snapshot())
	if got := stateOf(t, fresh.Snapshot()); !maps.Equal(got, want) {
		t.Fatal("the file and the log behind it give another state")
	}
}

func TestIndexFileGolden(t *testing.T) {
	b, log := filled(t, 12)
	file := b.AppendIndex(nil)
	if rewriting() {
		if err := os.WriteFile(indexGolden, file, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	golden, err := os.ReadFile(indexGolden)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(file, golden) {
		t.Error("the file is written in another way than version 2 was")
	}
	if got := stateOf(t, loaded(t, golden, log).Snapshot()); len(got) != 9 {
		t.Errorf("the golden file has %d rows, want 9", len(got))
	}
}

// resummed sets the checksum of a file that was changed.
func resummed(file []byte) []byte {
	clear(file[indexSumAt : indexSumAt+4])
	binary.LittleEndian.PutUint32(file[indexSumAt:], crc32.Checksum(file, castagnoli))
	return file
}

func TestIndexFileDamaged(t *testing.T) {
	b, log := filled(t, 100)
	file := b.AppendIndex(nil)
	refused := func(what string, src []byte) {
		t.Helper()
		fresh := newTestBucket(t, Options{})
		if _, _, err := fresh.LoadIndex(src); model.AsError(err).Reason != model.Corrupt {
			t.Errorf("%s: got %v", what, err)
		}
		if fresh.Stats().Keys != 0 || fresh.End() != 0 {
			t.Errorf("%s: the bucket is not new any more", what)
		}
	}
	for n := range len(file) {
		refused("a prefix", file[:n])
	}
	refused("a tail", append(bytes.Clone(file), 0))
	rnd := rand.New(rand.NewPCG(5, 5))
	for range 2000 {
		flipped := bytes.Clone(file)
		flipped[rnd.IntN(len(file))] ^= 1 << rnd.IntN(8)
		refused("a flipped bit", flipped)
	}
	// With a right checksum, what does not fit together is noticed all the same.
	for name, at := range map[string]int{
		"shards": 12, "end": 24, "keys": 32, "chunks": 40, "size": 48, "fingerprint": 56,
		"live rows": 72, "depth": 96, "slots": 100, "shard's keys": 104, "shard's used": 108,
		"chunk's number": len(file) - chunkBytes - 16, "chunk's count": len(file) - chunkBytes - 8, "a bit": len(file) - 1,
	} {
		changed := bytes.Clone(file)
		changed[at] ^= 1
		if name == "end" {
			changed[at+1], changed[at] = 0, 1
		}
		refused(name, resummed(changed))
	}
	fresh := newTestBucket(t, Options{})
	if err := fresh.Attach(log); err == nil {
		t.Error("a log was attached to no index")
	}
	if _, _, err := fresh.LoadIndex(file); err != nil {
		t.Fatal(err)
	}
	if err := fresh.Attach(log[:len(log)-1]); err == nil {
		t.Error("a log was attached that is too short")
	}
}

func TestIndexFileOfAnotherKey(t *testing.T) {
	b, _ := filled(t, 10)
	other, err := NewBucket(Options{Layout: logLayout(t), Key: []int{nameColumn, idColumn}})
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := other.LoadIndex(b.AppendIndex(nil)); model.AsError(err).Reason != model.Corrupt {
		t.Errorf("got %v", err)
	}
}

func FuzzLoadIndex(f *testing.F) {
	b, _ := filled(f, 40)
	f.Add(b.AppendIndex(nil), 0, byte(1))
	f.Add(b.AppendIndex(nil), 70, byte(200))
	f.Fuzz(func(t *testing.T, file []byte, at int, change byte) {
		if len(file) < indexHeadBytes {
			return
		}
		file = bytes.Clone(file)
		file[uint(at)%uint(len(file))] ^= change
		fresh := newTestBucket(t, Options{})
		if _, _, err := fresh.LoadIndex(resummed(file)); err != nil {
			return
		}
		// What is accepted is sound: keys can be added and looked for.
		checkShape(t, &fresh.index)
		for i := range int64(300) {
			fresh.index.update(hashOf(uint64(i)), noRow, i)
		}
		checkShape(t, &fresh.index)
		lookedUp(t, fresh, []testRow{{"1", "n"}, {"x1", "n"}}[:1], nil)
	})
}

func BenchmarkLoadIndex(b *testing.B) {
	x := newBench(b)
	file := x.bucket.AppendIndex(nil)
	b.SetBytes(int64(len(file)))
	for b.Loop() {
		fresh, err := NewBucket(x.bucket.current().options)
		if err != nil {
			b.Fatal(err)
		}
		if _, _, err := fresh.LoadIndex(file); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Milliseconds())/float64(b.N), "ms/1M")
}
