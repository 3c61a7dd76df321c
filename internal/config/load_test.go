package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func writeFile(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "headrace.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

var defaults = Config{
	Data: "./data", Listen: "127.0.0.1:8815", Admin: "127.0.0.1:8816",
	SegmentBytes: 256 << 20, LogLevel: "info", LogFormat: "text",
}

func TestLaterSourcesWin(t *testing.T) {
	path := writeFile(t, "data: /a\nlisten: 127.0.0.1:1\nadmin:\nlog-level: warn\ninsecure: true\nsegment-bytes: 1048576\n")
	loaded, err := Load(Sources{
		File:        path,
		Environment: []string{"HEADRACE_LISTEN=127.0.0.1:2", "HEADRACE_LOG_LEVEL=error", "HEADRACE_PORT=tcp://x", "HEADRACE_TOKEN=hidden", "PATH=/bin"},
		Flags:       map[string]string{"log-level": "debug"},
	})
	if err != nil {
		t.Fatal(err)
	}
	want := defaults
	want.Data, want.Listen, want.Admin, want.LogLevel, want.Insecure, want.SegmentBytes = "/a", "127.0.0.1:2", "", "debug", true, 1<<20
	if loaded.Config != want {
		t.Errorf("got %+v, want %+v", loaded.Config, want)
	}
	var printed strings.Builder
	if err := loaded.Print(&printed); err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{"data: /a", "# " + path, "# environment", "log-level: debug", "# flag", "log-format: text", "# default"} {
		if !strings.Contains(printed.String(), line) {
			t.Errorf("printed without %q:\n%s", line, printed.String())
		}
	}
	if strings.Contains(printed.String(), "hidden") {
		t.Errorf("a token is printed:\n%s", printed.String())
	}
	again, err := Load(Sources{File: writeFile(t, printed.String())})
	if err != nil || again.Config != want {
		t.Errorf("what is printed is read as %+v, %v", again.Config, err)
	}
}

func TestDefaults(t *testing.T) {
	loaded, err := Load(Sources{})
	if err != nil || loaded.Config != defaults {
		t.Errorf("got %+v, %v", loaded.Config, err)
	}
}

func TestFaultsComeTogether(t *testing.T) {
	path := writeFile(t, "lisen: x\nlog-level: loud\nsegment-bytes: 1\ndata: [a]\nquite-unlike-any: 1\n")
	_, err := Load(Sources{File: path, Environment: []string{"HEADRACE_INSECURE=maybe"}})
	if err == nil {
		t.Fatal("no error")
	}
	for _, want := range []string{
		"lisen (" + path + "): there is no such setting; did you mean listen?", `got "loud", want one of debug, info, warn, error`,
		"segment-bytes (" + path + "): got 1, want 64KiB to 16GiB", "data (" + path + "): got several values, want one",
		"quite-unlike-any (" + path + "): there is no such setting; there are data,", `insecure (environment): got "maybe"`,
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%v\ndoes not say %s", err, want)
		}
	}
}

func TestRowCacheBytes(t *testing.T) {
	for text, want := range map[string]int64{"": 0, "0": -1, "1MiB": 1 << 20, "2GiB": 2 << 30} {
		loaded, err := Load(Sources{Flags: map[string]string{"row-cache-bytes": text}})
		if err != nil || loaded.Config.RowCacheBytes != want {
			t.Errorf("%q: got %d and %v, want %d", text, loaded.Config.RowCacheBytes, err, want)
		}
	}
}

func TestSettingsThatDoNotFitTogether(t *testing.T) {
	for name, c := range map[string]struct {
		flags map[string]string
		want  string
	}{
		"certificate without key": {map[string]string{"tls-cert": "c"}, "tls-cert and tls-key"},
		"client CA without TLS":   {map[string]string{"tls-client-ca": "c"}, "tls-client-ca: it needs"},
		"address without port":    {map[string]string{"listen": "localhost"}, `listen: got "localhost"`},
		"no address":              {map[string]string{"listen": ""}, "listen: got"},
		"a tiny cache":            {map[string]string{"row-cache-bytes": "1KB"}, "got 1KB, want 0 for none, or 1MiB and more"},
		"a cache of no size":      {map[string]string{"row-cache-bytes": "much"}, "want a size such as 512MiB, or 0"},
		"no folder":               {map[string]string{"data": ""}, "data: the folder is empty"},
	} {
		if _, err := Load(Sources{Flags: c.flags}); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %s", name, err, c.want)
		}
	}
	if _, err := Load(Sources{File: "no/such/file.yaml"}); err == nil || !strings.Contains(err.Error(), "no/such/file.yaml") {
		t.Errorf("a missing file: got %v", err)
	}
	if _, err := Load(Sources{File: writeFile(t, "a: [")}); err == nil {
		t.Error("a broken file gives no error")
	}
}
