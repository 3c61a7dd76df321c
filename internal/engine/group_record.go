package engine

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/headrace/headrace/internal/model"
)

// groupsFile is the ledger of a table's groups, in the table's folder.
const groupsFile = "groups.ledger"

// groupRecord is a record of the ledger: what has changed of one group. A group is made by its first one.
type groupRecord struct {
	// Group is empty in a record that only says which generations were used, with Dropped.
	Group string `json:"group,omitempty"`
	// At is when, in µs since 1970.
	At int64 `json:"at"`
	// Generation is that of Members, which then are all there are; 0: the members are as before.
	Generation int64          `json:"generation,omitempty"`
	Members    []memberRecord `json:"members,omitempty"`
	// Reset is the generation of the newest reset.
	Reset int64 `json:"reset,omitempty"`
	// Offsets are positions that have changed, Without those that are gone.
	Offsets model.Offsets `json:"offsets,omitempty"`
	Without []int32       `json:"without,omitempty"`
	// Dropped says that the group is gone. A new one of the name begins behind Generation.
	Dropped bool `json:"dropped,omitempty"`
}

// memberRecord is a groupMember.
type memberRecord struct {
	ID        string  `json:"id"`
	SessionMS int64   `json:"session_ms"`
	Floor     int64   `json:"floor"`
	Share     []int32 `json:"share,omitempty"`
	Holds     []int32 `json:"holds,omitempty"`
}

// groupSet are the groups of a table as the ledger tells them.
type groupSet struct {
	byName map[string]*consumerGroup
	// used is the largest generation of a group that is gone: fencing holds for its name too.
	used int64
}

// apply takes a record of the ledger in. now is when the sessions begin anew.
func (s *groupSet) apply(encoded []byte, now time.Time) error {
	var record groupRecord
	decoder := json.NewDecoder(bytes.NewReader(encoded))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&record); err != nil {
		return fmt.Errorf("decode: %w", err)
	}
	if record.Dropped {
		s.used = max(s.used, record.Generation)
		delete(s.byName, record.Group)
		return nil
	}
	g := s.byName[record.Group]
	if g == nil {
		g = s.newGroup(record.Group)
		s.byName[record.Group] = g
	}
	g.active = record.At
	if record.Generation > 0 {
		g.generation, g.resetAt, g.members = record.Generation, record.Reset, nil
		for _, m := range record.Members {
			g.members = append(g.members, groupMember{
				id: m.ID, session: time.Duration(m.SessionMS) * time.Millisecond, floor: m.Floor,
				share: m.Share, holds: m.Holds, seen: now,
			})
		}
	}
	for bucket, offset := range record.Offsets {
		g.setPosition(bucket, offset)
	}
	for _, bucket := range record.Without {
		delete(g.positions, bucket)
	}
	return nil
}

// recordChange gives the record that leads from one state of a group to the next; nil if nothing that is
// kept has changed. before is nil for a new group, after for one that goes.
func recordChange(before, after *consumerGroup, at int64) *groupRecord {
	if after == nil {
		return &groupRecord{Group: before.name, At: at, Generation: before.generation, Dropped: true}
	}
	record := &groupRecord{Group: after.name, At: at, Offsets: model.Offsets{}}
	changed := before == nil
	if before == nil {
		before = &consumerGroup{}
	}
	if before.generation != after.generation || !slices.EqualFunc(before.members, after.members, sameMember) {
		record.Generation, record.Reset = after.generation, after.resetAt
		for _, m := range after.members {
			record.Members = append(record.Members, memberRecord{
				ID: m.id, SessionMS: m.session.Milliseconds(), Floor: m.floor, Share: m.share, Holds: m.holds,
			})
		}
		changed = true
	}
	if after.owned {
		for bucket, offset := range after.positions {
			if old, known := before.positions[bucket]; !known || old != offset {
				record.Offsets[bucket] = offset
			}
		}
		for bucket := range before.positions {
			if _, known := after.positions[bucket]; !known {
				record.Without = append(record.Without, bucket)
			}
		}
		slices.Sort(record.Without)
	}
	if !changed && len(record.Offsets)+len(record.Without) == 0 {
		return nil
	}
	return record
}

func sameMember(a, b groupMember) bool {
	return a.id == b.id && a.session == b.session && a.floor == b.floor && slices.Equal(a.share, b.share) && slices.Equal(a.holds, b.holds)
}

// newGroup gives the state of a group that nobody has used yet.
func (s *groupSet) newGroup(name string) *consumerGroup {
	return &consumerGroup{name: name, base: s.used}
}

// records gives the records of a ledger that says what s is, and no more.
func (s *groupSet) records() ([][]byte, error) {
	var records []*groupRecord
	if s.used > 0 {
		records = append(records, &groupRecord{Generation: s.used, Dropped: true})
	}
	for _, name := range slices.Sorted(maps.Keys(s.byName)) {
		g := s.byName[name].clone()
		g.owned = true
		records = append(records, recordChange(nil, g, g.active))
	}
	return encodeRecords(records)
}

func encodeRecords(records []*groupRecord) ([][]byte, error) {
	encoded := make([][]byte, len(records))
	for i, record := range records {
		var err error
		if encoded[i], err = json.Marshal(record); err != nil {
			return nil, fmt.Errorf("encode: %w", err)
		}
	}
	return encoded, nil
}
