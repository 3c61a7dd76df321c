package streams

import (
	"encoding/binary"
	"fmt"
	"math"
)

// Run describes rows of a batch that came in one request. A run without rows says that its producer
// opened its epoch.
type Run struct {
	// RowStart is the first row, counted from the beginning of the batch; Rows is how many there are.
	RowStart, Rows int64
	// Time is when the rows were appended, in µs since 1970 UTC. It never falls within a bucket.
	Time int64
	// Producer is the name of the producer that takes part in exactly-once; empty for none. The
	// fields behind it are its own.
	Producer                           string
	Epoch, FirstSequence, LastSequence int64
	// Hash identifies the content of the request.
	Hash uint64
}

// RunAt is a run and the offset of its first row in the bucket.
type RunAt struct {
	Offset int64
	Run    Run
}

const runBytes = 64

// joins says that the rows of next can be told by r: nobody asks who sent them.
func (r *Run) joins(next *Run) bool {
	return r.Producer == "" && next.Producer == "" && r.Time == next.Time &&
		r.Epoch == next.Epoch && r.FirstSequence == next.FirstSequence &&
		r.LastSequence == next.LastSequence && r.Hash == next.Hash
}

// appendRuns adds runs to those of a batch that has rows rows so far.
func appendRuns(dst []Run, rows int64, runs []Run) []Run {
	for _, r := range runs {
		r.RowStart += rows
		if n := len(dst); n > 0 && dst[n-1].joins(&r) {
			dst[n-1].Rows += r.Rows
			continue
		}
		dst = append(dst, r)
	}
	return dst
}

// checkRuns says why runs do not describe a batch of rows rows, each row once and in order.
func checkRuns(runs []Run, rows int64) error {
	next := int64(0)
	for i, r := range runs {
		if r.RowStart != next || r.Rows < 0 || r.Rows > rows-next {
			return fmt.Errorf("run %d is rows %d+%d, want rows from %d on, of %d", i, r.RowStart, r.Rows, next, rows)
		}
		next += r.Rows
	}
	if next != rows || len(runs) == 0 {
		return fmt.Errorf("%d runs cover %d of %d rows", len(runs), next, rows)
	}
	return nil
}

// nameTable collects the names of the producers of a batch, each once.
type nameTable struct {
	bytes []byte
	found map[string]uint32
}

func (n *nameTable) add(name string) uint32 {
	if at, known := n.found[name]; known {
		return at
	}
	if n.found == nil {
		n.found = map[string]uint32{}
	}
	at := uint32(len(n.bytes))
	n.found[name] = at
	n.bytes = append(n.bytes, name...)
	return at
}

// encodeRuns gives the run table and the names that it points into.
func encodeRuns(runs []Run) (table, names []byte) {
	var collected nameTable
	table = make([]byte, runBytes*len(runs))
	for i, r := range runs {
		b := table[runBytes*i:]
		binary.LittleEndian.PutUint32(b, uint32(r.RowStart))
		binary.LittleEndian.PutUint32(b[4:], uint32(r.Rows))
		binary.LittleEndian.PutUint64(b[8:], uint64(r.Time))
		binary.LittleEndian.PutUint64(b[16:], uint64(r.Epoch))
		binary.LittleEndian.PutUint64(b[24:], uint64(r.FirstSequence))
		binary.LittleEndian.PutUint64(b[32:], uint64(r.LastSequence))
		binary.LittleEndian.PutUint64(b[40:], r.Hash)
		if r.Producer != "" {
			binary.LittleEndian.PutUint32(b[48:], collected.add(r.Producer))
			binary.LittleEndian.PutUint32(b[52:], uint32(len(r.Producer)))
		}
	}
	return table, collected.bytes
}

// decodeRuns is the inverse of encodeRuns, for a batch of rows rows.
func decodeRuns(table, names []byte, rows int64) ([]Run, error) {
	runs := make([]Run, len(table)/runBytes)
	for i := range runs {
		b := table[runBytes*i:]
		r := &runs[i]
		r.RowStart = int64(binary.LittleEndian.Uint32(b))
		r.Rows = int64(binary.LittleEndian.Uint32(b[4:]))
		r.Time = runTime(b)
		r.Epoch = int64(binary.LittleEndian.Uint64(b[16:]))
		r.FirstSequence = int64(binary.LittleEndian.Uint64(b[24:]))
		r.LastSequence = int64(binary.LittleEndian.Uint64(b[32:]))
		r.Hash = binary.LittleEndian.Uint64(b[40:])
		at, length := uint64(binary.LittleEndian.Uint32(b[48:])), uint64(binary.LittleEndian.Uint32(b[52:]))
		if at+length > uint64(len(names)) {
			return nil, fmt.Errorf("the name of run %d is bytes %d+%d of %d", i, at, length, len(names))
		}
		r.Producer = string(names[at : at+length])
		if i > 0 && r.Time < runs[i-1].Time {
			return nil, fmt.Errorf("the time of run %d is %d, before that of the run before it, %d", i, r.Time, runs[i-1].Time)
		}
	}
	return runs, checkRuns(runs, rows)
}

// runTime reads the time of one entry of a run table.
func runTime(entry []byte) int64 { return int64(binary.LittleEndian.Uint64(entry[8:])) }

// rowsMax bounds the rows of a batch: the format has 32 bits for them.
const rowsMax = math.MaxUint32
