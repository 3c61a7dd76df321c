package streams

import (
	"fmt"
	"path"
	"strconv"
	"strings"

	"github.com/headrace/headrace/internal/vfs"
)

// SegmentName says which file of which bucket a segment is.
type SegmentName struct {
	// TableID is model.Table.ID.
	TableID string
	Bucket  int32
	// Base is the offset of the first row, or negative for no segment.
	Base int64
}

// Path gives the path of the file below the data folder: tables/<table>/<bucket>/<base>.arrow, the
// base in 20 digits.
func (n SegmentName) Path() string {
	return bucketDir(n.TableID, n.Bucket) + "/" + baseText(n.Base) + segmentSuffix
}

const (
	tablesDir     = "tables"
	segmentSuffix = ".arrow"
	indexSuffix   = ".index"
	rewriteSuffix = ".rewrite"
	baseDigits    = 20
)

func bucketDir(tableID string, bucket int32) string {
	return tablesDir + "/" + tableID + "/" + strconv.Itoa(int(bucket))
}

func baseText(base int64) string { return fmt.Sprintf("%0*d", baseDigits, base) }

// parseBase gives the base offset that a file is named by.
func parseBase(file, suffix string) (int64, bool) {
	digits, found := strings.CutSuffix(path.Base(file), suffix)
	if !found || len(digits) != baseDigits {
		return 0, false
	}
	base, err := strconv.ParseInt(digits, 10, 64)
	return base, err == nil && base >= 0 && baseText(base) == digits
}

func (n SegmentName) indexPath() string {
	return strings.TrimSuffix(n.Path(), segmentSuffix) + indexSuffix
}

func (n SegmentName) rewritePath() string {
	return strings.TrimSuffix(n.Path(), segmentSuffix) + rewriteSuffix
}

// Extent says how far a segment counts: what a commit record names.
type Extent struct {
	Segment SegmentName
	// End is the length of the file in bytes that counts.
	End int64
	// Chain is the CRC of the last batch that counts.
	Chain uint32
	// Next is the offset behind its last row.
	Next int64
}

// Written tells what one Write did, for the commit record and for the sync.
type Written struct {
	// Extents has one entry for each segment written to, the oldest first; several when it rolled.
	Extents []Extent
	// Tails tell for each of Extents which bytes of the segment this Write has written.
	Tails []Tail
	// Files have bytes that are not synced: those of Extents, in the same order.
	Files []vfs.File
	// Dirs have names that are not synced.
	Dirs []string
	// Sealed are those of Files that are not written to any more. The caller closes them once they
	// are synced, or once the rows have been rolled back.
	Sealed []vfs.File
}

// Tail is the end of a segment that one Write has written, up to the end of its extent.
type Tail struct {
	// SegmentID is the UUID of the segment.
	SegmentID [16]byte
	// From is the byte at which it begins.
	From int64
}
