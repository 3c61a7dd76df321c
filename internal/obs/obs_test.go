package obs

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
)

func TestSecretsAreNeverShown(t *testing.T) {
	type config struct {
		Token Secret `json:"token"`
		None  Secret `json:"none"`
	}
	c := config{Token: "marker"}
	encoded, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	logger, err := NewLogger(&log, LogOptions{Level: "debug", Format: "json"})
	if err != nil {
		t.Fatal(err)
	}
	logger.Debug("started", "token", c.Token, "config", c)
	for _, shown := range []string{
		string(encoded), log.String(), fmt.Sprint(c), fmt.Sprintf("%v %+v %#v %s %q", c.Token, c, c, c.Token, c.Token),
	} {
		if strings.Contains(shown, "marker") || !strings.Contains(shown, redacted) {
			t.Errorf("shown as %s", shown)
		}
	}
	if c.Token.Reveal() != "marker" || string(encoded) != `{"token":"***","none":""}` {
		t.Errorf("%s", encoded)
	}
}

func TestLoggers(t *testing.T) {
	for _, options := range []LogOptions{{}, {Level: "warn"}, {Format: "JSON"}, {Level: "ERROR", Format: "text"}} {
		if _, err := NewLogger(&bytes.Buffer{}, options); err != nil {
			t.Errorf("%+v: %v", options, err)
		}
	}
	for _, options := range []LogOptions{{Level: "loud"}, {Format: "xml"}} {
		if _, err := NewLogger(&bytes.Buffer{}, options); err == nil {
			t.Errorf("%+v was accepted", options)
		}
	}
}

func TestMetricsCanBeGathered(t *testing.T) {
	m := NewMetrics("v1")
	m.RPCs.WithLabelValues("DoGet", "OK").Inc()
	families, err := m.Registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	names := map[string]bool{}
	for _, family := range families {
		names[family.GetName()] = true
	}
	for _, name := range []string{MetricRPCs, MetricConnections, MetricPutRows, MetricGetBytes, MetricAuthFailures, MetricBuildInfo, "go_goroutines"} {
		if !names[name] {
			t.Errorf("%s is missing", name)
		}
	}
}
