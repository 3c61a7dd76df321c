package replication

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"hash/crc32"
	"reflect"
	"slices"
	"strings"
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

// carrying is a record with pieces, one of which does not fill its last line.
var carrying = record{
	kind: kindGroup, generation: 3, position: 128, sequence: 17, synced: 15, extents: sample.extents,
	pieces: []Piece{
		{Extent: 0, Segment: [16]byte{0xaa, 1}, Position: 8192 - 70, Bytes: []byte(strings.Repeat("0123456789", 7))},
		{Extent: 1, Segment: [16]byte{0xbb, 2}, Position: 0, Bytes: []byte(strings.Repeat("x", 64))},
	},
}

// TestRecordGolden pins the bytes of a record; `go test -rewrite` writes them anew, which needs a
// new version of the format.
func TestRecordGolden(t *testing.T) {
	datadriven.RunTest(t, "testdata/record", func(t *testing.T, d *datadriven.TestData) string {
		switch d.Cmd {
		case "group":
			return hex.Dump(appendRecord(nil, &sample))
		case "carrying":
			return hex.Dump(appendRecord(nil, &carrying))
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

// TestReadVersion1 reads the records that the version before wrote: without pieces, and with a length
// that leaves the padding out.
func TestReadVersion1(t *testing.T) {
	datadriven.RunTest(t, "testdata/record-version-1", func(t *testing.T, d *datadriven.TestData) string {
		content := make([]byte, sample.position)
		for _, line := range strings.Split(strings.TrimSpace(d.Input), "\n") {
			line, err := hex.DecodeString(strings.ReplaceAll(line[10:58], " ", ""))
			if err != nil {
				t.Fatal(err)
			}
			content = append(content, line...)
		}
		r, err := readRecord(content, sample.position)
		if err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(*r, sample) {
			t.Errorf("got %+v, want %+v", *r, sample)
		}
		if want := int64(len(content)) - sample.position; r.size() != want {
			t.Errorf("its size is %d, want %d", r.size(), want)
		}
		return "read\n"
	})
}

func TestRecordRoundTrip(t *testing.T) {
	for _, r := range []record{sample, carrying} {
		back, err := readRecord(placed(r), r.position)
		if err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(*back, r) {
			t.Errorf("got %+v, want %+v", *back, r)
		}
	}
}

// TestRecordDamage cuts the record at every byte and flips every bit: all of it must be noticed.
func TestRecordDamage(t *testing.T) {
	for _, r := range []record{sample, carrying} {
		whole := placed(r)
		for n := range whole {
			if _, err := readRecord(whole[:n], r.position); !errors.Is(err, errRecord) {
				t.Fatalf("%d of %d bytes: error %v, want %v", n, len(whole), err, errRecord)
			}
		}
		for bit := int(r.position) * 8; bit < len(whole)*8; bit++ {
			flipped := slices.Clone(whole)
			flipped[bit/8] ^= 1 << (bit % 8)
			if _, err := readRecord(flipped, r.position); !errors.Is(err, errRecord) {
				t.Fatalf("bit %d flipped: error %v, want %v", bit, err, errRecord)
			}
		}
		moved := append(make([]byte, alignment), whole...)
		if _, err := readRecord(moved, r.position+alignment); !errors.Is(err, errRecord) {
			t.Errorf("moved: error %v, want %v", err, errRecord)
		}
	}
}

// TestPiecesThatDoNotFit reads records whose checksum is right and whose pieces make no sense.
func TestPiecesThatDoNotFit(t *testing.T) {
	for name, damage := range map[string]func(b []byte){
		"an extent that is not there":      func(b []byte) { b[0] = 2 },
		"more bytes than the record has":   func(b []byte) { b[5] = 1 },
		"fewer bytes than the record has":  func(b []byte) { b[4] = 1 },
		"a position behind the extent":     func(b []byte) { b[8]++ },
		"a position before the file":       func(b []byte) { b[15] = 0x80 },
		"a position that cannot be summed": func(b []byte) { b[15] = 0x7f },
	} {
		src := placed(carrying)
		b := src[carrying.position:]
		damage(b[headerBytes+2*extentBytes:])
		binary.LittleEndian.PutUint32(b[4:], crc32.Checksum(b[8:], castagnoli))
		if r, err := readRecord(src, carrying.position); !errors.Is(err, errRecord) {
			t.Errorf("%s: read as %+v, error %v; want %v", name, r, err, errRecord)
		}
	}
}

// TestCanCarry asks about bytes that hold what begins like a record, at places where a reader looks
// for one and at others.
func TestCanCarry(t *testing.T) {
	for at := range 3 * alignment {
		piece := make([]byte, 4*alignment)
		copy(piece[at:], recordMagic)
		if got, want := CanCarry(piece), at%alignment != 0; got != want {
			t.Errorf("the magic at byte %d: %t, want %t", at, got, want)
		}
	}
	if short := []byte("HRC"); !CanCarry(short) || !CanCarry(nil) {
		t.Error("bytes too short for a record are refused")
	}
}

// FuzzReadRecord feeds arbitrary bytes: no panic, and what is accepted encodes back to itself.
func FuzzReadRecord(f *testing.F) {
	f.Add(placed(sample), sample.position)
	f.Add(placed(carrying), carrying.position)
	f.Add([]byte(recordMagic), int64(0))
	f.Fuzz(func(t *testing.T, src []byte, position int64) {
		r, err := readRecord(src, position)
		if err != nil || binary.LittleEndian.Uint16(src[position+12:]) != recordVersion {
			return
		}
		back := appendRecord(nil, r)
		got := slices.Clone(src[position : position+int64(len(back))])
		clearUnread(got, r)
		clearUnread(back, r)
		if string(back) != string(got) {
			t.Errorf("% x encodes back to % x", got, back)
		}
	})
}

// clearUnread clears what a reader does not look at: the checksum, which covers the rest, and what is
// zero in every record that is written.
func clearUnread(b []byte, r *record) {
	clear(b[4:8])
	clear(b[56:64])
	at := piecesAt(int64(len(r.extents)), int64(len(r.pieces)))
	clear(b[headerBytes+extentBytes*len(r.extents)+pieceBytes*len(r.pieces) : at])
	for _, p := range r.pieces {
		length := int64(len(p.Bytes))
		clear(b[at+length : at+padded(length)])
		at += padded(length)
	}
}

// FuzzRecover feeds arbitrary contents of the two files: no panic, and sequences ascend.
func FuzzRecover(f *testing.F) {
	checkpoint := record{kind: kindCheckpoint, generation: 1, sequence: 1, extents: sample.extents}
	next := record{kind: kindGroup, generation: 1, position: checkpoint.size(), sequence: 2, extents: sample.extents}
	f.Add(appendRecord(appendRecord(nil, &checkpoint), &next), []byte{})
	carried := carrying
	carried.generation, carried.position, carried.sequence = 1, checkpoint.size(), 2
	f.Add([]byte{}, appendRecord(appendRecord(nil, &checkpoint), &carried))
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
		for _, g := range recovered.Carried {
			for _, p := range g.Pieces {
				if p.Extent >= len(g.Extents) {
					t.Fatalf("group %d carries %+v of %d extents", g.Sequence, p, len(g.Extents))
				}
			}
		}
	})
}
