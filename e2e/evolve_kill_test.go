package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
)

// evolvingTable is a table whose columns change while rows are written to it, over kills. What it looks like
// follows from the version of its schema alone.
type evolvingTable struct {
	producer
	// version is the last one that was acknowledged, or found behind a restart.
	version int64
}

// changes lead from a version of the schema to the next one. A column is added, widened, and dropped; one of
// those that are written to has another name for a while.
func (p *evolvingTable) changes(version int64) (changes []any) {
	added := fmt.Sprint("n", addedIn(version))
	change := func(kind string, body any) { changes = append(changes, map[string]any{kind: body}) }
	switch version % 4 {
	case 1:
		change("add_column", map[string]any{"name": fmt.Sprint("n", version), "type": "int8", "default": version % 100})
	case 2:
		change("set_type", map[string]any{"column": added, "type": "int64"})
		change("rename_column", map[string]any{"from": "text", "to": "words"})
		change("set_option", map[string]any{"name": "log.ttl", "value": fmt.Sprint(version, "d")})
	case 3:
		change("rename_column", map[string]any{"from": "words", "to": "text"})
	case 0:
		change("drop_column", added)
		change("set_option", map[string]any{"name": "log.ttl", "value": ""})
	}
	return changes
}

// addedIn is the version in which the column came that a version has beside id and text.
func addedIn(version int64) int64 { return version - (version-2)%4 - 1 }

// columns are those of a version as text, with the option that is changed with them.
func (p *evolvingTable) columns(version int64) string {
	added := addedIn(version)
	switch version % 4 {
	case 2:
		return fmt.Sprintf("id:int64 text:string n%d:int8 <nil>", added)
	case 3:
		return fmt.Sprintf("id:int64 words:string n%d:int64 %dd", added, version-1)
	case 0:
		return fmt.Sprintf("id:int64 text:string n%d:int64 %dd", added, version-2)
	}
	return "id:int64 text:string <nil>"
}

// evolve changes the columns until the server dies, with a client of its own.
func (p *evolvingTable) evolve(s *server) {
	own := &server{t: s.t, data: s.data, address: s.address, client: s.dial(grpc.WithTransportCredentials(insecure.NewCredentials()))}
	defer own.client.Close()
	for {
		answer, err := own.tryAction(context.Background(), "AlterTable", map[string]any{
			"table": p.table, "expect": map[string]any{"schema_version": p.version}, "changes": p.changes(p.version),
		})
		if err != nil {
			if reasonOf(err) != "" {
				s.t.Errorf("table %s, version %d: %v", p.table, p.version, err)
			}
			return
		}
		p.version = int64(answer["schema_version"].(float64))
		pause := time.NewTimer(time.Duration(rand.IntN(10)) * time.Millisecond)
		<-pause.C
	}
}

// check compares the table with what it must be behind a restart: of the version that was acknowledged or of the
// next one, and with all rows that were acknowledged in it, once, and only whole batches.
func (p *evolvingTable) check(s *server) {
	s.t.Helper()
	described := s.action("DescribeTable", map[string]any{"table": p.table})
	version := int64(described["schema_version"].(float64))
	if version != p.version && version != p.version+1 {
		s.t.Errorf("table %s has schema version %d, and %d was acknowledged", p.table, version, p.version)
	}
	p.version = version
	var words []string
	for _, item := range described["columns"].([]any) {
		column := item.(map[string]any)
		words = append(words, fmt.Sprint(column["name"], ":", column["type"]))
	}
	options, _ := described["options"].(map[string]any)
	if got := strings.Join(append(words, fmt.Sprint(options["log.ttl"])), " "); got != p.columns(version) {
		s.t.Errorf("table %s, version %d: it is %q, want %q", p.table, version, got, p.columns(version))
	}
	seen := map[int64]bool{}
	s.scan(map[string]any{"table": p.table}, func(batch arrow.RecordBatch, _ chunkMetadata) { p.checkRows(s, batch, seen) })
	for id := range p.acked * p.rows {
		if !seen[id] {
			s.t.Fatalf("table %s, version %d: row %d of %d acknowledged ones is lost", p.table, version, id, p.acked*p.rows)
		}
	}
	if n := int64(len(seen)); n%p.rows != 0 || n > p.begun*p.rows {
		s.t.Errorf("table %s, version %d: %d rows of batches of %d, of which %d were sent", p.table, version, n, p.rows, p.begun)
	}
}

// checkRows checks the values of rows, and notes their ids.
func (p *evolvingTable) checkRows(s *server, batch arrow.RecordBatch, seen map[int64]bool) {
	ids, texts := batch.Column(0).(*array.Int64), batch.Column(1).(*array.String)
	want := addedIn(p.version) % 100 // in all rows: those that are there, and those of streams that do not know it
	for row := range ids.Len() {
		id := ids.Value(row)
		if seen[id] || texts.Value(row) != rowText(id) {
			s.t.Fatalf("table %s, version %d: row %d has %q, seen %v", p.table, p.version, id, texts.Value(row), seen[id])
		}
		seen[id] = true
		if batch.NumCols() < 3 {
			continue
		}
		var value json.Number
		if err := json.Unmarshal([]byte(batch.Column(2).ValueStr(row)), &value); err != nil || value.String() != fmt.Sprint(want) {
			s.t.Fatalf("table %s, version %d: row %d has %s, want %d", p.table, p.version, id, batch.Column(2).ValueStr(row), want)
		}
	}
}

// TestKillDuringChanges kills the server with SIGKILL while the columns of its tables change and rows are written
// by streams that know the first columns alone: each change is there as a whole or not at all.
func TestKillDuringChanges(t *testing.T) {
	kills := 12
	if testing.Short() {
		kills = 3
	}
	data := filepath.Join(t.TempDir(), "data")
	s := startServer(t, data, "--segment-bytes", "65536")
	tables := []*evolvingTable{{producer: producer{table: "log", rows: 20}, version: 1}, {producer: producer{table: "keyed", rows: 7}, version: 1}}
	s.create("log", idSchema, map[string]any{"buckets": 2, "bucket_key": []string{"id"}})
	s.create("keyed", idSchema, map[string]any{"buckets": 2, "primary_key": []string{"id"}})
	few := func(p *evolvingTable) bool { return p.version < 4 || p.acked == 0 }
	for kill := 1; (kill <= kills || kill < 50 && slices.ContainsFunc(tables, few)) && !t.Failed(); kill++ {
		var running sync.WaitGroup
		for _, p := range tables {
			running.Go(func() { _ = p.run(s.client, nil) }) // it ends with the server
			running.Go(func() { p.evolve(s) })
		}
		delay := time.NewTimer(20*time.Millisecond + time.Duration(rand.IntN(300))*time.Millisecond)
		<-delay.C
		s.kill()
		running.Wait()
		s = startServer(t, data, "--segment-bytes", "65536")
		for _, p := range tables {
			p.check(s)
		}
	}
	for _, p := range tables {
		t.Logf("table %s: at least %d kills, schema version %d, %d rows", p.table, kills, p.version, p.acked*p.rows)
		if few(p) {
			t.Errorf("table %s came to version %d and %d batches: nothing was tried", p.table, p.version, p.acked)
		}
	}
	s.stop()
	if code, out, stderr := command(t, "check", data); code != 0 {
		t.Errorf("check: exit %d\n%s%s", code, out, stderr)
	}
}
