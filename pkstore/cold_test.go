package pkstore

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"iter"
	"log"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/dgraph-io/badger/v4/y"
	"pgregory.net/rapid"

	"github.com/headrace/headrace/internal/model"
	"github.com/headrace/headrace/internal/vfs"
)

func openCold(t testing.TB, o ColdOptions) *Cold {
	t.Helper()
	o.MemoryBytes = max(o.MemoryBytes, ColdMemoryBytesMin)
	c, err := OpenCold(o)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func closeCold(t testing.TB, c *Cold) {
	t.Helper()
	if err := c.Close(); err != nil {
		t.Errorf("closing: %v", err)
	}
}

// coldRows gives rows in the order of their keys; an empty value is a deletion.
func coldRows(rows map[string]string) iter.Seq2[ColdRow, error] {
	return func(yield func(ColdRow, error) bool) {
		for _, key := range slices.Sorted(maps.Keys(rows)) {
			row := ColdRow{Key: []byte(key), Value: []byte(rows[key]), Deleted: rows[key] == ""}
			if !yield(row, nil) {
				return
			}
		}
	}
}

func retire(t testing.TB, c *Cold, bucket uint32, commit uint64, rows map[string]string) {
	t.Helper()
	move := ColdRetire{Bucket: ColdBucket{Bucket: bucket}, Commit: commit, Boundary: int64(commit) * 10}
	if err := c.Retire(t.Context(), move, coldRows(rows)); err != nil {
		t.Fatal(err)
	}
}

func pin(t testing.TB, c *Cold, bucket uint32) *ColdSnapshot {
	t.Helper()
	s, err := c.Snapshot(ColdBucket{Bucket: bucket})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// content reads a snapshot by iteration, and checks that the other ways to read it agree.
func content(t testing.TB, s *ColdSnapshot) map[string]string {
	t.Helper()
	rows := map[string]string{}
	var keys [][]byte
	for row, err := range s.Rows(nil, nil) {
		if err != nil {
			t.Fatal(err)
		}
		if n := len(keys); n > 0 && bytes.Compare(keys[n-1], row.Key) >= 0 {
			t.Fatalf("key %q comes behind %q", row.Key, keys[n-1])
		}
		keys = append(keys, bytes.Clone(row.Key))
		rows[string(row.Key)] = string(row.Value)
	}
	if count, err := s.Count(); err != nil || count != int64(len(rows)) {
		t.Fatalf("it counts %d rows (%v), want %d", count, err, len(rows))
	}
	slices.Reverse(keys)
	found := 0
	err := s.Get(append(keys, []byte("no such key")), func(i int, value []byte) error {
		found++
		if rows[string(keys[i])] != string(value) {
			return fmt.Errorf("key %q gives %q, want %q", keys[i], value, rows[string(keys[i])])
		}
		return nil
	})
	if err != nil || found != len(rows) {
		t.Fatalf("%d of %d keys were found (%v)", found, len(rows), err)
	}
	return rows
}

func wantContent(t testing.TB, s *ColdSnapshot, want map[string]string) {
	t.Helper()
	if got := content(t, s); !maps.Equal(got, want) {
		t.Fatalf("got %v, want %v", got, want)
	}
}

func TestColdKeepsRowsOverReopening(t *testing.T) {
	o := ColdOptions{Dir: t.TempDir()}
	c := openCold(t, o)
	retire(t, c, 1, 3, map[string]string{"a": "1", "b": "2"})
	retire(t, c, 2, 4, map[string]string{"a": "other bucket"})
	retire(t, c, 1, 7, map[string]string{"b": "", "c": "3"})
	for range 2 {
		if got, want := c.Boundary(ColdBucket{Bucket: 1}), int64(70); got != want {
			t.Errorf("the boundary is %d, want %d", got, want)
		}
		one, two, none := pin(t, c, 1), pin(t, c, 2), pin(t, c, 3)
		wantContent(t, one, map[string]string{"a": "1", "c": "3"})
		wantContent(t, two, map[string]string{"a": "other bucket"})
		wantContent(t, none, map[string]string{})
		for _, s := range []*ColdSnapshot{one, two, none} {
			s.Release()
		}
		closeCold(t, c)
		c = openCold(t, o)
	}
	closeCold(t, c)
	if err := c.Retire(t.Context(), ColdRetire{Commit: 9}, coldRows(nil)); !errors.Is(err, ErrColdClosed) {
		t.Errorf("a closed store says %v", err)
	}
}

func TestColdReadsPrefixes(t *testing.T) {
	c := openCold(t, ColdOptions{Dir: t.TempDir()})
	defer closeCold(t, c)
	retire(t, c, 1, 1, map[string]string{"a": "1", "ab": "2", "abc": "3", "b": "4"})
	s := pin(t, c, 1)
	defer s.Release()
	var keys []string
	for key, err := range s.Keys([]byte("ab")) {
		if err != nil {
			t.Fatal(err)
		}
		keys = append(keys, string(key))
	}
	if got := strings.Join(keys, " "); got != "ab abc" {
		t.Errorf("prefix ab gives %q", got)
	}
	for range s.Rows(nil, nil) {
		break // leaves nothing open behind it, or Close would hang
	}
}

func TestColdIgnoresRepetitions(t *testing.T) {
	c := openCold(t, ColdOptions{Dir: t.TempDir()})
	defer closeCold(t, c)
	retire(t, c, 1, 5, map[string]string{"a": "new"})
	retire(t, c, 1, 5, map[string]string{"a": "again"})
	retire(t, c, 1, 4, map[string]string{"a": "old"})
	s := pin(t, c, 1)
	defer s.Release()
	wantContent(t, s, map[string]string{"a": "new"})
	bad := ColdRetire{Bucket: ColdBucket{Bucket: 1}, Commit: 6, Boundary: 49}
	if err := c.Retire(t.Context(), bad, coldRows(nil)); err == nil {
		t.Error("the boundary went back")
	}
}

func TestColdTakesLargeRows(t *testing.T) {
	o := ColdOptions{Dir: t.TempDir()}
	c := openCold(t, o)
	rows := map[string]string{}
	for i := range 6 {
		rows[fmt.Sprint("k", i)] = strings.Repeat(fmt.Sprint(i), i<<19+1) // up to 2.5 MiB
	}
	retire(t, c, 1, 1, rows)
	closeCold(t, c)
	c = openCold(t, o)
	defer closeCold(t, c)
	s := pin(t, c, 1)
	defer s.Release()
	for key, value := range content(t, s) {
		if value != rows[key] {
			t.Errorf("key %s has %d bytes, want %d", key, len(value), len(rows[key]))
		}
	}
}

func TestColdOptionsNameEveryFault(t *testing.T) {
	_, err := OpenCold(ColdOptions{MemoryBytes: 1, CommitRows: 20_000})
	if err == nil {
		t.Fatal("they were taken")
	}
	for _, want := range []string{"no Dir is given", "MemoryBytes is 1", "CommitRows is 20000"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is missing in: %v", want, err)
		}
	}
}

// coldModel is what a store must have: of each bucket its rows, and snapshots with what they must read.
type coldModel struct {
	rows    [2]map[string]string
	commits [2]uint64
	commit  uint64
	cut     [2]bool // a Retire was cut off, and not repeated
	pinned  map[*ColdSnapshot]map[string]string
}

var errCut = errors.New("cut")

// The store is a map of what was retired to the end, with snapshots, whatever was cut off in between.
func TestColdIsAMap(t *testing.T) {
	base := t.TempDir()
	run := 0
	rapid.Check(t, func(rt *rapid.T) {
		run++
		o := ColdOptions{Dir: filepath.Join(base, fmt.Sprint(run)), MemoryBytes: ColdMemoryBytesMin, CommitRows: 3}
		c := openCold(t, o)
		m := coldModel{rows: [2]map[string]string{{}, {}}, pinned: map[*ColdSnapshot]map[string]string{}}
		releaseAll := func() {
			for s, want := range m.pinned {
				wantContent(t, s, want)
				s.Release()
			}
			clear(m.pinned)
		}
		bucket := rapid.Uint32Range(0, 1)
		actions := map[string]func(*rapid.T){
			"retire": func(rt *rapid.T) {
				b := bucket.Draw(rt, "bucket")
				m.commit++
				rows := rapid.MapOfN(rapid.StringMatching(`[a-e]{1,2}`), rapid.StringMatching(`[0-9]{0,3}`), 0, 12).Draw(rt, "rows")
				for key := range 9 { // a Retire that repeats another writes what that one wrote
					if name := string(rune('a' + key)); m.cut[b] && rows[name] == "" {
						rows[name] = fmt.Sprint(m.commit)
					}
				}
				retire(t, c, b, m.commit, rows)
				m.cut[b] = false
				maps.Copy(m.rows[b], rows)
				maps.DeleteFunc(m.rows[b], func(_, value string) bool { return value == "" })
				m.commits[b] = m.commit
			},
			"cut off": func(rt *rapid.T) {
				b := bucket.Draw(rt, "bucket")
				rows := func(yield func(ColdRow, error) bool) {
					for i := range rapid.IntRange(0, 9).Draw(rt, "rows") {
						if !yield(ColdRow{Key: []byte{byte('a' + i)}, Value: []byte("cut"), Deleted: i%3 == 0}, nil) {
							return
						}
					}
					yield(ColdRow{}, errCut)
				}
				move := ColdRetire{Bucket: ColdBucket{Bucket: b}, Commit: m.commit + 1, Boundary: int64(m.commit+1) * 10}
				if err := c.Retire(t.Context(), move, rows); !errors.Is(err, errCut) {
					rt.Fatalf("it was not cut off: %v", err)
				}
				m.commit++
				m.cut[b] = true
			},
			"pin": func(rt *rapid.T) {
				b := bucket.Draw(rt, "bucket")
				m.pinned[pin(t, c, b)] = maps.Clone(m.rows[b])
			},
			"flatten": func(rt *rapid.T) {
				if err := c.db.Flatten(1); err != nil {
					rt.Fatal(err)
				}
			},
			"reopen": func(rt *rapid.T) {
				releaseAll()
				closeCold(t, c)
				c = openCold(t, o)
			},
		}
		names := slices.Sorted(maps.Keys(actions))
		// Few steps a store, as opening and closing is what takes the time.
		for _, name := range rapid.SliceOfN(rapid.SampledFrom(names), 1, 10).Draw(rt, "actions") {
			actions[name](rt)
			for b, want := range m.rows {
				if got := c.State(ColdBucket{Bucket: uint32(b)}).Commit; got != m.commits[b] {
					rt.Fatalf("bucket %d is at commit %d, want %d", b, got, m.commits[b])
				}
				wantContent(t, pinOnce(t, c, uint32(b)), want)
			}
		}
		releaseAll()
		closeCold(t, c)
	})
}

// pinOnce gives a snapshot that is released at once: what it reads was not written since.
func pinOnce(t testing.TB, c *Cold, bucket uint32) *ColdSnapshot {
	t.Helper()
	s := pin(t, c, bucket)
	s.Release()
	return s
}

// countingRows gives n rows of one commit; every seventh key is deleted.
func countingRows(n int, commit uint64, each func(i int)) iter.Seq2[ColdRow, error] {
	return func(yield func(ColdRow, error) bool) {
		for i := range n {
			each(i)
			row := ColdRow{
				Key:     binary.BigEndian.AppendUint32(nil, uint32(i)),
				Value:   bytes.Repeat(binary.BigEndian.AppendUint64(nil, commit), 12),
				Deleted: uint64(i)%7 == commit%7,
			}
			if !yield(row, nil) {
				return
			}
		}
	}
}

func TestColdReportsADiskWithoutRoom(t *testing.T) {
	disk := vfs.NewMem(vfs.MemOptions{})
	dir := t.TempDir()
	if err := disk.MkdirAll("cold"); err != nil {
		t.Fatal(err)
	}
	manifest, err := disk.Create("cold/MANIFEST")
	if err != nil {
		t.Fatal(err)
	}
	if err := manifest.Close(); err != nil {
		t.Fatal(err)
	}
	space := &shrinkingDisk{FS: disk, free: 1 << 20}
	c := openCold(t, ColdOptions{Dir: dir, FS: space, Path: "cold"})
	defer closeCold(t, c)
	move := ColdRetire{Commit: 1, Boundary: 10}
	err = c.Retire(t.Context(), move, coldRows(map[string]string{"a": "1"}))
	if e, ok := errors.AsType[*model.Error](err); !ok || e.Reason != model.DiskFull {
		t.Fatalf("a full disk gives %v", err)
	}
	if c.Err() != nil {
		t.Errorf("the store has failed: %v", c.Err())
	}
	space.free = 1 << 40
	if err := c.Retire(t.Context(), move, coldRows(map[string]string{"a": "1"})); err != nil {
		t.Errorf("once there is room: %v", err)
	}
	if err := disk.Remove("cold/MANIFEST"); err != nil {
		t.Fatal(err)
	}
	if err := c.Retire(t.Context(), ColdRetire{Commit: 2, Boundary: 10}, coldRows(nil)); err == nil {
		t.Error("the folder has gone, and nothing was said")
	}
	<-c.Failed()
	if c.Close() == nil {
		t.Error("closing a failed store says nothing")
	}
}

// shrinkingDisk is a disk with so much room as a test says.
type shrinkingDisk struct {
	vfs.FS
	free int64
}

func (d *shrinkingDisk) Space() (free, total int64, err error) { return d.free, d.free, nil }

// A folder that is deleted under a store that does not look for it fails the store, not the process.
func TestColdFailsWhenItsFolderGoes(t *testing.T) {
	catcher := CatchFatal()
	defer catcher.Restore()
	dir := filepath.Join(t.TempDir(), "cold")
	c := openCold(t, ColdOptions{Dir: dir, Fatal: catcher})
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	err := error(nil)
	for commit := uint64(1); err == nil && commit < 100; commit++ {
		err = c.Retire(context.Background(), ColdRetire{Commit: commit}, countingRows(20_000, commit, func(int) {}))
	}
	if err == nil {
		t.Fatal("it went on without a folder")
	}
	t.Logf("it says: %v", err)
	<-c.Failed()
	if err := c.Retire(t.Context(), ColdRetire{Commit: 1000}, coldRows(nil)); err == nil {
		t.Error("a failed store takes rows")
	}
	if c.Close() == nil {
		t.Error("closing a failed store says nothing")
	}
}

func TestFatalCatcherKeepsTheProcess(t *testing.T) {
	var output bytes.Buffer
	before := log.Writer()
	log.SetOutput(&output)
	defer log.SetOutput(before)
	catcher := CatchFatal()
	other := openCold(t, ColdOptions{Dir: t.TempDir()})
	c := openCold(t, ColdOptions{Dir: t.TempDir(), Fatal: catcher})
	log.Print("an ordinary line")
	if !strings.Contains(output.String(), "an ordinary line") {
		t.Errorf("the log has %q", output.String())
	}
	inCall := openCold(t, ColdOptions{Dir: t.TempDir(), Fatal: catcher})
	err := inCall.protect("testing", func() error {
		y.Check(io.ErrUnexpectedEOF)
		return nil
	})
	if err == nil || !strings.Contains(err.Error(), "unexpected EOF") {
		t.Errorf("in a call: %v", err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		y.AssertTrue(false)
	}()
	<-ended
	<-c.Failed()
	if other.Err() != nil {
		t.Errorf("a store without the catcher has failed: %v", other.Err())
	}
	closeCold(t, other)
	catcher.Restore()
	if log.Writer() != io.Writer(&output) {
		t.Error("the output was not restored")
	}
}

func TestColdTurnsPanicsIntoFailure(t *testing.T) {
	c := openCold(t, ColdOptions{Dir: t.TempDir()})
	err := c.protect("testing", func() error { panic("broken") })
	if err == nil || !strings.Contains(err.Error(), "broken") {
		t.Errorf("it says %v", err)
	}
	if _, err := c.Snapshot(ColdBucket{}); err == nil {
		t.Error("a failed store gives snapshots")
	}
}

// A flipped byte in a file is found when the store opens, or while it is open by Verify.
func TestColdNoticesRot(t *testing.T) {
	catcher := CatchFatal()
	defer catcher.Restore()
	const rows = 5000
	root := t.TempDir()
	disk, err := vfs.NewDisk(root)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = disk.Close() }()
	o := ColdOptions{
		Dir: filepath.Join(root, "cold"), FS: disk, Path: "cold", MemoryBytes: ColdMemoryBytesMin, Fatal: catcher,
	}
	c := openCold(t, o)
	if err := c.Retire(t.Context(), ColdRetire{Commit: 5}, countingRows(rows, 5, func(int) {})); err != nil {
		t.Fatal(err)
	}
	closeCold(t, c)
	tables, err := filepath.Glob(filepath.Join(o.Dir, "*.sst"))
	if err != nil || len(tables) == 0 {
		t.Fatalf("there are no tables: %v", err)
	}
	whole, err := os.ReadFile(tables[0])
	if err != nil {
		t.Fatal(err)
	}
	offsets := []int{10, len(whole) / 3, len(whole) / 2, len(whole) - 5000, len(whole) - 300}
	for at := len(whole) - 24; at < len(whole); at++ {
		offsets = append(offsets, at)
	}
	for _, at := range offsets {
		flip(t, tables[0], at)
		if c, err := OpenCold(o); err == nil {
			t.Errorf("byte %d of %d: the store opens", at, len(whole))
			closeCold(t, c)
		}
		flip(t, tables[0], at)
	}
	c = openCold(t, o)
	if err := c.Verify(); err != nil {
		t.Errorf("a whole store: %v", err)
	}
	flip(t, tables[0], len(whole)/2)
	if c.Verify() == nil {
		t.Error("a byte that flips under an open store is not found")
	}
	flip(t, tables[0], len(whole)/2)
	closeCold(t, c)
}

// flip changes a bit of a file in place, where it may be mapped.
func flip(t *testing.T, path string, at int) {
	t.Helper()
	file, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = file.Close() }()
	var one [1]byte
	if _, err := file.ReadAt(one[:], int64(at)); err != nil {
		t.Fatal(err)
	}
	one[0] ^= 0x10
	if _, err := file.WriteAt(one[:], int64(at)); err != nil {
		t.Fatal(err)
	}
}

func TestColdChecksSumsOfRows(t *testing.T) {
	key, value := []byte("key"), []byte("value")
	stored := appendColdSum(bytes.Clone(value), key, value)
	if got, err := checkColdSum(key, stored); err != nil || !bytes.Equal(got, value) {
		t.Errorf("a whole row gives %q (%v)", got, err)
	}
	for i := range stored {
		damaged := bytes.Clone(stored)
		damaged[i] ^= 1
		if _, err := checkColdSum(key, damaged); err == nil {
			t.Errorf("a flip in byte %d was not noticed", i)
		}
		if _, err := checkColdSum(key, stored[:i]); err == nil {
			t.Errorf("%d of %d bytes were taken", i, len(stored))
		}
	}
	if _, err := checkColdSum([]byte("kez"), stored); err == nil {
		t.Error("a row of another key was taken")
	}
}
