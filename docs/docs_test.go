// Package docs_test checks the tables of the documentation against the code that they describe. The
// examples are run by the Python tests beside it, in tests.
package docs_test

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/headrace/headrace/internal/config"
	"github.com/headrace/headrace/internal/model"
)

// read gives a file of the repository.
func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", filepath.FromSlash(path)))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// table gives the rows of the tables below a heading of a page, by their first cell without
// backquotes; header rows are left out.
func table(t *testing.T, page, heading string) map[string][]string {
	t.Helper()
	rows := map[string][]string{}
	inside, header := false, true
	for line := range strings.Lines(read(t, page)) {
		line = strings.TrimSpace(line)
		switch {
		case strings.HasPrefix(line, "#"):
			inside = strings.TrimLeft(line, "# ") == heading
		case !inside:
		case !strings.HasPrefix(line, "|"):
			header = true
		case strings.HasPrefix(line, "|---"):
			header = false
		case !header:
			cells := strings.Split(strings.ReplaceAll(strings.Trim(line, "|"), `\|`, "│"), "|")
			for i := range cells {
				cells[i] = strings.TrimSpace(cells[i])
			}
			name := strings.Trim(cells[0], "`")
			if rows[name] != nil {
				t.Errorf("%s: %s is there twice", page, name)
			}
			rows[name] = cells
		}
	}
	if len(rows) == 0 {
		t.Fatalf("%s has no table below the heading %q", page, heading)
	}
	return rows
}

// compareNames tells which names only the code or only the page has.
func compareNames[A, B any](t *testing.T, page string, code map[string]A, described map[string]B) {
	t.Helper()
	for _, name := range slices.Sorted(maps.Keys(code)) {
		if _, ok := described[name]; !ok {
			t.Errorf("%s does not have %s", page, name)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(described)) {
		if _, ok := code[name]; !ok {
			t.Errorf("%s has %s, and the code does not", page, name)
		}
	}
}

func TestReasonsAreDescribed(t *testing.T) {
	const page = "docs/flight-protocol.md"
	described := table(t, page, "Reasons")
	reasons := map[string]model.Reason{}
	for reason, code := range model.Reasons() {
		reasons[string(reason)] = reason
		cells := described[string(reason)]
		if cells == nil {
			continue // told below
		}
		if got := strings.Trim(cells[1], "`"); got != code {
			t.Errorf("%s: %s has the code %s, want %s", page, reason, got, code)
		}
		if got, want := cells[2] == "yes", reason.Retriable(); got != want {
			t.Errorf("%s: %s is retriable: %t, want %t", page, reason, got, want)
		}
	}
	compareNames(t, page, reasons, described)
}

func TestTableOptionsAreDescribed(t *testing.T) {
	const page = "docs/operate.md"
	described := table(t, page, "Table options")
	options := map[string]model.OptionSpec{}
	for _, option := range model.TableOptions() {
		options[option.Name] = option
		if cells := described[option.Name]; cells != nil && strings.Trim(cells[1], "`") != option.Default {
			t.Errorf("%s: the default of %s is %s, want %s", page, option.Name, cells[1], option.Default)
		}
	}
	compareNames(t, page, options, described)
}

func TestTypesAreSpelledAsTheyAreParsed(t *testing.T) {
	texts := map[string]bool{}
	for _, heading := range []string{"What is stored", "Nested types"} {
		for _, cells := range table(t, "docs/types.md", heading) {
			for _, match := range regexp.MustCompile("`([^`]+)`").FindAllStringSubmatch(cells[0], -1) {
				texts[match[1]] = true
			}
		}
	}
	for text := range texts {
		parsed, err := model.ParseType(text)
		if err != nil {
			t.Errorf("docs/types.md: %v", err)
		} else if got := model.FormatType(parsed); got != text {
			t.Errorf("docs/types.md spells %s as %s", got, text)
		}
	}
	for _, text := range model.PlainTypes() {
		if !texts[text] {
			t.Errorf("docs/types.md does not have %s", text)
		}
	}
}

func TestSettingsAreDescribed(t *testing.T) {
	const page = "docs/operate.md"
	described := table(t, page, "Settings")
	settings := map[string]config.Setting{}
	for _, setting := range config.Settings() {
		settings["--"+setting.Name] = setting
		cells := described["--"+setting.Name]
		if cells != nil && strings.Trim(cells[1], "`") != setting.Default {
			t.Errorf("%s: the default of %s is %s, want %s", page, setting.Name, cells[1], setting.Default)
		}
	}
	compareNames(t, page, settings, described)
}

func TestMetricsAreDescribed(t *testing.T) {
	names := map[string]bool{}
	for _, match := range regexp.MustCompile(`= "(headrace_\w+)"`).FindAllStringSubmatch(read(t, "internal/obs/metrics.go"), -1) {
		names[match[1]] = true
	}
	compareNames(t, "docs/operate.md", names, table(t, "docs/operate.md", "Metrics"))
}

func TestKeysOfSegmentsAreDescribed(t *testing.T) {
	page := read(t, "docs/segment-format.md")
	keys := regexp.MustCompile(`= "(headrace\.\w+)"`).FindAllStringSubmatch(read(t, "streams/segment_metadata.go"), -1)
	if len(keys) == 0 {
		t.Fatal("streams/segment_metadata.go names no keys")
	}
	for _, match := range keys {
		if !strings.Contains(page, "`"+match[1]+"`") {
			t.Errorf("docs/segment-format.md does not have %s", match[1])
		}
	}
}

func TestDependenciesAreExplained(t *testing.T) {
	explained := table(t, "ARCHITECTURE.md", "Dependencies")
	required := map[string]bool{} // and whether directly
	requirement := regexp.MustCompile(`(?m)^\t(\S+) v\S+( // indirect)?$`)
	for _, match := range requirement.FindAllStringSubmatch(read(t, "go.mod"), -1) {
		required[match[1]] = match[2] == ""
	}
	for module, direct := range required {
		if direct && explained[module] == nil {
			t.Errorf("ARCHITECTURE.md does not say why %s is needed", module)
		}
	}
	for module := range explained {
		if _, ok := required[module]; !ok {
			t.Errorf("ARCHITECTURE.md explains %s, which go.mod does not require", module)
		}
	}
}

// mention is a file of Go code, or a function, method or type in one, as ARCHITECTURE.md names it:
// `internal/engine/commit.go:Engine.commit`.
var mention = regexp.MustCompile("`((?:[a-z_]+/)+[a-z_]+\\.go)(?::([A-Za-z.]+))?`")

func TestArchitectureNamesWhatIsThere(t *testing.T) {
	mentions := mention.FindAllStringSubmatch(read(t, "ARCHITECTURE.md"), -1)
	if len(mentions) == 0 {
		t.Fatal("ARCHITECTURE.md names no code")
	}
	for _, found := range mentions {
		path, name := found[1], found[2]
		text, err := os.ReadFile(filepath.Join("..", filepath.FromSlash(path)))
		if err != nil {
			t.Errorf("ARCHITECTURE.md names %s: %v", path, err)
			continue
		}
		if name != "" && !declaration(name).Match(text) {
			t.Errorf("ARCHITECTURE.md names %s in %s, which does not declare it", name, path)
		}
	}
}

// declaration finds where a function, a method (Type.method) or a type is declared.
func declaration(name string) *regexp.Regexp {
	if of, method, ok := strings.Cut(name, "."); ok {
		return regexp.MustCompile(fmt.Sprintf(`(?m)^func \(\w+ \*?%s(?:\[\w+\])?\) %s\(`, of, method))
	}
	return regexp.MustCompile(fmt.Sprintf(`(?m)^(?:func %[1]s[\[(]|type %[1]s[ \[]|\t?%[1]s +=|const %[1]s )`, name))
}
