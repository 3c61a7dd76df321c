package engine

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/headrace/headrace/internal/model"
	"github.com/headrace/headrace/internal/vfs"
)

// readLedger opens a ledger and gives its records.
func readLedger(files vfs.FS) (*ledger, []string, error) {
	var records []string
	l, err := openLedger(files, ".", "groups.ledger", func(record []byte) error {
		records = append(records, string(record))
		return nil
	})
	return l, records, err
}

func appendTexts(l *ledger, texts ...string) error {
	return l.append(textRecords(texts)...)
}

func textRecords(texts []string) [][]byte {
	records := make([][]byte, len(texts))
	for i, text := range texts {
		records[i] = []byte(text)
	}
	return records
}

func ledgerContent(t *testing.T, files vfs.FS) []byte {
	t.Helper()
	content, err := readFile(files, "groups.ledger")
	if err != nil {
		t.Fatal(err)
	}
	return content
}

// TestLedgerFormat compares a ledger of two appends with the bytes that version 1 has written.
func TestLedgerFormat(t *testing.T) {
	mem := vfs.NewMem(vfs.MemOptions{})
	l, _, err := readLedger(mem)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(appendTexts(l, `{"a":1}`), appendTexts(l, `{"b":2}`, `{}`), l.close()); err != nil {
		t.Fatal(err)
	}
	const want = "48524c4544474552" + "01000000" + "7624857d" +
		"0b000000" + "f96dc107" + "07000000" + "7b2261223a317d" +
		"11000000" + "f258b3e8" + "07000000" + "7b2262223a327d" + "02000000" + "7b7d"
	if got := hex.EncodeToString(ledgerContent(t, mem)); got != want {
		t.Errorf("the ledger is %s, want %s", got, want)
	}
	if err := appendTexts(l, "{}"); err == nil {
		t.Error("a closed ledger takes records")
	}
}

// TestLedgerRefuses gives records that no ledger takes: what is there stays.
func TestLedgerRefuses(t *testing.T) {
	mem := vfs.NewMem(vfs.MemOptions{})
	l, _, err := readLedger(mem)
	if err != nil {
		t.Fatal(err)
	}
	for _, record := range [][]byte{nil, make([]byte, entryBytesMax-3)} {
		if err := l.append([]byte("{}"), record); err == nil {
			t.Errorf("a record of %d bytes is taken", len(record))
		}
	}
	if err := l.append([]byte("{}"), make([]byte, entryBytesMax-10)); err != nil {
		t.Errorf("records that just fit: %v", err)
	}
	if err := errors.Join(l.append(), l.close()); err != nil {
		t.Error(err)
	}
	if _, records, err := readLedger(mem); err != nil || len(records) != 2 {
		t.Errorf("%d records, %v; want 2", len(records), err)
	}
}

// TestLedgerPrefixes cuts a ledger at every byte: within the head that is damage, else what is whole is
// left and can be appended to.
func TestLedgerPrefixes(t *testing.T) {
	entries := [][]string{{"first"}, {"second", "third"}, {"fourth"}}
	content := ledgerHeadBytes()
	var ends []int
	for _, entry := range entries {
		content, _ = appendEntry(content, int64(len(content)), textRecords(entry))
		ends = append(ends, len(content))
	}
	for length := range content {
		mem := vfs.NewMem(vfs.MemOptions{})
		writeFile(t, mem, content[:length])
		l, records, err := readLedger(mem)
		if length < ledgerHead {
			if !errors.Is(err, model.Corrupt) {
				t.Fatalf("the first %d bytes: error %v, want %v", length, err, model.Corrupt)
			}
			continue
		}
		var want []string
		for i, end := range ends {
			if end <= length {
				want = append(want, entries[i]...)
			}
		}
		if err != nil || !slices.Equal(records, want) {
			t.Fatalf("the first %d bytes hold %q, %v; want %q", length, records, err, want)
		}
		if err := errors.Join(appendTexts(l, "new"), l.close()); err != nil {
			t.Fatal(err)
		}
		if _, records, err := readLedger(mem); err != nil || !slices.Equal(records, append(want, "new")) {
			t.Fatalf("behind the first %d bytes: %q, %v", length, records, err)
		}
	}
}

func writeFile(t *testing.T, files vfs.FS, content []byte) {
	t.Helper()
	if err := replaceFile(files, "new", "groups.ledger", content); err != nil {
		t.Fatal(err)
	}
}

// TestLedgerFlippedBits flips each bit: it is damage, but in the newest entry, which may have been torn.
func TestLedgerFlippedBits(t *testing.T) {
	content := ledgerHeadBytes()
	content, _ = appendEntry(content, int64(len(content)), textRecords([]string{`{"group":"a"}`, `{"group":"b"}`}))
	newest := len(content)
	content, _ = appendEntry(content, int64(len(content)), textRecords([]string{`{"group":"c"}`}))
	for bit := range 8 * len(content) {
		damaged := bytes.Clone(content)
		damaged[bit/8] ^= 1 << (bit % 8)
		count := 0
		_, err := parseLedger(damaged, func([]byte) error { count++; return nil })
		switch {
		case bit/8 < newest && (!errors.Is(err, model.Corrupt) || count > 0):
			t.Errorf("bit %d: %d records, error %v, want %v", bit, count, err, model.Corrupt)
		case bit/8 >= newest && (err != nil || count != 2):
			t.Errorf("bit %d of the newest entry: %d records, %v; want the 2 before", bit, count, err)
		}
	}
	future := ledgerHeadBytes()
	future[8] = 2
	writeSum(future)
	if _, err := parseLedger(future, nil); err == nil || !strings.Contains(err.Error(), "version 2") {
		t.Errorf("version 2: error %v", err)
	}
}

// FuzzLedger reads any bytes: what is accepted can be written again, to the same bytes.
func FuzzLedger(f *testing.F) {
	content := ledgerHeadBytes()
	f.Add(content)
	content, _ = appendEntry(content, int64(len(content)), textRecords([]string{"first", "second"}))
	f.Add(content)
	f.Fuzz(func(t *testing.T, content []byte) {
		again := ledgerHeadBytes()
		var records [][]byte
		read, err := parseLedger(content, func(record []byte) error {
			records = append(records, record)
			return nil
		})
		if err != nil {
			return
		}
		if read.end > int64(len(content)) || read.newest > read.end || read.records != len(records) {
			t.Fatalf("%+v of %d bytes with %d records", read, len(content), len(records))
		}
		for _, record := range records {
			if again, err = appendEntry(again, int64(len(again)), [][]byte{record}); err != nil {
				t.Fatal(err)
			}
		}
		second, err := parseLedger(again, func([]byte) error { return nil })
		if err != nil || second.records != read.records {
			t.Fatalf("%+v and then %+v, %v", read, second, err)
		}
	})
}

// ledgerWorkload appends and rewrites, and gives the contents that the ledger may have: one if the newest
// call was acknowledged, else the one before it and the one that it asked for.
func ledgerWorkload(files vfs.FS) (possible [][]string) {
	now := []string{}
	l, _, err := readLedger(files)
	if err != nil {
		return [][]string{now}
	}
	defer func() { _ = l.close() }()
	for i := range 12 {
		next := append(slices.Clone(now), fmt.Sprintf("%d-a-%s", i, strings.Repeat("x", 300*i)), fmt.Sprintf("%d-b", i))
		err := appendTexts(l, next[len(now):]...)
		if i%5 == 4 {
			if err != nil {
				return [][]string{now, next}
			}
			now, next = next, next[len(next)/2:]
			err = l.rewrite(slices.Values(textRecords(next)))
		}
		if err != nil {
			return [][]string{now, next}
		}
		now = next
	}
	return [][]string{now}
}

// TestLedgerCrashAtEveryCall fails each call to the disk and cuts the power in every way, then once more
// behind the next start, which has read what a failed sync has left.
func TestLedgerCrashAtEveryCall(t *testing.T) {
	for failAt := int64(0); ; failAt++ {
		mem := vfs.NewMem(vfs.MemOptions{})
		fault := vfs.NewFault(mem, vfs.FaultOptions{FailAt: failAt, ChangesOnly: true})
		possible := ledgerWorkload(fault)
		for name, crashed := range crashes(mem, uint64(failAt), "fsync") {
			what := fmt.Sprintf("call %d failed, %s", failAt, name)
			l, records, err := readLedger(crashed.files)
			if err != nil || !slices.ContainsFunc(possible, func(p []string) bool { return slices.Equal(p, records) }) {
				t.Fatalf("%s: %d records, %v; want one of %d", what, len(records), err, len(possible))
			}
			before := crashed.files.Crash(vfs.Cut{Mode: vfs.KeepNone})
			if _, again, err := readLedger(before); err != nil || !slices.Equal(again, records) {
				t.Fatalf("%s: %d records were read, then a power cut has left %d, %v", what, len(records), len(again), err)
			}
			if err := appendTexts(l, "new"); err != nil {
				t.Fatal(err)
			}
			after := crashed.files.Crash(vfs.Cut{Mode: vfs.KeepRandom, Rand: rand.New(rand.NewPCG(uint64(failAt), 3))})
			if _, again, err := readLedger(after); err != nil || !slices.Equal(again, append(records, "new")) {
				t.Fatalf("%s: %d records behind the next append, %v; want %d", what, len(again), err, len(records)+1)
			}
		}
		if fault.Calls() <= failAt {
			return
		}
	}
}

// TestLedgerModel appends, rewrites, fails, kills and opens at random, beside a slice.
func TestLedgerModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		mem := vfs.NewMem(vfs.MemOptions{})
		l, _, err := readLedger(mem)
		if err != nil {
			t.Fatal(err)
		}
		want := []string{}
		for range rapid.IntRange(1, 30).Draw(t, "operations") {
			switch rapid.SampledFrom([]string{"append", "append", "rewrite", "reopen", "full"}).Draw(t, "operation") {
			case "append":
				texts := rapid.SliceOfN(rapid.StringN(1, -1, 200), 0, 4).Draw(t, "records")
				if err := appendTexts(l, texts...); err != nil {
					t.Fatal(err)
				}
				want = append(want, texts...)
			case "rewrite":
				want = want[rapid.IntRange(0, len(want)).Draw(t, "from"):]
				if err := l.rewrite(slices.Values(textRecords(want))); err != nil {
					t.Fatal(err)
				}
			case "reopen":
				if err := l.close(); err != nil {
					t.Fatal(err)
				}
				mem = mem.Crash(vfs.Cut{Mode: vfs.KeepNone})
				l = reopenLedger(t, mem, want)
			case "full":
				mem.SetCapacity(1)
				if err := appendTexts(l, "lost"); !isDiskFull(err) {
					t.Fatalf("error %v, want a full disk", err)
				}
				mem.SetCapacity(0)
				if err := appendTexts(l, "lost"); err == nil {
					t.Fatal("a broken ledger takes records")
				}
				if err := l.rewrite(slices.Values(textRecords(want))); err != nil {
					t.Fatal(err)
				}
			}
			if l.records != len(want) && l.file != nil {
				t.Fatalf("%d records, want %d", l.records, len(want))
			}
		}
		if err := l.close(); err != nil {
			t.Fatal(err)
		}
		reopenLedger(t, mem, want)
	})
}

func reopenLedger(t *rapid.T, files vfs.FS, want []string) *ledger {
	l, records, err := readLedger(files)
	if err != nil || !slices.Equal(records, want) {
		t.Fatalf("%q, %v; want %q", records, err, want)
	}
	return l
}

// writeSum puts the checksum into the head of a ledger.
func writeSum(head []byte) {
	binary.LittleEndian.PutUint32(head[12:], crc32.Checksum(head[:12], castagnoli))
}
