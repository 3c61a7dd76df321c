package engine

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"time"

	"github.com/headrace/headrace/internal/model"
	"github.com/headrace/headrace/internal/vfs"
	"github.com/headrace/headrace/pkstore"
	"github.com/headrace/headrace/streams"
)

// Options are fixed when an engine is opened. The zero value of each field means its default.
type Options struct {
	// FS holds the data folder. Required.
	FS vfs.FS
	// Folder is the data folder as the operating system knows it: rows of primary-key tables whose segments go
	// are kept in files that FS does not see. Without it, and without OpenCold, no segment of such a table goes.
	Folder string
	// Fatal catches what would end the process; nil: nothing is caught. See pkstore.CatchFatal.
	Fatal *pkstore.FatalCatcher
	// OpenCold opens the store of a table's retired rows in a folder of FS. Default: pkstore.OpenCold, in Folder.
	OpenCold func(path string) (pkstore.ColdStore, error)
	// Mappings finds the mapped segment that a slice lies in. Default: a registry of the engine's own.
	Mappings *vfs.Mappings
	// Clock tells the time. Default: the machine's.
	Clock model.Clock
	// Entropy makes ids of tables, plans and segments. Required.
	Entropy io.Reader
	// Logger gets what an operator should see. Default: discard.
	Logger *slog.Logger

	// SegmentBytes is the size at which a bucket begins a new segment. Default 256 MiB, at least
	// 64 KiB.
	SegmentBytes int64
	// GroupBytes bounds the rows of one group commit. Default 32 MiB. A larger group makes syncs
	// fewer and the wait for one longer.
	GroupBytes int64
	// JournalBytes is the most that a group may have written to its segments in order to travel in its
	// commit record too. Default 32 KiB; negative: none does. Groups below it wait for a sync of one
	// file; larger ones save writing their rows twice.
	JournalBytes int64
	// CommitBytes is the size of each half of the commit file. Default 16 MiB, at least 4 KiB. A larger
	// one makes checkpoints, which wait for all segments, rarer and a restart longer.
	CommitBytes int64
	// GroupGap is the least time between the beginnings of two groups while requests come faster than
	// groups, unless GroupBytes are waiting. Default 1 ms. A longer gap makes stored batches of small
	// writers larger.
	GroupGap time.Duration
	// IngestBytes bounds the rows that were received and are not yet written, over all streams.
	// Default 256 MiB. Beyond it, streams wait: that is the only back-pressure.
	IngestBytes int64
	// ReserveBytes are left free on the disk: writes are refused before. Default: 2 % of the disk, at
	// most 512 MiB.
	ReserveBytes int64
	// MarkDelay is how long the engine waits after a group before it syncs what is written and marks
	// it as durable. Default 1 s.
	MarkDelay time.Duration
	// MaintenancePeriod is the time between two rounds of retention, rewriting and clearing the
	// trash. Default 5 s.
	MaintenancePeriod time.Duration
	// SealIdle is how long nobody has written to a bucket before its newest segment is sealed in order to be
	// compressed, where the table's option log.compression says so. Default 5 min.
	SealIdle time.Duration
	// RestIdle is how long nobody has used a bucket before its file is closed and its memory given back.
	// Default 1 min.
	RestIdle time.Duration
	// OpenFiles bounds the segments that are open for writing at once; past it, those that were written
	// longest ago are closed. Default 2048.
	OpenFiles int
	// TrashGrace is how long dropped tables and unknown files are kept. Default 24 h.
	TrashGrace time.Duration
	// PlanLife is how long a plan pins its rows without being renewed. Default 10 min.
	PlanLife time.Duration
	// RowCacheBytes is the memory for rows of primary-key tables that were looked up, of all of them; it is taken as it
	// is used. Default 64 MiB, at least 1 MiB; negative: none.
	RowCacheBytes int64
	// BucketRotateBytes is what one put stream writes to a bucket before it moves to the next, where
	// a table has several buckets and no bucket key. Default 8 MiB.
	BucketRotateBytes int64

	reads *streams.ReadPool // shared by all buckets
}

func (o Options) withDefaults() Options {
	setDefault(&o.Mappings, func() *vfs.Mappings { return vfs.NewMappings() })
	setDefault(&o.Logger, func() *slog.Logger { return slog.New(slog.DiscardHandler) })
	if o.Clock == nil {
		o.Clock = model.WallClock{}
	}
	if o.Entropy != nil {
		o.Entropy = &lockedReader{reader: o.Entropy}
	}
	o.reads = streams.NewReadPool(0)
	for _, field := range []struct {
		value    *int64
		fallback int64
	}{
		{&o.SegmentBytes, 256 << 20}, {&o.GroupBytes, 32 << 20}, {&o.IngestBytes, 256 << 20}, {&o.BucketRotateBytes, 8 << 20},
		{&o.JournalBytes, 32 << 10}, {&o.CommitBytes, 16 << 20}, {&o.RowCacheBytes, 64 << 20},
	} {
		if *field.value == 0 {
			*field.value = field.fallback
		}
	}
	for _, field := range []struct {
		value    *time.Duration
		fallback time.Duration
	}{
		{&o.GroupGap, time.Millisecond}, {&o.MarkDelay, time.Second}, {&o.MaintenancePeriod, 5 * time.Second},
		{&o.SealIdle, 5 * time.Minute}, {&o.RestIdle, time.Minute}, {&o.TrashGrace, 24 * time.Hour}, {&o.PlanLife, 10 * time.Minute},
	} {
		if *field.value == 0 {
			*field.value = field.fallback
		}
	}
	if o.OpenFiles == 0 {
		o.OpenFiles = 2048
	}
	return o
}

func setDefault[T any](field **T, make func() *T) {
	if *field == nil {
		*field = make()
	}
}

// validate tells everything that is wrong with o at once.
func (o Options) validate() error {
	var errs []error
	if o.FS == nil {
		errs = append(errs, errors.New("FS is missing"))
	}
	if o.Entropy == nil {
		errs = append(errs, errors.New("the source Entropy is missing"))
	}
	for _, field := range []struct {
		name         string
		value, least int64
	}{
		{"SegmentBytes", o.SegmentBytes, 64 << 10}, {"GroupBytes", o.GroupBytes, 1}, {"IngestBytes", o.IngestBytes, 1 << 20},
		{"BucketRotateBytes", o.BucketRotateBytes, 1}, {"ReserveBytes", o.ReserveBytes, 0},
		{"CommitBytes", o.CommitBytes, 4 << 10}, {"OpenFiles", int64(o.OpenFiles), 1},
	} {
		if field.value < field.least {
			errs = append(errs, fmt.Errorf("%s is %d, want at least %d", field.name, field.value, field.least))
		}
	}
	if o.RowCacheBytes >= 0 && o.RowCacheBytes < pkstore.RowCacheBytesMin {
		errs = append(errs, fmt.Errorf("RowCacheBytes is %d, want at least %d, or less than 0 for none", o.RowCacheBytes, pkstore.RowCacheBytesMin))
	}
	if len(errs) > 0 {
		return fmt.Errorf("engine options: %w", errors.Join(errs...))
	}
	return nil
}

// streams gives the options of the buckets.
func (o Options) streams() streams.Options {
	return streams.Options{
		FS: o.FS, Mappings: o.Mappings, Clock: o.Clock, Entropy: o.Entropy, Logger: o.Logger,
		SegmentBytes: o.SegmentBytes, Trash: trashDir, Reads: o.reads,
	}
}

// lockedReader lets several goroutines read from one source.
type lockedReader struct {
	mu     sync.Mutex
	reader io.Reader // guarded by mu
}

// Read implements io.Reader.
func (l *lockedReader) Read(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.reader.Read(p)
}
