package engine

import (
	"context"
	"fmt"
	"testing"

	"github.com/headrace/headrace/internal/model"
	"github.com/headrace/headrace/internal/vfs"
)

// BenchmarkGroups measures calls of the members of one group of a table with many buckets, on a disk in memory.
func BenchmarkGroups(b *testing.B) {
	const buckets = 1024
	e := open(b, testOptions(vfs.NewMem(vfs.MemOptions{})))
	defer closeEngine(b, e)
	createTable(b, e, CreateTable{Name: name(b, "t"), Buckets: buckets, BucketKey: []string{"id"}})
	if _, err := openWriter(b, e, "t", PutRequest{}).write(0, 10*buckets, nil); err != nil {
		b.Fatal(err)
	}
	var last GroupMember
	for i := range 16 {
		told, err := e.JoinGroup(context.Background(), JoinGroup{Table: name(b, "t"), Group: "g", Member: fmt.Sprint("m", i)})
		if err != nil {
			b.Fatal(err)
		}
		last = GroupMember{Table: name(b, "t"), Group: "g", Member: "m0", Generation: told.Generation}
	}
	b.Run("heartbeat", func(b *testing.B) {
		for b.Loop() {
			if _, err := e.Heartbeat(context.Background(), last); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("commit", func(b *testing.B) {
		groups := &e.catalog.lookup(name(b, "t")).groups
		offset := int64(0)
		for b.Loop() {
			offset++ // beyond the end of the bucket, so that each commit is written
			err := groups.call("g", func(d *groupDraft) error { return d.commit(last, model.Offsets{0: offset}) })
			if err != nil {
				b.Fatal(err)
			}
		}
	})
}
