package replication

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"

	"github.com/headrace/headrace/internal/vfs"
)

// extentAt is the extent that the n-th append of a test records.
func extentAt(n int64) Extent {
	return Extent{Table: [16]byte{1}, Bucket: int32(n % 3), End: 100 * n, Chain: uint32(n), Next: n}
}

// pieceAt is what the n-th append of a test carries: every third one nothing, the others up to 300
// bytes that tell which append they are of.
func pieceAt(n int64) []Piece {
	if n%3 == 0 {
		return nil
	}
	length := min(100*n, 3*n)
	return []Piece{{
		Extent: 0, Segment: [16]byte{byte(n)}, Position: 100*n - length, Bytes: bytes.Repeat([]byte{byte(n)}, int(length)),
	}}
}

// ends tells for each bucket which append recorded it last.
func ends(extents []Extent) map[int32]int64 {
	last := map[int32]int64{}
	for _, x := range extents {
		last[x.Bucket] = x.Next
	}
	return last
}

// all gives what is recorded in total: the durable extents and then the unsynced groups.
func (v *Recovered) all() []Extent {
	extents := append([]Extent(nil), v.Durable...)
	for _, g := range v.Unsynced {
		extents = append(extents, g.Extents...)
	}
	return extents
}

// workload appends groups, syncs each second one, and begins a new file when it is full. It tells
// how many appends were begun and how many of them were synced.
func workload(files vfs.FS, groups int64) (begun, durable int64) {
	c, recovered, err := OpenCommitFile(Options{FS: files, BytesMax: 4 << 10})
	if err != nil {
		return 0, 0
	}
	all := recovered.all()
	if err := c.Checkpoint(all); err != nil {
		return 0, 0
	}
	for n := int64(1); n <= groups; n++ {
		if c.Full(1, pieceAt(n)) {
			if c.File().Sync() != nil {
				return begun, durable
			}
			durable = begun
			if c.Checkpoint(newest(all)) != nil {
				return begun, durable
			}
		}
		begun = n
		if _, err := c.Append([]Extent{extentAt(n)}, pieceAt(n), durable); err != nil {
			return begun, durable
		}
		all = append(all, extentAt(n))
		if n%2 == 0 {
			if c.File().Sync() != nil {
				return begun, durable
			}
			durable = n
		}
	}
	return begun, durable
}

func newest(extents []Extent) []Extent {
	last := map[int32]Extent{}
	for _, x := range extents {
		last[x.Bucket] = x
	}
	var all []Extent
	for b := range int32(3) {
		if x, ok := last[b]; ok {
			all = append(all, x)
		}
	}
	return all
}

// TestCrashAtEveryCall fails each call to the disk in turn and cuts the power in every way: what was
// synced is recovered, nothing that was not appended is, and the groups are a prefix.
func TestCrashAtEveryCall(t *testing.T) {
	const groups = 120 // several files long
	for failAt := int64(0); ; failAt++ {
		mem := vfs.NewMem(vfs.MemOptions{})
		fault := vfs.NewFault(mem, vfs.FaultOptions{FailAt: failAt})
		begun, durable := workload(fault, groups)
		for mode := vfs.KeepNone; mode <= vfs.KeepRandom; mode++ {
			for seed := range uint64(3) {
				crashed := mem.Crash(vfs.Cut{Mode: mode, Rand: rand.New(rand.NewPCG(seed, uint64(failAt)))})
				_, recovered, err := OpenCommitFile(Options{FS: crashed, BytesMax: 4 << 10})
				if err != nil {
					t.Fatal(err)
				}
				name := fmt.Sprintf("call %d failed, mode %d, seed %d", failAt, mode, seed)
				checkPrefix(t, name, recovered, begun, durable)
				checkCarried(t, name, recovered)
			}
		}
		if fault.Calls() <= failAt {
			return
		}
	}
}

// checkPrefix checks that the recovered appends are 1..n for one n of durable..begun.
func checkPrefix(t *testing.T, name string, recovered *Recovered, begun, durable int64) {
	t.Helper()
	if recovered.Lost {
		t.Fatalf("%s: durable records are said to be lost: %v", name, recovered.Findings)
	}
	got := ends(recovered.all())
	last := int64(0)
	for _, n := range got {
		last = max(last, n)
	}
	if last < durable || last > begun {
		t.Fatalf("%s: the last append is %d, want %d..%d", name, last, durable, begun)
	}
	for b := range int32(3) {
		want := last - (last-int64(b)+3)%3
		if want > 0 && got[b] != want {
			t.Fatalf("%s: bucket %d is at append %d, want %d", name, b, got[b], want)
		}
	}
}

// checkCarried checks that each group since the checkpoint carries what was appended with it.
func checkCarried(t *testing.T, name string, recovered *Recovered) {
	t.Helper()
	carried := map[int64][]Piece{}
	for _, g := range recovered.Carried {
		carried[g.Extents[0].Next] = g.Pieces
		if want := pieceAt(g.Extents[0].Next); !reflect.DeepEqual(g.Pieces, want) {
			t.Fatalf("%s: append %d carries %+v, want %+v", name, g.Extents[0].Next, g.Pieces, want)
		}
	}
	for _, g := range recovered.Unsynced {
		if n := g.Extents[0].Next; len(carried[n]) != len(pieceAt(n)) {
			t.Fatalf("%s: append %d carries %d pieces, want %d", name, n, len(carried[n]), len(pieceAt(n)))
		}
	}
}

// TestCarriedBehindDamage damages a record in the middle, and then the checkpoint: what the others
// carry is still told, and nothing of the file before.
func TestCarriedBehindDamage(t *testing.T) {
	mem := vfs.NewMem(vfs.MemOptions{})
	c, _, err := OpenCommitFile(Options{FS: mem, BytesMax: 64 << 10})
	if err != nil {
		t.Fatal(err)
	}
	var third int64 // where the third record of the newest file begins
	for file := range int64(2) {
		if err := c.Checkpoint(nil); err != nil {
			t.Fatal(err)
		}
		for n := 10*file + 1; n <= 10*file+5; n++ {
			if n == 13 {
				third = c.next.position
			}
			if _, err := c.Append([]Extent{extentAt(n)}, pieceAt(n), n-1); err != nil {
				t.Fatal(err)
			}
			if n == 11 {
				if err := c.Mark(n); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	numbers := func(groups []Group) (numbers []int64) {
		for _, g := range groups {
			numbers = append(numbers, g.Extents[0].Next)
		}
		return numbers
	}
	wantCarried := func(want ...int64) {
		t.Helper()
		_, recovered, err := OpenCommitFile(Options{FS: mem})
		if err != nil {
			t.Fatal(err)
		}
		if got := numbers(recovered.Carried); !slices.Equal(got, want) {
			t.Errorf("appends %d are carried, want %d (%v)", got, want, recovered.Findings)
		}
		if got := numbers(recovered.Settled); !slices.Equal(got, []int64{11}) {
			t.Errorf("appends %d are settled, want 11", got)
		}
	}
	wantCarried(13, 14)
	if err := c.File().WriteAt([][]byte{{0xff}}, third+70); err != nil {
		t.Fatal(err)
	}
	wantCarried(14)
	if err := c.File().WriteAt([][]byte{{0xff}}, 9); err != nil {
		t.Fatal(err)
	}
	wantCarried(14)
}

// TestRotIsToldFromATornTail damages a record in the middle of what was synced, and the last one.
func TestRotIsToldFromATornTail(t *testing.T) {
	build := func(mark bool) *vfs.Mem {
		mem := vfs.NewMem(vfs.MemOptions{})
		c, _, err := OpenCommitFile(Options{FS: mem})
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Checkpoint(nil); err != nil {
			t.Fatal(err)
		}
		for n := int64(1); n <= 5; n++ {
			sequence, err := c.Append([]Extent{extentAt(n)}, nil, 0)
			if err != nil {
				t.Fatal(err)
			}
			if mark && n == 5 {
				if err := c.Mark(sequence); err != nil {
					t.Fatal(err)
				}
			}
		}
		if err := c.File().Sync(); err != nil {
			t.Fatal(err)
		}
		return mem
	}
	for _, tc := range []struct {
		name   string
		mark   bool
		record int64 // counted from 0, the checkpoint
		lost   bool
		groups int
	}{
		{"the last record, nobody says that it was durable", false, 5, false, 4},
		{"the last record, a mark says that it was durable", true, 5, true, 0},
		{"a record in the middle, a mark says that it was durable", true, 2, true, 0},
		{"a record in the middle, nobody says that it was durable", false, 2, false, 1},
	} {
		t.Run(tc.name, func(t *testing.T) {
			mem := build(tc.mark)
			file, err := mem.Open("commit/commit-1")
			if err != nil {
				t.Fatal(err)
			}
			at := int64(headerBytes)
			for range tc.record - 1 {
				at += padded(headerBytes + extentBytes)
			}
			if err := file.WriteAt([][]byte{{0xff}}, at+40); err != nil {
				t.Fatal(err)
			}
			_, recovered, err := OpenCommitFile(Options{FS: mem})
			if err != nil {
				t.Fatal(err)
			}
			if recovered.Lost != tc.lost {
				t.Errorf("lost is %t, want %t (%v)", recovered.Lost, tc.lost, recovered.Findings)
			}
			if !tc.lost && len(recovered.Unsynced) != tc.groups {
				t.Errorf("%d groups, want %d", len(recovered.Unsynced), tc.groups)
			}
		})
	}
}

// TestDamagedNewestCheckpoint damages the checkpoint of the file in use: the older file must not be
// taken for the truth.
func TestDamagedNewestCheckpoint(t *testing.T) {
	mem := vfs.NewMem(vfs.MemOptions{})
	c, _, err := OpenCommitFile(Options{FS: mem})
	if err != nil {
		t.Fatal(err)
	}
	for n := int64(1); n <= 3; n++ {
		if err := c.Checkpoint([]Extent{extentAt(n)}); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Append([]Extent{extentAt(n + 10)}, nil, 0); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.File().WriteAt([][]byte{{0xff}}, 70); err != nil {
		t.Fatal(err)
	}
	_, recovered, err := OpenCommitFile(Options{FS: mem})
	if err != nil {
		t.Fatal(err)
	}
	if !recovered.Lost || len(recovered.Findings) == 0 {
		t.Errorf("lost is %t with findings %v, want it to be noticed", recovered.Lost, recovered.Findings)
	}
}

// TestFullDisk opens a commit file again where there is no room for another byte: after its first
// checkpoint it needs none.
func TestFullDisk(t *testing.T) {
	mem := vfs.NewMem(vfs.MemOptions{})
	extents := []Extent{extentAt(1)}
	checkpoint := func(want error) {
		t.Helper()
		c, recovered, err := OpenCommitFile(Options{FS: mem, BytesMax: 4 << 10})
		if err != nil || recovered.Lost {
			t.Fatalf("%+v, %v", recovered, err)
		}
		if err := c.Checkpoint(extents); !errors.Is(err, want) {
			t.Errorf("a checkpoint of %d extents: got %v, want %v", len(extents), err, want)
		}
		if want == nil {
			if _, err := c.Append(extents[:1], nil, 0); err != nil {
				t.Error(err)
			}
		}
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	}
	checkpoint(nil)
	mem.SetCapacity(1)
	checkpoint(nil)
	checkpoint(nil)
	extents = make([]Extent, 60) // fits into the file, but not with the usual room behind
	checkpoint(nil)
	extents = make([]Extent, 1000)
	checkpoint(vfs.ErrDiskFull)
	mem.SetCapacity(0)
	checkpoint(nil)
}

func TestOptions(t *testing.T) {
	_, _, err := OpenCommitFile(Options{BytesMax: 1})
	if err == nil {
		t.Fatal("no error, want one that names both faults")
	}
	t.Log(err)
}

func BenchmarkAppend(b *testing.B) {
	mem := vfs.NewMem(vfs.MemOptions{})
	c, _, err := OpenCommitFile(Options{FS: mem})
	if err != nil {
		b.Fatal(err)
	}
	if err := c.Checkpoint(nil); err != nil {
		b.Fatal(err)
	}
	extents := []Extent{extentAt(100)}
	pieces := []Piece{{Position: 10000 - 5000, Bytes: make([]byte, 5000)}}
	b.SetBytes(recordSize(1, pieces))
	for b.Loop() {
		if c.Full(1, pieces) {
			if err := c.Checkpoint(extents); err != nil {
				b.Fatal(err)
			}
		}
		if _, err := c.Append(extents, pieces, 0); err != nil {
			b.Fatal(err)
		}
	}
}
