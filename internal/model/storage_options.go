package model

import (
	"strconv"
	"strings"
)

// CompressionCodec is what the buffers of sealed segments are compressed with; empty: nothing.
type CompressionCodec string

// The codecs of log.compression.
const (
	CompressionLZ4  CompressionCodec = "lz4"
	CompressionZSTD CompressionCodec = "zstd"
)

// Compression is the value of the option log.compression. Its zero value means none.
type Compression struct {
	Codec CompressionCodec
	// Level is that of zstd, 1..22; 0: its default.
	Level int
}

// String gives the text of the option.
func (c Compression) String() string {
	switch {
	case c.Codec == "":
		return compressionNone
	case c.Level != 0:
		return string(c.Codec) + ":" + strconv.Itoa(c.Level)
	}
	return string(c.Codec)
}

const (
	compressionNone      = "none"
	compressionRange     = "none, lz4, zstd, zstd:1 to zstd:22"
	compressionLevelMost = 22
)

// ParseCompression reads a value of log.compression.
func ParseCompression(text string) (Compression, error) {
	codec, level, leveled := strings.Cut(text, ":")
	c := Compression{Codec: CompressionCodec(codec)}
	switch {
	case text == compressionNone:
		return Compression{}, nil
	case !leveled && (c.Codec == CompressionLZ4 || c.Codec == CompressionZSTD):
		return c, nil
	case leveled && c.Codec == CompressionZSTD:
		n, err := strconv.Atoi(level)
		if err == nil && n >= 1 && n <= compressionLevelMost && strconv.Itoa(n) == level {
			c.Level = n
			return c, nil
		}
	}
	return Compression{}, Errorf(BadRequest, "%q is none of %s", clip(text, 100), compressionRange)
}

// parseStorage reads an option of how long rows stay on the server's own disk, and how; false if there
// is none of that name.
func (o *Options) parseStorage(name, value string) (known bool, err error) {
	switch name {
	case optionTTL:
		o.TTL, err = boundedDuration(value, ttlMin, ttlMax, ttlRange)
	case optionLocalTTL:
		o.LocalTTL, err = boundedDuration(value, ttlMin, ttlMax, ttlRange)
	case optionMaxBytes:
		o.MaxBytes, err = parseMaxBytes(value)
	case optionCompression:
		o.Compression, err = ParseCompression(value)
	default:
		return false, nil
	}
	return true, err
}

// storageFaults tells which options of storage do not go together, or with the kind of table.
func (t *Table) storageFaults(options Options) (faults []error) {
	if options.TTL > 0 && options.LocalTTL > options.TTL {
		faults = append(faults, Errorf(BadRequest, "local.ttl is %s, longer than log.ttl, %s",
			t.Options[optionLocalTTL], t.Options[optionTTL]).WithRemedy("Set it to log.ttl at most, or leave it out"))
	}
	if t.Keyed() && options.Compression.Codec != "" {
		faults = append(faults, Errorf(BadRequest,
			"option log.compression is for log tables: the rows of a primary-key table are read one by one from its segments").
			WithRemedy("Leave it out"))
	}
	return faults
}

// storageOptions describes these options, for TableOptions.
func storageOptions() []OptionSpec {
	return []OptionSpec{
		{optionLocalTTL, "duration", "0", ttlRange, true,
			"Time for which rows that a lake holds too stay on the server, at most log.ttl; 0 means as long as log.ttl says. " +
				"Without a lake it changes nothing, since rows have nowhere else to be."},
		{optionCompression, "compression", compressionNone, compressionRange, true,
			"Log tables: how segments are compressed, in the background, once they are full or nobody has written for a while. " +
				"zstd:LEVEL trades time for size; zstd is zstd:3. Segments that are compressed stay as they are when this is changed."},
		{optionMaxBytes, "size", "0", maxBytesRange, true,
			"Size of the table's log past which its oldest segments are removed, in equal shares for the buckets; 0 means no bound. " +
				"In a primary-key table that is the changelog: no row of the table goes."},
		{optionTTL, "duration", "0", ttlRange, true,
			"Time after which rows are removed, counted from when they were appended; 0 means never. " +
				"In a primary-key table that is the changelog: no row of the table goes, see row.ttl."},
	}
}
