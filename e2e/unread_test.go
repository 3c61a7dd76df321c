package e2e

import (
	"context"
	"encoding/json"
	"path/filepath"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow/flight"
	"github.com/apache/arrow-go/v18/arrow/ipc"
)

// TestAcknowledgementsThatNobodyReads sends 200,000 batches of one row before it reads anything: all
// of them are stored, and the acknowledgements that are read at last account for each.
func TestAcknowledgementsThatNobodyReads(t *testing.T) {
	const batches = 200_000
	s := startServer(t, filepath.Join(t.TempDir(), "data"))
	s.create("tiny", idSchema, nil)
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	defer cancel()
	stream, err := s.client.DoPut(ctx)
	if err != nil {
		t.Fatal(err)
	}
	writer := flight.NewRecordWriter(stream, ipc.WithSchema(idSchema))
	writer.SetFlightDescriptor(&flight.FlightDescriptor{Type: flight.DescriptorPATH, Path: []string{"tiny"}})
	began := time.Now()
	row := idBatch(0, 1)
	defer row.Release()
	for i := range batches {
		if err := writer.Write(row); err != nil {
			t.Fatalf("batch %d: %v", i, err)
		}
	}
	if err := writer.Close(); err != nil {
		t.Fatal(err)
	}
	if err := stream.CloseSend(); err != nil {
		t.Fatal(err)
	}
	eventually(t, 60*time.Second, "all rows are stored", func() bool { return s.rows("tiny") == batches })
	t.Logf("%d batches in %s, at most %d MiB resident", batches, time.Since(began), s.memory("VmHWM")>>20)
	next, offset, answers := int64(0), int64(0), 0
	for {
		result, err := stream.Recv()
		if err := ended(err); err != nil {
			t.Fatal(err)
		}
		if err != nil {
			break
		}
		var ack acknowledgement
		if err := json.Unmarshal(result.AppMetadata, &ack); err != nil {
			t.Fatal(err)
		}
		first := ack.Seq
		if ack.FirstSeq != nil {
			first = *ack.FirstSeq
		}
		rows := ack.Seq + 1 - first
		if want := [2]int64{offset, offset + rows}; first != next || ack.Rows != rows || ack.Offsets["0"] != want {
			t.Fatalf("got %v from seq %d on, want %d rows from seq %d on at %v", ack, first, rows, next, want)
		}
		next, offset, answers = ack.Seq+1, offset+rows, answers+1
	}
	if next != batches {
		t.Errorf("batches up to %d were acknowledged, want %d", next, batches)
	}
	if answers == batches {
		t.Error("no acknowledgements were merged: the server has kept or sent all of them")
	}
	s.stop()
}
