package replication

import (
	"fmt"
	"iter"
)

// Group is one record of the commit file.
type Group struct {
	Sequence int64
	Extents  []Extent
	// Pieces are the bytes of segments that travel in the record; none for most groups.
	Pieces []Piece
}

// Recovered is what a commit file says about the sequence.
type Recovered struct {
	// Sequence is that of the newest record; 0 if there is none.
	Sequence int64
	// Durable are the extents of the checkpoint and of every later group that was known to be
	// durable, in order: a later one of the same segment stands for the earlier.
	Durable []Extent
	// Unsynced are the groups behind, oldest first. One counts only if the bytes that it names
	// verify, and all before it count.
	Unsynced []Group
	// Carried are the groups with pieces since the newest mark or checkpoint, durable or not, in order.
	// Their bytes may be nowhere else: they have to be in the segments again before anything is verified.
	// Where records are damaged, those behind are among them.
	Carried []Group
	// Settled are the groups with pieces before the newest mark. Their bytes were durable in the segments
	// too: if one lacks them, it was damaged since.
	Settled []Group
	// Lost says that records which were durable once cannot be read any more: the end of a segment
	// that Durable and Unsynced do not name, or name, may lie further on. Nothing may be cut.
	Lost bool
	// Findings tell in words what is damaged.
	Findings []string
}

// recoverContents reads the two files. It gives the index of the file in use and the highest
// generation seen.
func recoverContents(contents [2][]byte) (recovered *Recovered, active int, generation int64) {
	var checkpoints [2]*record
	var newest [2]int64 // highest generation of any record of the file
	for i, content := range contents {
		if r, err := readRecord(content, 0); err == nil && r.kind == kindCheckpoint {
			checkpoints[i] = r
			newest[i] = r.generation
		}
		for r := range recordsFrom(content, 0) {
			newest[i] = max(newest[i], r.generation)
		}
	}
	generation = max(newest[0], newest[1])
	recovered = &Recovered{}
	active = 0
	if checkpoints[1] != nil && (checkpoints[0] == nil || checkpoints[1].generation > checkpoints[0].generation) {
		active = 1
	}
	start := checkpoints[active]
	known := int64(0) // the generation of the newest checkpoint
	if start != nil {
		known = start.generation
		recovered.read(contents[active], start)
	}
	if generation > known {
		recovered.Lost = true
		recovered.Findings = append(recovered.Findings, "the newest checkpoint of the commit file is damaged")
	}
	// Whatever is left of the newest file counts for what it carries, also behind damage. The older
	// file does not: its groups are in the segments, and some of them may have been cut since.
	for _, content := range contents {
		for r := range recordsFrom(content, 0) {
			if r.generation == generation {
				recovered.carry(r)
			}
		}
	}
	return recovered, active, generation
}

// read takes in the records of one file, from its checkpoint on.
func (v *Recovered) read(content []byte, checkpoint *record) {
	groups := []*record{checkpoint}
	synced := checkpoint.sequence
	position := checkpoint.size()
	for {
		r, err := readRecord(content, position)
		if err != nil || r.generation != checkpoint.generation || r.sequence != groups[len(groups)-1].sequence+1 {
			break
		}
		groups = append(groups, r)
		synced = max(synced, r.synced)
		position += r.size()
	}
	last := groups[len(groups)-1].sequence
	v.Sequence = last
	for r := range recordsFrom(content, position+alignment) {
		if r.generation != checkpoint.generation || r.sequence <= last {
			continue
		}
		v.Sequence = max(v.Sequence, r.sequence)
		if r.synced > last {
			v.Lost = true
			v.Findings = append(v.Findings,
				fmt.Sprintf("record %d of the commit file, at byte %d, is damaged: record %d says that it was durable", last+1, position, r.sequence))
			break
		}
	}
	for _, r := range groups {
		if r.sequence <= synced {
			v.Durable = append(v.Durable, r.extents...)
			continue
		}
		if r.kind == kindGroup {
			v.Unsynced = append(v.Unsynced, Group{Sequence: r.sequence, Extents: r.extents, Pieces: r.pieces})
		}
	}
}

// carry notes what a record of the newest generation carries, or what it says of those before it.
func (v *Recovered) carry(r *record) {
	switch {
	case r.kind == kindMark:
		v.Settled, v.Carried = append(v.Settled, v.Carried...), nil
	case r.kind == kindGroup && len(r.pieces) > 0:
		v.Carried = append(v.Carried, Group{Sequence: r.sequence, Extents: r.extents, Pieces: r.pieces})
	}
}

// recordsFrom gives every record that verifies at or behind a position, whatever lies between.
func recordsFrom(content []byte, position int64) iter.Seq[*record] {
	return func(yield func(*record) bool) {
		for at := position; at+headerBytes <= int64(len(content)); at += alignment {
			if string(content[at:at+4]) != recordMagic {
				continue
			}
			if r, err := readRecord(content, at); err == nil && !yield(r) {
				return
			}
		}
	}
}
