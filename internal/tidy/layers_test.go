package tidy

import (
	"go/ast"
	"strings"
)

const module = "github.com/headrace/headrace/"

// The packages that the layers name together.
var (
	words  = []string{"internal/model", "internal/vfs"}
	common = []string{"internal/model", "internal/vfs", "internal/arrowipc", "internal/obs", "internal/config", "internal/auth"}
	// stores are siblings: none imports another, they meet in internal/engine.
	stores = []string{"streams", "pkstore", "lancetier", "replication"}
	// core packages take their files from vfs.FS, their time from model.Clock and their chance from
	// who calls, so that a test decides about all three.
	core = append([]string{"internal/model", "internal/arrowipc", "internal/filter", "internal/engine"}, stores...)
)

// layers says which packages of ours a folder, and all below it, may import. "" stands for all. A
// package may always import those below its own folder.
var layers = map[string][]string{
	"internal/model":     {},
	"internal/vfs":       {"internal/model"},
	"internal/obs":       words,
	"internal/auth":      words,
	"internal/config":    words,
	"internal/tidy":      {},
	"internal/arrowipc":  {"internal/model"},
	"internal/filter":    {"internal/model", "internal/arrowipc"},
	"streams":            common,
	"pkstore":            common,
	"lancetier":          common,
	"replication":        common,
	"internal/sqlworker": common,
	"internal/engine":    append(append([]string{"internal/filter", "internal/sqlworker"}, common...), stores...),
	"internal/sim":       {""},
	"flightsrv":          append([]string{"internal/engine", "internal/filter", "internal/sqlworker"}, common...),
	"cmd":                {"flightsrv", "internal"},
	"e2e":                {"internal/model"},
	"bench":              {""},
}

// restrictedImports are import paths, and all below them, that only some folders may use, and why.
var restrictedImports = map[string]struct {
	only []string
	why  string
}{
	"github.com/dgraph-io/badger": {[]string{"pkstore"}, "one owner of keyed state"},
	"github.com/nats-io":          {[]string{"replication"}, "one owner of the wire between nodes"},
	"github.com/marcboeker":       {[]string{"internal/sqlworker"}, "SQL runs in a process of its own"},
	"github.com/duckdb":           {[]string{"internal/sqlworker"}, "SQL runs in a process of its own"},
	"golang.org/x/sys/unix":       {[]string{"internal/vfs", "cmd", "bench", "internal/sqlworker"}, "system calls on files go through vfs.FS"},
}

// restrictedCalls are names of packages that core packages may not use outside tests, and why. ""
// stands for the whole package.
var restrictedCalls = map[string]struct {
	names []string
	why   string
}{
	"os":           {[]string{""}, "files go through vfs.FS"},
	"io/ioutil":    {[]string{""}, "files go through vfs.FS"},
	"syscall":      {[]string{""}, "files go through vfs.FS"},
	"math/rand":    {[]string{""}, "chance comes from who calls"},
	"math/rand/v2": {[]string{""}, "chance comes from who calls"},
	"time": {[]string{"Now", "After", "AfterFunc", "NewTimer", "NewTicker", "Tick", "Sleep", "Since", "Until"},
		"time comes from a model.Clock"},
}

// callExceptions are files of core packages that may use what others may not.
var callExceptions = map[string]string{
	"internal/model/clock.go": "is the clock of the machine",
}

// within says whether pkg is one of the folders or lies below one; "" is above all.
func within(pkg string, folders []string) bool {
	for _, folder := range folders {
		if folder == "" || pkg == folder || strings.HasPrefix(pkg, folder+"/") {
			return true
		}
	}
	return false
}

// checkImports checks what a file imports. Tests may import what they need from other layers of
// ours, as long as Go finds no circle.
func checkImports(src *source) []fault {
	var faults []fault
	for _, spec := range src.file.Imports {
		imported := strings.Trim(spec.Path.Value, `"`)
		for prefix, rule := range restrictedImports {
			if within(imported, []string{prefix}) && !within(src.pkg, rule.only) {
				faults = append(faults, src.fault("restricted", spec, "imports %s, which is for %s only: %s", imported, strings.Join(rule.only, ", "), rule.why))
			}
		}
		if ours, ok := strings.CutPrefix(imported, module); ok && !src.isTest && !mayImport(src.pkg, ours) {
			faults = append(faults, src.fault("layer", spec, "%s may not import %s", src.pkg, ours))
		}
	}
	return faults
}

// mayImport looks the folder of pkg up, or the nearest one above it, in layers.
func mayImport(pkg, imported string) bool {
	for folder := pkg; folder != ""; {
		if allowed, ok := layers[folder]; ok {
			return within(imported, append([]string{folder}, allowed...))
		}
		cut := strings.LastIndexByte(folder, '/')
		folder = folder[:max(cut, 0)]
	}
	return false
}

// checkCalls checks the names of other packages that a file uses.
func checkCalls(src *source) []fault {
	var faults []fault
	_, excepted := callExceptions[src.rel]
	ast.Inspect(src.file, func(node ast.Node) bool {
		selector, ok := node.(*ast.SelectorExpr)
		if !ok {
			return true
		}
		from, ok := selector.X.(*ast.Ident)
		if !ok || src.imported[from.Name] == "" {
			return true
		}
		used := src.imported[from.Name]
		name := used + "." + selector.Sel.Name
		if src.isTest {
			if name == "time.Sleep" {
				faults = append(faults, src.fault("sleep", selector, "time.Sleep: wait for a condition, or use testing/synctest"))
			}
			return true
		}
		rule, ok := restrictedCalls[used]
		if ok && !excepted && within(src.pkg, core) && named(rule.names, selector.Sel.Name) {
			faults = append(faults, src.fault("restricted", selector, "%s: %s", name, rule.why))
		}
		if endsProcess(name) && !within(src.pkg, []string{"cmd"}) {
			faults = append(faults, src.fault("restricted", selector, "%s: only cmd ends the process", name))
		}
		return true
	})
	return faults
}

func named(names []string, name string) bool {
	for _, n := range names {
		if n == "" || n == name {
			return true
		}
	}
	return false
}

func endsProcess(name string) bool {
	return name == "os.Exit" || strings.HasPrefix(name, "log.Fatal") || strings.HasPrefix(name, "log.Panic")
}
