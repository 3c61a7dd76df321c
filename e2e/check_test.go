package e2e

import (
	"encoding/binary"
	"encoding/json"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/flight"
	"github.com/apache/arrow-go/v18/arrow/ipc"
)

// storedBatch is where a batch lies in a segment, as the description of the format says.
type storedBatch struct{ position, base, rows int64 }

// segmentFile is a segment of a stopped server.
type segmentFile struct {
	path    string // below the data folder
	content []byte
	batches []storedBatch
}

// at gives the batch that a byte belongs to; false for the schema message.
func (f *segmentFile) at(position int64) (b storedBatch, found bool) {
	for _, candidate := range f.batches {
		if candidate.position <= position {
			b, found = candidate, true
		}
	}
	return b, found
}

// readSegments finds the batches of all segments by their headers.
func readSegments(t *testing.T, data string) (files []*segmentFile) {
	t.Helper()
	err := filepath.WalkDir(data, func(path string, _ fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, ".arrow") {
			return err
		}
		f := &segmentFile{}
		if f.path, err = filepath.Rel(data, path); err != nil {
			return err
		}
		if f.content, err = os.ReadFile(path); err != nil {
			return err
		}
		for at := 0; at+96 <= len(f.content); at += 8 {
			if header := f.content[at:]; string(header[:4]) == "HRB1" {
				position := int64(binary.LittleEndian.Uint64(header[32:]))
				base, rows := binary.LittleEndian.Uint64(header[40:]), binary.LittleEndian.Uint32(header[56:])
				if binary.LittleEndian.Uint32(f.content[position:]) != 0xffffffff {
					t.Fatalf("%s: the batch of the header at byte %d does not begin at byte %d", f.path, at, position)
				}
				f.batches = append(f.batches, storedBatch{position, int64(base), int64(rows)})
			}
		}
		if len(f.batches) == 0 {
			t.Fatalf("%s has no batch", f.path)
		}
		files = append(files, f)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// finding is a line of "check --json".
type finding struct {
	File, Table, Detail string
	Position            int64
	FirstOffset         *int64 `json:"first_offset"`
	LastOffset          *int64 `json:"last_offset"`
}

// check runs "headrace check" and gives what it finds.
func check(t *testing.T, data string) (code int, findings []finding) {
	t.Helper()
	code, stdout, stderr := command(t, "check", "--json", data)
	for line := range strings.Lines(stdout) {
		var f finding
		if err := json.Unmarshal([]byte(line), &f); err != nil {
			t.Fatalf("output %q: %v\n%s", line, err, stderr)
		}
		findings = append(findings, f)
	}
	return code, findings
}

// fill writes rows in batches to a table.
func fill(t *testing.T, s *server, table string, schema *arrow.Schema, batches, rows int64) {
	t.Helper()
	stream, err := s.client.DoPut(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	writer := flight.NewRecordWriter(stream, ipc.WithSchema(schema))
	writer.SetFlightDescriptor(&flight.FlightDescriptor{Type: flight.DescriptorPATH, Path: []string{table}})
	for i := range batches {
		batch := idBatch(i*rows, rows)
		if err := writer.Write(batch); err != nil {
			t.Fatal(err)
		}
		batch.Release()
		if _, err := stream.Recv(); err != nil { // one group each
			t.Fatal(err)
		}
	}
	if err := writer.Close(); err != nil {
		t.Fatal(err)
	}
	if err := stream.CloseSend(); err != nil {
		t.Fatal(err)
	}
	if _, err := stream.Recv(); ended(err) != nil {
		t.Fatal(err)
	}
}

// TestCheckFindsFlippedBits flips one bit at a time in the segments of a stopped server: check names
// the file, a position at or before the bit in the same batch, and offsets that cover its rows. Of a
// flip in the schema it says so, and no rows are lost by it.
func TestCheckFindsFlippedBits(t *testing.T) {
	data := filepath.Join(t.TempDir(), "data")
	s := startServer(t, data, "--segment-bytes", "65536")
	s.create("web.single", idSchema, nil)
	s.create("web.split", idSchema, map[string]any{"buckets": 3, "bucket_key": []string{"id"}})
	s.create("short", idSchema, nil)
	fill(t, s, "web.single", idSchema, 80, 100)
	fill(t, s, "web.split", idSchema, 20, 300)
	fill(t, s, "short", idSchema, 1, 10)
	s.stop()
	if code, findings := check(t, data); code != 0 || len(findings) != 0 {
		t.Fatalf("before: exit code %d, %+v", code, findings)
	}
	files := readSegments(t, data)
	if len(files) < 7 {
		t.Fatalf("only %d segments", len(files))
	}
	random := rand.New(rand.NewPCG(7, 8))
	for _, f := range files {
		size, first, last := int64(len(f.content)), f.batches[0].position, f.batches[len(f.batches)-1].position
		positions := []int64{random.Int64N(first), last, last + 8 + random.Int64N(64), size - 1}
		for range 4 {
			positions = append(positions, random.Int64N(size))
		}
		for _, position := range positions {
			flipAndCheck(t, data, f, position, byte(1)<<random.IntN(8))
		}
	}
	if code, findings := check(t, data); code != 0 || len(findings) != 0 {
		t.Errorf("restored: exit code %d, %+v", code, findings)
	}
	s = startServer(t, data, "--segment-bytes", "65536")
	if got := [3]int64{s.rows("web.single"), s.rows("web.split"), s.rows("short")}; got != [3]int64{8000, 6000, 10} {
		t.Errorf("rows %v after all", got)
	}
	s.stop()
}

// flipAndCheck flips a bit, checks the data folder, and flips it back.
func flipAndCheck(t *testing.T, data string, f *segmentFile, position int64, bit byte) {
	t.Helper()
	path := filepath.Join(data, f.path)
	flip := func() {
		f.content[position] ^= bit
		if err := os.WriteFile(path, f.content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	flip()
	defer flip()
	code, findings := check(t, data)
	if code != 1 {
		t.Errorf("%s byte %d: exit code %d, want 1", f.path, position, code)
	}
	batch, inBatch := f.at(position)
	for _, found := range findings {
		if found.File != f.path {
			continue
		}
		if found.Table == "" || found.Detail == "" {
			t.Errorf("%s byte %d: the finding says too little: %+v", f.path, position, found)
		}
		switch {
		case !inBatch && found.Position == 0:
			if found.FirstOffset != nil || found.LastOffset != nil || !strings.Contains(found.Detail, "schema") {
				t.Errorf("%s byte %d of the schema message: got %+v, want no rows", f.path, position, found)
			}
			return
		case inBatch && batch.position <= found.Position && found.Position <= position:
			if found.FirstOffset == nil || found.LastOffset == nil || *found.FirstOffset > batch.base || *found.LastOffset < batch.base+batch.rows-1 {
				t.Errorf("%s byte %d: got %s, want rows %d to %d", f.path, position, found, batch.base, batch.base+batch.rows-1)
			}
			return
		}
	}
	t.Errorf("%s byte %d (batch %+v): nothing fits among %+v", f.path, position, batch, findings)
}

func (f finding) String() string {
	text, err := json.Marshal(f)
	if err != nil {
		return err.Error()
	}
	return string(text)
}
