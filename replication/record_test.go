package replication

import (
	"encoding/hex"
	"errors"
	"slices"
	"testing"

	"github.com/cockroachdb/datadriven"
)

var sample = record{
	kind: kindGroup, generation: 3, position: 128, sequence: 17, synced: 15,
	extents: []Extent{
		{Table: [16]byte{1, 2, 3}, Bucket: 5, Base: 1000, End: 8192, Chain: 0xdeadbeef, Next: 1200},
		{Table: [16]byte{9}, Bucket: 0, Base: 0, End: 64, Chain: 7, Next: 1},
	},
}

// TestRecordGolden pins the bytes of a record; `go test -rewrite` writes them anew, which needs a
// new version of the format.
func TestRecordGolden(t *testing.T) {
	datadriven.RunTest(t, "testdata/record", func(t *testing.T, d *datadriven.TestData) string {
		switch d.Cmd {
		case "group":
			return hex.Dump(appendRecord(nil, &sample))
		case "mark":
			return hex.Dump(appendRecord(nil, &record{kind: kindMark, generation: 1, position: 64, sequence: 2, synced: 1}))
		}
		t.Fatalf("%s: unknown command %q", d.Pos, d.Cmd)
		return ""
	})
}

func placed(r record) []byte {
	return append(make([]byte, r.position), appendRecord(nil, &r)...)
}

func TestRecordRoundTrip(t *testing.T) {
	back, err := readRecord(placed(sample), sample.position)
	if err != nil {
		t.Fatal(err)
	}
	if back.kind != sample.kind || back.generation != sample.generation || back.sequence != sample.sequence ||
		back.synced != sample.synced || !slices.Equal(back.extents, sample.extents) {
		t.Errorf("got %+v, want %+v", back, sample)
	}
}

// TestRecordDamage cuts the record at every byte and flips every bit: all of it must be noticed, but
// for the padding.
func TestRecordDamage(t *testing.T) {
	whole := placed(sample)
	end := int(sample.position) + headerBytes + extentBytes*len(sample.extents)
	for n := range end {
		if _, err := readRecord(whole[:n], sample.position); !errors.Is(err, errRecord) {
			t.Fatalf("%d of %d bytes: error %v, want %v", n, end, err, errRecord)
		}
	}
	for bit := int(sample.position) * 8; bit < end*8; bit++ {
		flipped := slices.Clone(whole)
		flipped[bit/8] ^= 1 << (bit % 8)
		if _, err := readRecord(flipped, sample.position); !errors.Is(err, errRecord) {
			t.Fatalf("bit %d flipped: error %v, want %v", bit, err, errRecord)
		}
	}
	moved := append(make([]byte, alignment), whole...)
	if _, err := readRecord(moved, sample.position+alignment); !errors.Is(err, errRecord) {
		t.Errorf("moved: error %v, want %v", err, errRecord)
	}
}

// FuzzReadRecord feeds arbitrary bytes: no panic, and what is accepted encodes back to itself.
func FuzzReadRecord(f *testing.F) {
	f.Add(placed(sample), sample.position)
	f.Add([]byte(recordMagic), int64(0))
	f.Fuzz(func(t *testing.T, src []byte, position int64) {
		r, err := readRecord(src, position)
		if err != nil {
			return
		}
		length := headerBytes + extentBytes*len(r.extents)
		back := appendRecord(nil, r)[:length]
		// Bytes 52 to 63 are zero in what is written; a reader does not look at them.
		clear(back[52:64])
		got := slices.Clone(src[position : position+int64(length)])
		clear(got[52:64])
		clear(got[4:8])
		clear(back[4:8])
		if string(back) != string(got) {
			t.Errorf("% x encodes back to % x", got, back)
		}
	})
}

// FuzzRecover feeds arbitrary contents of the two files: no panic, and sequences ascend.
func FuzzRecover(f *testing.F) {
	checkpoint := record{kind: kindCheckpoint, generation: 1, sequence: 1, extents: sample.extents}
	next := record{kind: kindGroup, generation: 1, position: checkpoint.size(), sequence: 2, extents: sample.extents}
	f.Add(appendRecord(appendRecord(nil, &checkpoint), &next), []byte{})
	f.Add([]byte{}, make([]byte, 4096))
	f.Fuzz(func(t *testing.T, a, b []byte) {
		recovered, _, _ := recoverContents([2][]byte{a, b})
		last := int64(0)
		for _, g := range recovered.Unsynced {
			if g.Sequence <= last {
				t.Fatalf("sequence %d behind %d", g.Sequence, last)
			}
			last = g.Sequence
		}
	})
}
