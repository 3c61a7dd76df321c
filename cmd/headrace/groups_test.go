package main

import (
	"encoding/json"
	"strings"
	"testing"
)

// TestGroups shows, moves and drops groups that other clients have made.
func TestGroups(t *testing.T) {
	c := terminal{t: t, uri: startServer(t)}
	c.must("create", "web.clicks", "--columns", "id int64, name string", "--buckets", "3")
	c.must("put", "web.clicks", writeCSV(t, 100))
	if out := c.must("groups"); out != "" {
		t.Errorf("groups without any: %s", out)
	}
	p := &program{server: c.uri}
	err := p.withClient(func(client *client) error {
		request := map[string]any{"table": "web.clicks", "group": "billing", "member": "worker-1", "start": "earliest"}
		return client.action(t.Context(), "JoinGroup", request, nil)
	})
	if err != nil {
		t.Fatal(err)
	}
	for line, want := range map[string][]string{
		"groups":                    {"TABLE", "web.clicks  billing  100  1        1"},
		"groups web.*":              {"web.clicks  billing"},
		"groups web.clicks billing": {"worker-1", "30s", "0-2", "lag         100", "BUCKET  COMMITTED  END  LAG  MEMBER"},
		"status":                    {"billing"},
		"status --json":             {`"groups":[{"group":"billing","table":"web.clicks","generation":1,"lag":100,`},
		"groups web.clicks --json":  {`"members":[{"member":"worker-1","generation":1,"session_ms":30000,`},
	} {
		out := c.must(strings.Fields(line)...)
		for _, text := range want {
			if !strings.Contains(out, text) {
				t.Errorf("headrace %s without %q:\n%s", line, text, out)
			}
		}
	}
	if code, _, _ := c.run("groups", "web.clicks", "billing", "--reset", "latest"); code != exitUsage {
		t.Errorf("reset without an answer: exit code %d", code)
	}
	var at groupPositions
	if err := json.Unmarshal([]byte(c.must("groups", "web.clicks", "billing", "--reset", "latest", "--yes", "--json")), &at); err != nil || at.Position.Offsets[0]+at.Position.Offsets[1]+at.Position.Offsets[2] != 100 {
		t.Errorf("reset: %+v, %v", at, err)
	}
	if out := c.must("groups", "web.clicks", "billing", "--reset", "1h", "--yes"); !strings.Contains(out, "lag         100") {
		t.Errorf("reset to an hour ago:\n%s", out)
	}
	c.must("groups", "web.clicks", "billing", "--drop", "--yes")
	if code, _, errs := c.run("groups", "web.clicks", "billing"); code != exitFailed || !strings.HasPrefix(errs, "GROUP_NOT_FOUND: ") {
		t.Errorf("a group that was dropped: exit code %d, errors %q", code, errs)
	}
}

func TestFormatBuckets(t *testing.T) {
	for want, buckets := range map[string][]int32{
		"": nil, "3": {3}, "0-2": {0, 1, 2}, "0, 2-3, 9": {0, 2, 3, 9},
	} {
		if got := formatBuckets(buckets); got != want {
			t.Errorf("%v is written %q, want %q", buckets, got, want)
		}
	}
}
