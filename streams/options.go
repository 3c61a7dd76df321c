package streams

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"

	"github.com/headrace/headrace/internal/arrowipc"
	"github.com/headrace/headrace/internal/model"
	"github.com/headrace/headrace/internal/vfs"
)

// Options are fixed when a bucket is opened. The zero value of each field means its default.
type Options struct {
	// FS holds the files. Required.
	FS vfs.FS
	// Mappings learns of every mapped segment, so that a connection can keep bytes that it still has
	// to send. Default: a registry that nobody asks.
	Mappings *vfs.Mappings
	// Clock gives the time at which a file goes to the trash; times of rows come with the rows.
	// Default: the machine's.
	Clock model.Clock
	// Entropy gives the UUIDs of segments. Default: the machine's random source.
	Entropy io.Reader
	// Logger gets what an operator should see. Default: discard.
	Logger *slog.Logger
	// SegmentBytes is the size in bytes at which a new segment is begun; a segment is larger only if
	// one batch is. Default 256 MiB, at least 64 KiB. Smaller segments let retention follow more
	// closely; larger ones mean fewer files.
	SegmentBytes int64
	// CoalesceBytes is the size of a batch's body in bytes below which it is merged with its
	// neighbours of the same Write, until the result has that size. Default 256 KiB, at most 3 MiB;
	// negative: nothing is merged.
	CoalesceBytes int64
	// Trash is the folder that takes files that do not belong to the log. Default "trash".
	Trash string
	// Partition is what new segments say of the partition that the bucket belongs to; nil: it belongs to none.
	Partition *model.Partition
	// Layout is that of the rows in the log. Default: one is made of the table's definition, for this bucket
	// alone.
	Layout *arrowipc.Layout
	// Reads bounds how many reads of cold pages run at once, over all buckets that share it.
	// Default: a bound of the bucket's own.
	Reads *ReadPool
}

const (
	segmentBytesDefault  = 256 << 20
	segmentBytesMin      = 64 << 10
	coalesceBytesDefault = 256 << 10
	coalesceBytesMax     = 3 << 20
	// mergedBytesMax bounds the body and the run table of a batch that was merged, so that its
	// message stays below 4 MiB − 64 KiB on the wire and in the file.
	mergedBytesMax = 4<<20 - 128<<10
)

func (o Options) withDefaults() Options {
	if o.Mappings == nil {
		o.Mappings = vfs.NewMappings()
	}
	if o.Clock == nil {
		o.Clock = model.WallClock{}
	}
	if o.Entropy == nil {
		o.Entropy = rand.Reader
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.SegmentBytes == 0 {
		o.SegmentBytes = segmentBytesDefault
	}
	if o.CoalesceBytes == 0 {
		o.CoalesceBytes = coalesceBytesDefault
	}
	if o.Trash == "" {
		o.Trash = "trash"
	}
	if o.Reads == nil {
		o.Reads = NewReadPool(0)
	}
	return o
}

// validate tells everything that is wrong with o at once.
func (o Options) validate() error {
	var errs []error
	if o.FS == nil {
		errs = append(errs, errors.New("FS is missing"))
	}
	if o.SegmentBytes < segmentBytesMin {
		errs = append(errs, fmt.Errorf("SegmentBytes is %d, want at least %d", o.SegmentBytes, segmentBytesMin))
	}
	if o.CoalesceBytes > coalesceBytesMax {
		errs = append(errs, fmt.Errorf("CoalesceBytes is %d, want at most %d", o.CoalesceBytes, coalesceBytesMax))
	}
	if len(errs) > 0 {
		return fmt.Errorf("streams options: %w", errors.Join(errs...))
	}
	return nil
}

// ReadPool bounds how many goroutines wait for the disk at once to bring mapped pages into memory:
// each of them takes a thread for that time.
type ReadPool struct{ slots chan struct{} }

// readsDefault is enough to keep a disk busy.
const readsDefault = 8

// NewReadPool gives a pool of n slots; 0 means 8.
func NewReadPool(n int) *ReadPool {
	if n <= 0 {
		n = readsDefault
	}
	return &ReadPool{slots: make(chan struct{}, n)}
}

// populate brings a range of a mapping into memory, when it is its turn.
func (p *ReadPool) populate(mapping *vfs.Mapping, position, length int64) error {
	p.slots <- struct{}{}
	defer func() { <-p.slots }()
	return mapping.Populate(position, length)
}

// populateAlone is populate without reading ahead.
func (p *ReadPool) populateAlone(mapping *vfs.Mapping, position, length int64) error {
	p.slots <- struct{}{}
	defer func() { <-p.slots }()
	return mapping.PopulateAlone(position, length)
}
