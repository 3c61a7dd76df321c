package streams

import (
	"bytes"
	"errors"
	"io/fs"
	"slices"
	"testing"

	"github.com/headrace/headrace/internal/vfs"
)

// keepTails writes a bucket in several groups and gives its extent and what every Write but the first
// has put into the segment.
func keepTails(t *testing.T, files vfs.FS) (Extent, []Piece) {
	t.Helper()
	b := mustOpen(t, nothing(), testOptions(files))
	var at Extent
	var pieces []Piece
	for n := range int64(5) {
		appendRows(t, b, 10, n+1)
		written, err := b.Write()
		if err != nil {
			t.Fatal(err)
		}
		if len(written.Tails) != 1 || len(written.Files) != 1 || len(written.Extents) != 1 {
			t.Fatalf("%d tails, %d files, %d extents; want one of each", len(written.Tails), len(written.Files), len(written.Extents))
		}
		if err := syncWritten(files, written); err != nil {
			t.Fatal(err)
		}
		tail := written.Tails[0]
		if tail.From != at.End {
			t.Fatalf("the tail begins at byte %d, want %d", tail.From, at.End)
		}
		at = written.Extents[0]
		part := make([]byte, at.End-tail.From)
		if _, err := written.Files[0].ReadAt(part, tail.From); err != nil {
			t.Fatal(err)
		}
		if n > 0 {
			pieces = append(pieces, Piece{SegmentID: tail.SegmentID, Position: tail.From, Bytes: part})
		}
	}
	return at, pieces
}

// TestRestore damages a segment and brings it back from pieces; once more changes nothing.
func TestRestore(t *testing.T) {
	for _, tc := range []struct {
		what     string
		damage   func(content []byte, pieces []Piece) []byte
		restored int
		whole    bool
	}{
		{"nothing", func(content []byte, _ []Piece) []byte { return content }, 0, true},
		{"a flipped bit", func(content []byte, pieces []Piece) []byte {
			content[pieces[1].Position+70] ^= 4
			return content
		}, 1, true},
		{"the end is missing", func(content []byte, pieces []Piece) []byte {
			return content[:pieces[2].Position+100]
		}, 2, true},
		{"a length without bytes", func(content []byte, pieces []Piece) []byte {
			clear(content[pieces[0].Position:])
			return content
		}, 4, true},
		{"all but the schema and the first batch is missing", func(content []byte, pieces []Piece) []byte {
			return content[:pieces[0].Position]
		}, 4, true},
		{"there is more behind", func(content []byte, _ []Piece) []byte {
			return append(content, 1, 2, 3)
		}, 0, true},
		{"a batch that no piece holds", func(content []byte, pieces []Piece) []byte {
			content[pieces[0].Position-1] ^= 1
			return content[:pieces[0].Position]
		}, 4, false},
		{"the schema is damaged", func(content []byte, pieces []Piece) []byte {
			content[3] ^= 1
			return content[:pieces[0].Position]
		}, 0, false},
		{"there is no schema", func([]byte, []Piece) []byte { return nil }, 0, false},
	} {
		files := newFS(t)
		at, pieces := keepTails(t, files)
		path := at.Segment.Path()
		content := fileBytes(t, files, path)
		want := slices.Clone(content)
		damaged := slices.Clone(tc.damage(content, pieces))
		setFile(t, files, path, damaged)
		for round, restored := range []int{tc.restored, 0} {
			n, err := Restore(files, at.Segment, pieces)
			if err != nil || n != restored {
				t.Errorf("%s, round %d: %d pieces restored, %v; want %d", tc.what, round, n, err, restored)
			}
		}
		got := fileBytes(t, files, path)
		if tc.restored == 0 && !bytes.Equal(got, damaged) {
			t.Errorf("%s: the file was written to", tc.what)
		}
		if tc.whole && !bytes.Equal(got[:at.End], want) {
			t.Errorf("%s: the segment is not what it was", tc.what)
		}
		err := VerifyExtent(testOptions(files), Extent{Segment: at.Segment}, at)
		if (err == nil) != tc.whole {
			t.Errorf("%s: the segment verifies with %v, want whole to be %t", tc.what, err, tc.whole)
		}
	}
}

// TestRestoreLeavesOthersAlone restores pieces whose segment is not there, or is another one by now.
func TestRestoreLeavesOthersAlone(t *testing.T) {
	files := newFS(t)
	at, pieces := keepTails(t, files)
	before := fileBytes(t, files, at.Segment.Path())
	for i := range pieces {
		pieces[i].SegmentID[0] ^= 1
		pieces[i].Bytes = bytes.Repeat([]byte{7}, len(pieces[i].Bytes))
	}
	if n, err := Restore(files, at.Segment, pieces); n != 0 || err != nil {
		t.Errorf("another UUID: %d pieces restored, %v", n, err)
	}
	if !bytes.Equal(before, fileBytes(t, files, at.Segment.Path())) {
		t.Error("another UUID: the file was written to")
	}
	missing := at.Segment
	missing.Base = 1000
	if n, err := Restore(files, missing, pieces); n != 0 || err != nil {
		t.Errorf("no file: %d pieces restored, %v", n, err)
	}
	if _, err := files.Stat(missing.Path()); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no file: there is one now, %v", err)
	}
}

// TestUnreadDisk fails each read of Restore and of VerifyExtent: neither takes it for missing bytes.
func TestUnreadDisk(t *testing.T) {
	files := newFS(t)
	at, pieces := keepTails(t, files)
	calls := map[string]func(fs vfs.FS) error{
		"restore": func(fs vfs.FS) error { _, err := Restore(fs, at.Segment, pieces); return err },
		"verify":  func(fs vfs.FS) error { return VerifyExtent(testOptions(fs), Extent{Segment: at.Segment}, at) },
	}
	for what, call := range calls {
		for failAt := int64(0); ; failAt++ {
			fault := vfs.NewFault(files, vfs.FaultOptions{FailAt: failAt})
			err := call(fault)
			if fault.Calls() <= failAt {
				break
			}
			if !errors.Is(err, vfs.ErrInjected) || what == "verify" && !errors.Is(err, ErrUnread) {
				t.Errorf("%s: call %d failed: error %v", what, failAt, err)
			}
		}
	}
}
