package tidy

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// faultCases are files with what tidy has to say about them.
var faultCases = []struct {
	name, rel, text string
	want            []string
}{
	{"clean", "streams/a.go", "// Package streams is fine.\npackage streams\n\n// Exported is fine.\nfunc Exported(a, b, c, d, e int) {}\n", nil},
	{"five hundred lines", "streams/a.go", "package streams\n" + strings.Repeat("\n", 499), nil},
	{"a long file", "streams/a.go", "package streams\n" + strings.Repeat("\n", 500), []string{"file-length"}},
	{"a long test file", "streams/a_test.go", "package streams\n" + strings.Repeat("\n", 500), nil},
	{"a too long test file", "streams/a_test.go", "package streams\n" + strings.Repeat("\n", 800), []string{"file-length"}},
	{"seventy lines", "streams/a.go", "package streams\nfunc f() {\n" + strings.Repeat("\n", 68) + "}\n", nil},
	{"a long function", "streams/a.go", "package streams\nfunc f() {\n" + strings.Repeat("\n", 69) + "}\n", []string{"func-length"}},
	{"fifteen branches", "streams/a.go", "package streams\nfunc f(a bool) {\n_ = a" + strings.Repeat(" && a", 14) + "\n}\n", nil},
	{"a branch too many", "streams/a.go", "package streams\nfunc f(a bool) {\n_ = a" + strings.Repeat(" || a", 15) + "\n}\n", []string{"complexity"}},
	{"branches of all kinds", "streams/a.go", "package streams\nfunc f(a bool, c chan int) {\nfunc() {\nif a {}\nfor {}\nfor range c {}\n" +
		"switch {\ncase a:\ncase a && a:\ndefault:\n}\nselect {\ncase <-c:\ndefault:\n}\n" + strings.Repeat("if a {}\n", 7) + "}()\n}\n", nil},
	{"and one too many", "streams/a.go", "package streams\nfunc f(a bool, c chan int) {\nfunc() {\nif a {}\nfor {}\nfor range c {}\n" +
		"switch {\ncase a:\ncase a && a:\ndefault:\n}\nselect {\ncase <-c:\ndefault:\n}\n" + strings.Repeat("if a {}\n", 8) + "}()\n}\n", []string{"complexity"}},
	{"five deep", "streams/a.go", "package streams\nfunc f(a bool) {\n" + strings.Repeat("if a {\n", 5) + strings.Repeat("}\n", 5) + "}\n", nil},
	{"six deep", "streams/a.go", "package streams\nfunc f(a bool) {\n" + strings.Repeat("for a {\n", 6) + strings.Repeat("}\n", 6) + "}\n", []string{"nesting"}},
	{"else-ifs side by side", "streams/a.go", "package streams\nfunc f(a bool) {\nif a {" + strings.Repeat("\n} else if a {", 8) + "\n} else {\n}\n}\n", nil},
	{"six deep through an else", "streams/a.go", "package streams\nfunc f(a bool) {\nif a {\n} else {\n" + strings.Repeat("switch {\ncase a:\n", 5) + strings.Repeat("}\n", 5) + "}\n}\n", []string{"nesting"}},
	{"six parameters", "streams/a.go", "package streams\nfunc f(a, b, c int, d, e, f string) {}\n", []string{"parameters"}},
	{"contexts and tests are no parameters", "streams/a_test.go", "package streams\nimport \"context\"\nimport \"testing\"\nfunc f(t *testing.T, c context.Context, a, b, d, e, g int, tb testing.TB) {}\n", nil},
	{"undocumented names", "streams/a.go", "package streams\nfunc F() {}\ntype T int\nfunc (t *T) M() {}\ntype u int\nfunc (u) M() {}\nvar V int\nconst (\nC = 1\nd = 2\n)\n", []string{"doc", "doc", "doc", "doc", "doc"}},
	{"a documented group", "streams/a.go", "package streams\n// These are C.\nconst (\nC = 1\nD = 2\n)\n", nil},
	{"a sibling", "streams/a.go", "package streams\nimport _ \"github.com/headrace/headrace/replication\"\n", []string{"layer"}},
	{"upwards", "internal/model/a.go", "package model\nimport _ \"github.com/headrace/headrace/internal/vfs\"\n", []string{"layer"}},
	{"downwards", "internal/engine/a.go", "package engine\nimport _ \"github.com/headrace/headrace/streams\"\n", nil},
	{"its own folder", "streams/index/a.go", "package index\nimport _ \"github.com/headrace/headrace/streams/segment\"\n", nil},
	{"an edge past the engine", "flightsrv/a.go", "package flightsrv\nimport _ \"github.com/headrace/headrace/streams\"\n", []string{"layer"}},
	{"a folder of no layer", "extra/a.go", "package extra\nimport _ \"github.com/headrace/headrace/streams\"\n", []string{"layer"}},
	{"another's library", "streams/a.go", "package streams\nimport _ \"github.com/dgraph-io/badger/v4\"\n", []string{"restricted"}},
	{"its own library", "pkstore/a.go", "package pkstore\nimport _ \"github.com/dgraph-io/badger/v4\"\n", nil},
	{"the machine's clock", "streams/a.go", "package streams\nimport \"time\"\nvar a, b = time.Now(), time.After(time.Second)\n", []string{"restricted", "restricted"}},
	{"the clock itself", "internal/model/clock.go", "package model\nimport \"time\"\nvar a = time.Now()\n", nil},
	{"a clock in a test", "streams/a_test.go", "package streams\nimport \"time\"\nvar a = time.Now()\n", nil},
	{"a file by another name", "internal/engine/a.go", "package engine\nimport system \"os\"\nvar a, b = system.Open(\"\")\n", []string{"restricted"}},
	{"chance", "streams/a.go", "package streams\nimport \"math/rand/v2\"\nvar a = rand.Int()\n", []string{"restricted"}},
	{"an end", "flightsrv/a.go", "package flightsrv\nimport (\n\"log\"\n\"os\"\n)\nfunc f() { os.Exit(1); log.Fatalf(\"\") }\n", []string{"restricted", "restricted"}},
	{"an end in cmd", "cmd/headrace/a.go", "package main\nimport \"os\"\nfunc f() { os.Exit(1) }\n", nil},
	{"a sleep", "cmd/headrace/a_test.go", "package main\nimport \"time\"\nfunc f() { time.Sleep(1) }\n", []string{"sleep"}},
	{"an init", "cmd/headrace/a.go", "package main\nfunc init() {}\n", []string{"init"}},
	{"a marker", "streams/a.go", "package streams\n// TO" + "DO: later\n", []string{"marker"}},
	{"a machine's path", "streams/a.go", "package streams\nvar a = \"/wo" + "rk/main\"\n", []string{"machine"}},
	{"a path that only looks like it", "streams/a.go", "package streams\nvar a = \"bench/wo" + "rk/main\"\n", nil},
	{"a registry", "docs/a.md", "Get it from https://py" + "pi.org/simple.\n", []string{"machine"}},
}

func TestTidyFindsFaults(t *testing.T) {
	for _, c := range faultCases {
		faults := checkText(c.rel, []byte(c.text))
		if strings.HasSuffix(c.rel, ".go") {
			src, err := parse(c.rel, []byte(c.text))
			if err != nil {
				t.Errorf("%s: %v", c.name, err)
				continue
			}
			faults = append(faults, checkSource(src)...)
		}
		var got []string
		for _, f := range faults {
			got = append(got, f.rule)
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: %v, want %v", c.name, report(faults, nil), c.want)
		}
	}
}

func TestTidyWantsAPackageComment(t *testing.T) {
	for text, want := range map[string]int{"package a": 1, "// Package a is.\npackage a": 0} {
		src, err := parse("a/a.go", []byte(text))
		if err != nil {
			t.Fatal(err)
		}
		if got := checkPackage("a", []*source{src}); len(got) != want {
			t.Errorf("%q: %v", text, got)
		}
	}
}

func TestTidyReportsByException(t *testing.T) {
	faults := []fault{
		{rule: "complexity", place: "a.go:f", line: 3, text: "20"},
		{rule: "complexity", place: "a.go:g", line: 9, text: "21"},
	}
	got := report(faults, map[string]map[string]string{
		"complexity": {"a.go:f": "a table in disguise", "a.go:h": "gone"},
		"nesting":    {"a.go:f": ""},
	})
	want := []string{
		"a.go:9 g: 21 (complexity)",
		"a.go:f: nothing needs the exception from nesting any more (exception)",
		"a.go:f: the exception from nesting has no reason (exception)",
		"a.go:h: nothing needs the exception from complexity any more (exception)",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %s", fmt.Sprintf("%q", got))
	}
}
