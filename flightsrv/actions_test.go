package flightsrv

import (
	"encoding/json"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow/flight"
	"github.com/cockroachdb/datadriven"
)

// volatile is what differs from run to run in results: ids, times, sizes and schemas in base64.
var volatile = []struct {
	pattern *regexp.Regexp
	text    string
}{
	{regexp.MustCompile(`\b[0-9A-HJKMNP-TV-Z]{26}\b`), `ID`},
	{regexp.MustCompile(`"\d{4}-\d\d-\d\dT[^"]*Z"`), `"TIME"`},
	{regexp.MustCompile(`"((raw_)?bytes)":[1-9]\d*`), `"$1":N`},
	{regexp.MustCompile(`"progress":[^}]*`), `"progress":N`},
	{regexp.MustCompile(`"schema":"[^"]*"`), `"schema":"BASE64"`},
}

// The scripts in testdata/actions run one action a command: its name and body, then its results.
// The command put appends rows of a table with the one column id.
func TestActions(t *testing.T) {
	datadriven.Walk(t, "testdata/actions", func(t *testing.T, path string) {
		s := startServer(t, nil)
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			if d.Cmd == "put" {
				var table string
				var n int64
				d.ScanArgs(t, "table", &table)
				d.ScanArgs(t, "rows", &n)
				s.put(t, table, rows(0, n))
				return "ok"
			}
			results, err := s.action(t.Context(), d.Cmd, d.Input)
			out := strings.Join(results, "\n")
			if err != nil {
				out += strings.Replace(err.Error(), "rpc error: ", "", 1)
			}
			for _, v := range volatile {
				out = v.pattern.ReplaceAllString(out, v.text)
			}
			return out
		})
	})
}

func TestListActionsDescribesAll(t *testing.T) {
	s := startServer(t, nil)
	stream, err := s.client.ListActions(t.Context(), &flight.Empty{})
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for {
		a, err := stream.Recv()
		if err != nil {
			break
		}
		names = append(names, a.Type)
		var schema struct {
			Title, Description string
			Properties         map[string]any
		}
		switch a.Type {
		case "CancelFlightInfo", "RenewFlightEndpoint": // Flight's own, in protobuf
			continue
		}
		if err := json.Unmarshal([]byte(a.Description), &schema); err != nil || schema.Title != a.Type || schema.Description == "" {
			t.Errorf("%s: %s, %v", a.Type, a.Description, err)
		}
		if a.Type == "CreateTable" && (schema.Properties["bucket_key"] == nil || schema.Properties["columns"] == nil) {
			t.Errorf("CreateTable: %s", a.Description)
		}
	}
	for _, name := range []string{
		"ServerInfo", "ListOptions", "CreateDatabase", "DropDatabase", "ListDatabases", "CreateTable", "AlterTable", "DescribeTable",
		"DropTable", "UndropTable", "RenameTable", "TruncateTable", "TableStats", "ListOffsets", "Flush", "WaitFor", "OpenProducer",
		"ListProducers", "CancelPlan", "ListPlans", "Drain", "CancelFlightInfo", "RenewFlightEndpoint",
		"JoinGroup", "Heartbeat", "LeaveGroup", "CommitPosition", "Positions", "ResetPosition", "ListGroups", "DropGroup",
	} {
		if !slices.Contains(names, name) {
			t.Errorf("%s is not listed", name)
		}
	}
}

// Every action refuses a field that it does not know, and none panics on a body of another shape.
func TestActionsRefuseWrongBodies(t *testing.T) {
	s := startServer(t, nil)
	for name := range s.service.actions {
		for _, body := range []string{`{"surely_unknown":1}`, `[]`, `"x"`, `{`, `{} {}`, "\x0a\xff"} {
			if _, err := s.action(t.Context(), name, body); err == nil || !strings.Contains(err.Error(), "BAD_REQUEST") {
				t.Errorf("%s %s: %v, want BAD_REQUEST", name, body, err)
			}
		}
	}
}
