package flightsrv

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/headrace/headrace/internal/engine"
	"github.com/headrace/headrace/internal/model"
)

// scanOf reads a ticket down to the engine's words.
func scanOf(ticket string) (engine.Scan, error) {
	request, err := scanOfCommand([]byte(ticket), "the ticket")
	if err != nil {
		return engine.Scan{}, err
	}
	return request.scan()
}

func TestScansAreRead(t *testing.T) {
	scan, err := scanOf(`{"scan":{"table":"web.clicks","columns":["a","b"],"from":{"table_id":"X","offsets":{"0":17,"3":"9007199254740991"}},
		"to":"never","buckets":[0,3.0,"7"],"limit":1e2,"system_columns":true,"compression":"none","max_message_bytes":"1048576",
		"view":"rows","tier":"log","on_schema_change":"end","filter":null,"at":null,"partitions":null,"plan":"P"}}`)
	if err != nil {
		t.Fatal(err)
	}
	if scan.Table.String() != "web.clicks" || strings.Join(scan.Columns, ",") != "a,b" || scan.To.Kind != engine.BoundNever {
		t.Errorf("scan %+v", scan)
	}
	if at := scan.From.Position; at.TableID != "X" || at.Offsets[0] != 17 || at.Offsets[3] != 1<<53-1 || len(at.Offsets) != 2 {
		t.Errorf("from %+v", at)
	}
	if len(scan.Buckets) != 3 || scan.Buckets[1] != 3 || scan.Buckets[2] != 7 {
		t.Errorf("buckets %v", scan.Buckets)
	}
	if !scan.HasLimit || scan.Limit != 100 || !scan.SystemColumns || scan.Compression != engine.CompressionNone || scan.MessageBytes != 1<<20 || scan.Plan != "P" {
		t.Errorf("scan %+v", scan)
	}
}

func TestScanDefaults(t *testing.T) {
	scan, err := scanOf(` {"scan" : {"table":"t","from":null,"columns":null,"limit":null,"buckets":null} } `)
	if err != nil {
		t.Fatal(err)
	}
	if scan.Table.String() != "default.t" || scan.Columns != nil || scan.Buckets != nil || scan.HasLimit ||
		scan.From.Kind != engine.BoundDefault || scan.To.Kind != engine.BoundDefault {
		t.Errorf("scan %+v", scan)
	}
	none, err := scanOf(`{"scan":{"table":"t","columns":[],"buckets":[],"limit":0,"to":{}}}`)
	if err != nil || none.Columns == nil || none.Buckets == nil || !none.HasLimit || none.To.Kind != engine.BoundOffsets {
		t.Errorf("scan %+v, %v", none, err)
	}
}

func TestBounds(t *testing.T) {
	want := time.Date(2026, 11, 21, 8, 0, 0, 123456789, time.UTC)
	for _, text := range []string{`"2026-11-21T08:00:00.123456789Z"`, `"2026-11-21T09:00:00.123456789+01:00"`} {
		scan, err := scanOf(`{"scan":{"table":"t","from":{"time":` + text + `}}}`)
		if err != nil || scan.From.Kind != engine.BoundTime || !scan.From.Time.Equal(want) {
			t.Errorf("%s: %+v, %v", text, scan.From, err)
		}
	}
	bare, err := scanOf(`{"scan":{"table":"t","from":{"0":5,"12":6}}}`)
	if err != nil || bare.From.Kind != engine.BoundOffsets || bare.From.Position.Offsets[12] != 6 {
		t.Errorf("bare offsets: %+v, %v", bare.From, err)
	}
}

func TestWrongJSONNamesTheFault(t *testing.T) {
	scan := func(fields string) string { return `{"scan":{"table":"t",` + fields + `}}` }
	for _, c := range []struct{ ticket, want string }{
		{``, "BAD_REQUEST: the ticket is empty. Send a JSON object."},
		{`{`, "the ticket is not valid JSON at byte 1"},
		{`[]`, "the value is a list, want an object"},
		{`null`, "has 0 of the members"},
		{`{}`, "has 0 of the members"},
		{`{"scan":{"table":"t"},"put":{"table":"t"}}`, "has 2 of the members"},
		{`{"scan":{"table":"t"}} x`, "not valid JSON"},
		{`{"scan":{"table":"t"}}{}`, "not valid JSON"},
		{`{"scan":{}}`, "no table is named"},
		{`{"Scan":{"table":"t"}}`, `the field "Scan" is unknown. Known here are lookup, put, scan.`},
		{scan(`"typo":1`), `the field "scan.typo" is unknown. Known here are at, buckets,`},
		{scan(`"Limit":1`), `"scan.Limit" is unknown`},
		{scan(`"limit":1,"limit":2`), `the field "scan.limit" occurs twice`},
		{scan(`"limit":1.5`), `"scan.limit": "1.5" is not an integer`},
		{scan(`"limit":"x"`), `"x" is not an integer`},
		{scan(`"limit":"0x10"`), `"0x10" is not an integer`},
		{scan(`"limit":9007199254740992`), `9007199254740992 is too large`},
		{scan(`"limit":1e400`), `is not an integer`},
		{scan(`"limit":true`), `"scan.limit": a boolean, want an integer`},
		{scan(`"limit":-1`), `limit is -1`},
		{scan(`"system_columns":"yes"`), `"scan.system_columns" is a string, want true or false`},
		{scan(`"columns":"a"`), `"scan.columns" is a string, want a list`},
		{scan(`"columns":[1]`), `a number, want the name of a column`},
		{scan(`"columns":["a",[]]`), `BAD_REQUEST: the ticket: "scan.columns.1": a column is an empty list`},
		{scan(`"columns":[["a",7]]`), `BAD_REQUEST: the ticket: "scan.columns.0.1"`},
		{`{"put":{"table":"t","columns":[["a"]]}}`, `BAD_REQUEST: the ticket: "put.columns.0": a list stands where`},
		{scan(`"from":"never"`), `"from" is "never"`},
		{scan(`"from":"soon"`), `"scan.from": "soon" is not a bound`},
		{scan(`"from":7`), `want a word, a position or a time`},
		{scan(`"from":{"offsets":{"x":1}}`), `"x" is not the number of a bucket`},
		{scan(`"from":{"offsets":{"01":1}}`), `"01" is not the number of a bucket`},
		{scan(`"from":{"offsets":{"0":-1}}`), `the offset of bucket 0 is -1`},
		{scan(`"from":{"offsets":{"0":1},"extra":1}`), `the field "scan.from.extra" is unknown`},
		{scan(`"from":{"0":1,"offsets":{}}`), `"scan.from.offsets": an object, want an integer`},
		{scan(`"from":{"time":"yesterday"}`), `"yesterday" is not a time`},
		{scan(`"from":{"time":"2026-11-21T08:00:00"}`), `is not a time`},
		{scan(`"from":{"time":"2026-11-21T08:00:00.0123456789Z"}`), `is not a time`},
		{scan(`"from":{"time":"2026-11-21T08:00:00Z","zone":1}`), `the field "scan.from.zone" is unknown`},
		{scan(`"buckets":[-1]`), `bucket -1 cannot be`},
		{scan(`"buckets":[2147483648]`), `bucket 2147483648 cannot be`},
		{scan(`"later_from":-1`), `later_from is -1`},
		{scan(`"filter":"a > 1"`), `"scan.filter": a string, want a filter`},
		{scan(`"filter":{"sql":"a >"}`), `"scan.filter": at character 4: got the end, want a value`},
		{scan(`"filter":{"sql":"a > 1","typo":1}`), `the field "scan.filter.typo" is unknown. Known here are sql, substrait.`},
		{scan(`"filter":{"sql":"a > 1","substrait":""}`), `a filter has "sql" and "substrait"`},
		{scan(`"filter":{"substrait":"AAAA"}`), `the filter is not a Substrait extended expression`},
		{scan(`"filter":{"op":"~","column":"a","value":1}`), `the filter has the unknown op "~". Use one of and, or, not,`},
		{scan(`"filter":{"op":"=","column":"a"}`), `the op "=" has no "value"`},
		{scan(`"filter":{}`), `the filter has the unknown op ""`},
		{scan(`"at":{"time":"2026-11-21T08:00:00Z"}`), `UNIMPLEMENTED: at (time travel)`},
		{scan(`"partitions":[{"a":1,"a":2}]`), `the field "scan.partitions.0.a" occurs twice`},
		{scan(`"partitions":[7]`), `an element of partitions: the value is a number, want an object`},
		{scan(`"view":"row"`), `view is "row". Use rows, changelog, rows+changelog, before-after.`},
		{scan(`"tier":"lake"`), `UNIMPLEMENTED: tier lake`},
		{scan(`"compression":"gzip"`), `BAD_REQUEST: compression is "gzip"`},
		{scan(`"max_message_bytes":5`), `max_message_bytes is 5`},
		{`{"lookup":{"table":"t"}}`, `the ticket is "lookup"`},
		{`{"lookup":{"table":"t","keyes":""}}`, `the field "lookup.keyes" is unknown`},
		{`{"lookup":{"table":"t","min_offsets":{"0":-1}}}`, `the offset of bucket 0 is -1`},
		{"\x0a\x40type.googleapis.com/arrow.flight.protocol.sql.CommandStatementQuery", "UNIMPLEMENTED: Flight SQL"},
		{`{"scan":{"table":"` + "\xff" + `"}}`, "not valid JSON"},
		{`{"scan":{"table":"a/../b"}}`, `is not a name for a`},
		{`{"scan":{"table":"` + strings.Repeat("x", 2<<20) + `"}}`, "at most 1048576 are allowed"},
	} {
		_, err := scanOf(c.ticket)
		if own, ok := errors.AsType[*model.Error](err); !ok || !strings.Contains(own.Error(), c.want) {
			t.Errorf("%.120s:\n got %v\nwant %s", c.ticket, err, c.want)
		}
	}
}

func TestPutCommands(t *testing.T) {
	read := func(text string) (engine.PutRequest, ackMode, error) {
		c, err := parseCommand([]byte(text), "the descriptor's command")
		if err != nil {
			return engine.PutRequest{}, 0, err
		}
		return c.Put.request()
	}
	request, mode, err := read(`{"put":{"table":"a.b","mode":"append","acks":"group","durability":"os","producer":"p","epoch":"3"}}`)
	if err != nil || request.Table.String() != "a.b" || mode != ackGroup || request.Durability != model.OS ||
		request.Producer != "p" || request.Epoch != 3 {
		t.Errorf("%+v, %v, %v", request, mode, err)
	}
	request, _, err = read(`{"put":{"table":"t","mode":"upsert","columns":["a"]}}`)
	if err != nil || request.Mode != engine.PutUpsert || !slices.Equal(request.Columns, []string{"a"}) {
		t.Errorf("%+v, %v", request, err)
	}
	for _, c := range []struct{ fields, want string }{
		{`"mode":"append","columns":["a"]`, "columns are for the modes upsert and delete"}, {`"mode":"x"`, `mode is "x"`},
		{`"acks":"all"`, `acks is "all". Use batch, group, end.`}, {`"durability":"disk"`, "durability"},
		{`"producer":"p"`, "names a producer and no epoch"},
		{`"epoch":1`, "an epoch and no producer"}, {`"seq":1`, `"put.seq" is unknown`},
	} {
		if _, _, err := read(`{"put":{"table":"t",` + c.fields + `}}`); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %s", c.fields, err, c.want)
		}
	}
}

func TestSequences(t *testing.T) {
	anonymous, named := &engine.PutRequest{}, &engine.PutRequest{Producer: "p", Epoch: 2}
	for _, c := range []struct {
		request  *engine.PutRequest
		metadata string
		want     *engine.Sequence
		fault    string
	}{
		{anonymous, ``, nil, ""},
		{anonymous, `{}`, nil, ""},
		{anonymous, `{"producer":"q","epoch":1,"seq":12}`, &engine.Sequence{Producer: "q", Epoch: 1, Number: 12}, ""},
		{named, `{"seq":0}`, &engine.Sequence{Producer: "p", Epoch: 2}, ""},
		{named, `{"epoch":3,"seq":"5"}`, &engine.Sequence{Producer: "p", Epoch: 3, Number: 5}, ""},
		{named, `{"producer":"p","seq":5}`, &engine.Sequence{Producer: "p", Epoch: 2, Number: 5}, ""},
		{named, ``, nil, `the batch of producer "p" has no seq`},
		{named, `{}`, nil, `has no seq`},
		{named, `{"producer":"q","seq":1}`, nil, "names a producer and no epoch"},
		{anonymous, `{"seq":1}`, nil, "no producer is named"},
		{anonymous, `{"epoch":1}`, nil, "no producer is named"},
		{anonymous, `{"producer":"q","epoch":1}`, nil, "has no seq"},
		{anonymous, `{"sequence":1}`, nil, `"sequence" is unknown`},
		{anonymous, `hello`, nil, "not valid JSON"},
	} {
		got, err := parseSequence([]byte(c.metadata), c.request)
		if c.fault != "" {
			if err == nil || !strings.Contains(err.Error(), c.fault) {
				t.Errorf("%s: %v, want %s", c.metadata, err, c.fault)
			}
			continue
		}
		if err != nil || (got == nil) != (c.want == nil) || got != nil && *got != *c.want {
			t.Errorf("%s: %+v, %v, want %+v", c.metadata, got, err, c.want)
		}
	}
}

func TestBase64BothAlphabets(t *testing.T) {
	for _, text := range []string{`"+/8="`, `"-_8="`, `"-_8"`, `"+/8"`} {
		var b struct {
			B bytesValue `json:"b"`
		}
		if err := decodeJSON([]byte(`{"b":`+text+`}`), "it", &b); err != nil || string(b.B) != "\xfb\xff" {
			t.Errorf("%s: %x, %v", text, b.B, err)
		}
	}
	var b struct {
		B bytesValue `json:"b"`
	}
	if err := decodeJSON([]byte(`{"b":"a%"}`), "it", &b); err == nil || !strings.Contains(err.Error(), `it: "b": the text is not base64`) {
		t.Error(err)
	}
}

// A ticket that the server writes says to the server what the scan said that it was made of.
func TestTicketsRoundTrip(t *testing.T) {
	limit, buckets, columns := integer(5), []integer{0, 2}, []columnPath{{"a"}, {"b", "c"}}
	request := &scanRequest{
		Table: "web.t", Columns: &columns, Buckets: &buckets, Limit: &limit, SystemColumns: true, Compression: "none",
		From: bound{engine.Bound{Kind: engine.BoundOffsets, Position: model.Position{TableID: "X", Offsets: model.Offsets{0: 1, 2: 3}}}},
		To:   bound{engine.Bound{Kind: engine.BoundTime, Time: time.UnixMicro(1700000000123456)}}, Plan: "P",
	}
	text, err := encodeJSON(command{Scan: request})
	if err != nil {
		t.Fatal(err)
	}
	want := `{"scan":{"table":"web.t","columns":["a",["b","c"]],"from":{"table_id":"X","offsets":{"0":1,"2":3}},` +
		`"to":{"time":"2023-11-14T22:13:20.123456Z"},"buckets":[0,2],"limit":5,"system_columns":true,"compression":"none","plan":"P"}}`
	if string(text) != want {
		t.Errorf("got  %s\nwant %s", text, want)
	}
	scan, err := scanOf(string(text))
	if err != nil || scan.From.Position.Offsets[2] != 3 || scan.Buckets[1] != 2 || scan.Plan != "P" ||
		!scan.To.Time.Equal(time.UnixMicro(1700000000123456)) {
		t.Errorf("%+v, %v", scan, err)
	}
}

func FuzzCommand(f *testing.F) {
	for _, text := range []string{
		`{"scan":{"table":"t","columns":["a"],"from":{"offsets":{"0":17}},"to":"now","limit":1}}`,
		`{"scan":{"table":"t","from":{"time":"2026-11-21T08:00:00Z"},"to":{"0":1}}}`,
		`{"put":{"table":"t","producer":"p","epoch":1}}`, `{"lookup":{}}`, `{"scan":{"table":"t","columns":[["a"]]}}`,
	} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := parseCommand(data, "the ticket")
		if err != nil {
			if _, ok := errors.AsType[*model.Error](err); !ok {
				t.Fatalf("an error without a reason: %v", err)
			}
			return
		}
		if c.Scan == nil {
			return
		}
		first, err := c.Scan.scan()
		if err != nil {
			return
		}
		text, err := encodeJSON(command{Scan: c.Scan})
		if err != nil {
			t.Fatalf("cannot be written again: %v", err)
		}
		second, err := scanOf(string(text))
		if err != nil || first.Table != second.Table || first.From.Kind != second.From.Kind || len(first.Columns) != len(second.Columns) {
			t.Fatalf("%s reads as %+v, %v, want %+v", text, second, err, first)
		}
	})
}

func BenchmarkParseSequence(b *testing.B) {
	metadata, request := []byte(`{"producer":"p1","epoch":1,"seq":123456}`), &engine.PutRequest{}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := parseSequence(metadata, request); err != nil {
			b.Fatal(err)
		}
	}
}
