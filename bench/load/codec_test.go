package main

import (
	"testing"

	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protowire"
)

func TestBatchesOf(t *testing.T) {
	for _, c := range []struct {
		name, text string
		want       int
		fails      bool
	}{
		{"one batch", `{"seq":12,"rows":1000,"offsets":{"0":[0,1000]},"durability":"fsync"}`, 1, false},
		{"merged at the end", `{"seq":12,"rows":3,"batches":3}`, 3, false},
		{"merged in the middle", `{"batches":250,"first_seq":1,"seq":250}`, 250, false},
		{"with spaces", `{"batches": 7 , "seq": 8}`, 7, false},
		{"empty", "", 1, false},
		{"cut", `{"batches":25`, 0, true},
		{"no number", `{"batches":"x"}`, 0, true},
		{"none", `{"batches":0}`, 0, true},
	} {
		got, err := batchesOf([]byte(c.text), "")
		if got != c.want && err == nil || (err != nil) != c.fails {
			t.Errorf("%s: %d, %v, want %d, fails %v", c.name, got, err, c.want, c.fails)
		}
	}
}

func TestAcknowledgementTellsDurability(t *testing.T) {
	text := []byte(`{"seq":1,"rows":1,"durability":"os"}`)
	if got, err := batchesOf(text, "os"); got != 1 || err != nil {
		t.Errorf("%d, %v", got, err)
	}
	if _, err := batchesOf(text, "fsync"); err == nil {
		t.Error("os counts as fsync")
	}
}

func TestAcknowledgementIsRead(t *testing.T) {
	message := protowire.AppendTag(nil, 9, protowire.VarintType)
	message = protowire.AppendVarint(message, 300) // a field that it does not know
	message = protowire.AppendTag(message, 1, protowire.BytesType)
	message = protowire.AppendBytes(message, []byte(`{"seq":1,"batches":2}`))
	var a acknowledgement
	if err := (passThrough{}).Unmarshal(mem.BufferSlice{mem.SliceBuffer(message[:5]), mem.SliceBuffer(message[5:])}, &a); err != nil {
		t.Fatal(err)
	}
	if a.batches != 2 {
		t.Errorf("%d batches, want 2", a.batches)
	}
	for length := range len(message) {
		if err := (passThrough{}).Unmarshal(mem.BufferSlice{mem.SliceBuffer(message[:length])}, &a); err == nil {
			t.Errorf("the first %d bytes are read as a whole acknowledgement", length)
		}
	}
}

func TestSummary(t *testing.T) {
	if got := summary(nil); got != (latencies{}) {
		t.Errorf("no rows: %+v", got)
	}
	var c clocks
	for i := range 1000 {
		c.due = append(c.due, 0)
		c.sent = append(c.sent, 1e6)
		c.received = append(c.received, 1e6+1e6*1000-1e6*durationOf(i)) // falling: must be sorted
		c.acknowledged = append(c.acknowledged, 2e6)
	}
	got := c.result(0)
	if got.Fresh != (latencies{P50: 451, P90: 811, P99: 892, Max: 900}) {
		t.Errorf("fresh %+v", got.Fresh)
	}
	if got.Scheduled.P50 != 452 || got.Acknowledged.Max != 1 {
		t.Errorf("scheduled %+v, acknowledged %+v", got.Scheduled, got.Acknowledged)
	}
}
