package arrowipc

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/ipc"

	"github.com/headrace/headrace/internal/model"
)

// ipcStreams are streams as arrow-go writes them.
func ipcStreams(t testing.TB) [][]byte {
	t.Helper()
	p, b := arrow.PrimitiveTypes, arrow.BinaryTypes
	rnd := rand.New(rand.NewPCG(3, 4))
	var streams [][]byte
	for _, types := range [][]arrow.DataType{{p.Int64}, {p.Int64, b.String, arrow.FixedWidthTypes.Boolean}, leafTypes()[:20]} {
		schema := schemaOf(types)
		record := randomRecord(rnd, schema, 20, 4)
		var out bytes.Buffer
		w := ipc.NewWriter(&out, ipc.WithSchema(schema))
		for _, r := range []arrow.RecordBatch{record, record.NewSlice(0, 1)} {
			if err := w.Write(r); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		streams = append(streams, out.Bytes())
	}
	return streams
}

func TestCutStream(t *testing.T) {
	for _, stream := range ipcStreams(t) {
		want := cutStream(stream)
		for name, data := range map[string][]byte{"whole": stream, "without the end mark": stream[:len(stream)-8]} {
			messages, err := CutStream(data)
			if err != nil || len(messages) != len(want) {
				t.Fatalf("%s: %d messages, %v, want %d", name, len(messages), err, len(want))
			}
			for i, m := range messages {
				if !bytes.Equal(m.Header, want[i].header) || !bytes.Equal(m.Body, want[i].body) {
					t.Errorf("%s: message %d differs", name, i)
				}
			}
		}
	}
}

// Each strict prefix of a stream fails, but for those that end between two messages.
func TestCutStreamRefusesPrefixes(t *testing.T) {
	stream := ipcStreams(t)[0]
	whole := map[int]bool{}
	at := 0
	for _, m := range cutStream(stream) {
		at += 8 + len(m.header) + len(m.body)
		whole[at] = true
	}
	for n := range len(stream) {
		messages, err := CutStream(stream[:n])
		if (err == nil) != whole[n] || err == nil && len(messages) == 0 {
			t.Fatalf("%d of %d bytes: %d messages, %v", n, len(stream), len(messages), err)
		}
	}
	for name, data := range map[string][]byte{
		"bytes behind the end": append(bytes.Clone(stream), 0),
		"a length beyond":      binary.LittleEndian.AppendUint32([]byte{0xff, 0xff, 0xff, 0xff}, 1<<31),
		"nothing":              nil,
		"an end alone":         {0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0},
	} {
		if _, err := CutStream(data); !errors.Is(err, model.BadRequest) {
			t.Errorf("%s: %v, want BAD_REQUEST", name, err)
		}
	}
}

func FuzzCutStream(f *testing.F) {
	for _, stream := range ipcStreams(f) {
		f.Add(stream)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		messages, err := CutStream(data)
		if err != nil {
			return
		}
		total := 0
		for _, m := range messages {
			total += len(m.Header) + len(m.Body)
		}
		if len(messages) == 0 || total > len(data) {
			t.Errorf("%d messages of %d bytes from %d", len(messages), total, len(data))
		}
	})
}
