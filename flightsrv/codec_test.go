package flightsrv

import (
	"bytes"
	"errors"
	"fmt"
	"testing"

	"github.com/apache/arrow-go/v18/arrow/flight/gen/flight"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/proto"

	"github.com/headrace/headrace/internal/model"
	"github.com/headrace/headrace/internal/vfs"
)

// pattern gives n bytes that tell where they come from.
func pattern(n int, seed byte) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i*7) + seed + byte(i>>8)
	}
	return b
}

// cut gives the bytes in buffers of size bytes each.
func cut(data []byte, size int) mem.BufferSlice {
	var buffers mem.BufferSlice
	for len(data) > 0 {
		n := min(size, len(data))
		buffers = append(buffers, mem.SliceBuffer(data[:n:n]))
		data = data[n:]
	}
	return buffers
}

func TestIncomingIsReadFromScatteredBuffers(t *testing.T) {
	sent := &flight.FlightData{
		FlightDescriptor: &flight.FlightDescriptor{Type: flight.FlightDescriptor_PATH, Path: []string{"web", "clicks"}},
		DataHeader:       pattern(300, 1), AppMetadata: pattern(40, 2), DataBody: pattern(5000, 3),
	}
	data, err := proto.Marshal(sent)
	if err != nil {
		t.Fatal(err)
	}
	var m incoming
	for _, size := range []int{1, 2, 3, 7, 64, 299, 1000, len(data)} {
		if err := newCodec().Unmarshal(cut(data, size), &m); err != nil || m.fault != nil {
			t.Fatalf("size %d: %v, %v", size, err, m.fault)
		}
		descriptor, err := parseDescriptor(m.descriptor)
		if err != nil || len(descriptor.Path) != 2 || descriptor.Path[1] != "clicks" {
			t.Errorf("size %d: descriptor %v, %v", size, descriptor, err)
		}
		if !bytes.Equal(m.header, sent.DataHeader) || !bytes.Equal(m.metadata, sent.AppMetadata) {
			t.Errorf("size %d: header or metadata differ", size)
		}
		if body := bytes.Join(m.body, nil); !bytes.Equal(body, sent.DataBody) || m.bodyBytes != len(body) {
			t.Errorf("size %d: body differs", size)
		}
		m.free()
		if m.header != nil || m.metadata != nil || len(m.body) != 0 || m.data != nil {
			t.Errorf("size %d: something is left after free: %+v", size, m)
		}
	}
}

// countingPool counts the buffers that are out.
type countingPool struct{ out int }

func (p *countingPool) Get(n int) *[]byte {
	p.out++
	b := make([]byte, n)
	return &b
}
func (p *countingPool) Put(*[]byte) { p.out-- }

func TestIncomingGivesBuffersBack(t *testing.T) {
	data, err := proto.Marshal(&flight.FlightData{DataHeader: pattern(100, 0), DataBody: pattern(9000, 0)})
	if err != nil {
		t.Fatal(err)
	}
	pool := &countingPool{}
	var m incoming
	for range 3 {
		buffers := mem.BufferSlice{mem.Copy(data, pool)}
		if err := newCodec().Unmarshal(buffers, &m); err != nil {
			t.Fatal(err)
		}
		buffers.Free() // as grpc does
		if pool.out != 1 || len(m.body) == 0 {
			t.Fatalf("%d buffers are out, want the one that the message keeps", pool.out)
		}
	}
	m.free()
	if pool.out != 0 {
		t.Errorf("%d buffers are out after free", pool.out)
	}
}

func TestIncomingRefusesBrokenMessages(t *testing.T) {
	whole, err := proto.Marshal(&flight.FlightData{DataHeader: pattern(10, 0), AppMetadata: []byte("{}"), DataBody: pattern(100, 0)})
	if err != nil {
		t.Fatal(err)
	}
	// A cut between two fields leaves a valid message.
	between := map[int]bool{12: true, 16: true}
	for n := 1; n < len(whole); n++ {
		var m incoming
		m.unmarshal(cut(whole[:n], 16))
		if torn := m.fault != nil; torn == between[n] {
			t.Errorf("%d of %d bytes: fault %v", n, len(whole), m.fault)
		}
	}
	for name, data := range map[string][]byte{
		"group":                    {0x0b},
		"end of group":             {0x0c},
		"wire type 7":              {0x0f},
		"length beyond the end":    {0x12, 0xff, 0x01},
		"length of 2^64-1":         {0x12, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01},
		"number of 11 bytes":       {0x08, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x01},
		"number above 2^64":        {0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02},
		"fixed64 of 7 bytes":       {0x09, 1, 2, 3, 4, 5, 6, 7},
		"fixed32 of 3 bytes":       {0x0d, 1, 2, 3},
		"metadata beyond 64 KB":    append([]byte{0x1a, 0x81, 0x80, 0x04}, make([]byte, 65537)...),
		"descriptor beyond 1 MB":   append([]byte{0x0a, 0x81, 0x80, 0x40}, make([]byte, 1<<20+1)...),
		"header beyond 16 MB":      append([]byte{0x12, 0x81, 0x80, 0x80, 0x08}, make([]byte, 16<<20+1)...),
		"unknown field, cut short": {0xfa, 0x01, 0x05, 1},
	} {
		var m incoming
		m.unmarshal(cut(data, 1<<20))
		if !errors.Is(m.fault, model.BadRequest) {
			t.Errorf("%s: fault %v, want BAD_REQUEST", name, m.fault)
		}
	}
}

func TestIncomingSkipsUnknownFields(t *testing.T) {
	data := []byte{0x20, 0x07, 0x29, 1, 2, 3, 4, 5, 6, 7, 8, 0x35, 1, 2, 3, 4, 0x3a, 0x02, 9, 9, 0x12, 0x01, 42}
	var m incoming
	m.unmarshal(cut(data, 2))
	if m.fault != nil || !bytes.Equal(m.header, []byte{42}) {
		t.Errorf("header %v, fault %v", m.header, m.fault)
	}
}

// decoded gives a message as any protobuf library reads it.
func decoded(t *testing.T, m *outgoing) *flight.FlightData {
	t.Helper()
	buffers, err := newCodec().Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	defer buffers.Free()
	var data flight.FlightData
	if err := proto.Unmarshal(buffers.Materialize(), &data); err != nil {
		t.Fatal(err)
	}
	return &data
}

func TestOutgoingIsFlightData(t *testing.T) {
	for _, header := range []int{0, 1, 8, 120, 127, 128, 129, 4000, 16376, 16384} {
		for _, metadata := range []int{0, 1, 70, 127, 128, 200} {
			for _, body := range [][][]byte{nil, {pattern(1, 0)}, {pattern(100, 1), nil, pattern(5000, 2)}, {pattern(300000, 9)}} {
				if header == 0 && body != nil {
					continue // every body has a header
				}
				m := &outgoing{header: pattern(header, 5), metadata: pattern(metadata, 6), body: body}
				whole := bytes.Join(body, nil)
				m.bodyBytes = int64(len(whole))
				got := decoded(t, m)
				name := fmt.Sprintf("header %d, metadata %d, body %d", header, metadata, len(whole))
				if !bytes.Equal(got.AppMetadata, m.metadata) || !bytes.Equal(got.DataBody, whole) {
					t.Errorf("%s: metadata or body differ", name)
				}
				if !bytes.HasPrefix(got.DataHeader, m.header) || len(bytes.Trim(got.DataHeader[len(m.header):], "\x00")) > 0 {
					t.Errorf("%s: header differs", name)
				}
				if len(whole) > 0 {
					if at := len(m.appendPrefix(nil)); at%64 != bodyAlign || len(got.DataHeader)-len(m.header) > 127 {
						t.Errorf("%s: the body begins at %d, with %d bytes of padding", name, at, len(got.DataHeader)-len(m.header))
					}
				}
			}
		}
	}
}

// mapped registers bytes as a segment; it counts how often it was unmapped.
func mapped(mappings *vfs.Mappings, data []byte) (mapping *vfs.Mapping, unmapped *int) {
	unmapped = new(int)
	mapping = vfs.NewMapping(data, func(int64, int64) error { return nil }, func() { *unmapped++ })
	mappings.Add(mapping)
	return mapping, unmapped
}

func TestOutgoingHoldsSegmentsUntilItIsFreed(t *testing.T) {
	mappings := vfs.NewMappings()
	segment := pattern(1<<20, 3)
	mapping, unmapped := mapped(mappings, segment)
	holder := &connection{mappings: mappings}
	heap := pattern(3000, 4)
	m := &outgoing{header: pattern(64, 0), holder: holder, body: [][]byte{
		heap, segment[64:8192], segment[9000:9010], segment[20000:90000], heap[:10],
	}}
	for _, slice := range m.body {
		m.bodyBytes += int64(len(slice))
	}
	want := bytes.Join(m.body, nil)
	buffers, err := m.marshal()
	if err != nil {
		t.Fatal(err)
	}
	clear(heap) // the engine may use it for the next batch
	mapping.Release()
	if *unmapped != 0 {
		t.Fatal("unmapped while a message needs the bytes")
	}
	var got flight.FlightData
	if err := proto.Unmarshal(buffers.Materialize(), &got); err != nil || !bytes.Equal(got.DataBody, want) {
		t.Fatalf("body differs, error %v", err)
	}
	shared := 0
	for _, buffer := range buffers {
		if data := buffer.ReadOnlyData(); &data[0] == &segment[64] || &data[0] == &segment[20000] {
			shared++
		}
	}
	if shared != 2 {
		t.Errorf("%d of 2 large slices were sent without a copy", shared)
	}
	buffers.Free()
	if *unmapped != 1 || holder.holds.first != nil {
		t.Errorf("unmapped %d times, want 1", *unmapped)
	}
}

func TestClosingAConnectionReleasesForgottenMessages(t *testing.T) {
	mappings := vfs.NewMappings()
	segment := pattern(1<<20, 3)
	mapping, unmapped := mapped(mappings, segment)
	ended := make(chan struct{})
	conn, peer := newPipe()
	c := newConnection(conn, mappings, true, func() { close(ended) })
	m := &outgoing{header: pattern(64, 0), holder: c, body: [][]byte{segment[:8192], segment[8192:16384]}, bodyBytes: 16384}
	kept, err := m.marshal()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := m.marshal(); err != nil { // never freed, as grpc does for a dead connection
		t.Fatal(err)
	}
	mapping.Release()
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	<-ended
	peer.Close()
	if *unmapped != 1 {
		t.Errorf("unmapped %d times after the connection was closed, want 1", *unmapped)
	}
	kept.Free() // too late, and no second release
	if _, err := m.marshal(); err != nil {
		t.Errorf("a message of copies on a closed connection: %v", err)
	}
}

func FuzzIncoming(f *testing.F) {
	for _, data := range []*flight.FlightData{
		{}, {DataHeader: pattern(100, 1), DataBody: pattern(1000, 2)},
		{FlightDescriptor: &flight.FlightDescriptor{Cmd: []byte("{}")}, AppMetadata: []byte("{}")},
	} {
		encoded, err := proto.Marshal(data)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(encoded, uint16(7))
	}
	f.Fuzz(func(t *testing.T, data []byte, size uint16) {
		var ours incoming
		ours.unmarshal(cut(data, int(size)+1))
		defer ours.free()
		if ours.fault != nil {
			return
		}
		var theirs flight.FlightData
		// protobuf merges descriptors and checks UTF-8 in them; the three others have to agree.
		if err := (proto.UnmarshalOptions{DiscardUnknown: true}).Unmarshal(data, &theirs); err != nil {
			return
		}
		if !bytes.Equal(ours.header, theirs.DataHeader) || !bytes.Equal(ours.metadata, theirs.AppMetadata) ||
			!bytes.Equal(bytes.Join(ours.body, nil), theirs.DataBody) {
			t.Errorf("read differently from what protobuf reads")
		}
	})
}

func BenchmarkOutgoing(b *testing.B) {
	mappings := vfs.NewMappings()
	segment := pattern(4<<20, 3)
	mapping, _ := mapped(mappings, segment)
	defer mapping.Release()
	m := &outgoing{header: pattern(1000, 0), metadata: pattern(90, 1), holder: &connection{mappings: mappings},
		body: [][]byte{segment[:1<<20], segment[2<<20 : 3<<20]}, bodyBytes: 2 << 20}
	b.SetBytes(m.bodyBytes)
	b.ReportAllocs()
	for b.Loop() {
		buffers, err := m.marshal()
		if err != nil {
			b.Fatal(err)
		}
		buffers.Free()
	}
}

func BenchmarkIncoming(b *testing.B) {
	data, err := proto.Marshal(&flight.FlightData{DataHeader: pattern(1000, 0), DataBody: pattern(2<<20, 0)})
	if err != nil {
		b.Fatal(err)
	}
	buffers := cut(data, 16384)
	var m incoming
	b.SetBytes(int64(len(data)))
	b.ReportAllocs()
	for b.Loop() {
		m.unmarshal(buffers)
	}
}
