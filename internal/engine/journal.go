package engine

import (
	"fmt"

	"github.com/headrace/headrace/internal/vfs"
	"github.com/headrace/headrace/replication"
	"github.com/headrace/headrace/streams"
)

// carry gives the bytes that a group has written to its segments, to travel in its record too: then a
// sync of the commit file alone, which changes no metadata, makes the group durable, and the segments
// are synced later. It gives nil for a group whose segments have to be synced at once: a large one,
// where writing the bytes twice costs more, one that has made or ended a segment, and one for which
// nobody waits.
func (e *Engine) carry(g *group) []replication.Piece {
	w := &g.written
	if !g.sync || len(w.Dirs) > 0 || len(w.Sealed) > 0 {
		return nil
	}
	total := int64(0)
	for i, x := range w.Extents {
		total += x.End - w.Tails[i].From
	}
	if total > e.options.JournalBytes {
		return nil
	}
	if int64(cap(e.carried)) < total {
		e.carried = make([]byte, total)
	}
	left := e.carried[:total]
	pieces := make([]replication.Piece, len(w.Extents))
	for i, x := range w.Extents {
		from := w.Tails[i].From
		part := left[: x.End-from : x.End-from]
		left = left[x.End-from:]
		// From the page cache, a moment after they were written.
		if _, err := w.Files[i].ReadAt(part, from); err != nil || !replication.CanCarry(part) {
			return nil
		}
		pieces[i] = replication.Piece{Extent: i, Segment: w.Tails[i].SegmentID, Position: from, Bytes: part}
	}
	return pieces
}

// restore brings what the commit file carries into the segments, where a power cut, or damage behind a
// mark, has taken it from them.
func (e *Engine) restore(found *replication.Recovered) error {
	mended, err := restorePieces(e.options.FS, found.Settled)
	if err != nil {
		return err
	}
	if mended > 0 {
		e.recovery.Findings = append(e.recovery.Findings,
			fmt.Sprintf("%d parts of segments were damaged; they are whole again from the commit file", mended))
	}
	restored, err := restorePieces(e.options.FS, found.Carried)
	if err == nil && restored > 0 {
		e.options.Logger.Info("small writes that a crash had left in the commit file alone are in their segments", "parts", restored)
	}
	return err
}

// restorePieces writes the pieces of groups to their segments, where these do not hold them, and gives
// how many it wrote. It does not sync, and may be done again.
func restorePieces(files vfs.FS, groups []replication.Group) (restored int, err error) {
	pieces := map[streams.SegmentName][]streams.Piece{}
	for _, g := range groups {
		for _, p := range g.Pieces {
			name := extentOf(g.Extents[p.Extent]).Segment
			pieces[name] = append(pieces[name], streams.Piece{SegmentID: p.Segment, Position: p.Position, Bytes: p.Bytes})
		}
	}
	for name, list := range pieces {
		n, err := streams.Restore(files, name, list)
		restored += n
		if err != nil {
			return restored, fmt.Errorf("bring small groups from the commit file to their segments: %w", err)
		}
	}
	return restored, nil
}
