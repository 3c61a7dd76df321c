package tidy

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// exceptions are the faults that are meant, by rule and place, with the reason. A place is
// "file" or "file:function".
var exceptions = map[string]map[string]string{}

// fault is one breach of a rule.
type fault struct {
	rule  string
	place string // file, or file:function; what exceptions name
	line  int
	text  string
}

// source is one parsed Go file.
type source struct {
	rel    string // path below the root of the repository
	pkg    string // its folder
	isTest bool
	lines  int
	fset   *token.FileSet
	file   *ast.File
	// imported gives import paths by the name that the file uses.
	imported map[string]string
}

func TestTidy(t *testing.T) {
	var faults []fault
	sources := map[string][]*source{}
	walk(t, func(rel string, text []byte) {
		faults = append(faults, checkText(rel, text)...)
		if !strings.HasSuffix(rel, ".go") {
			return
		}
		src, err := parse(rel, text)
		if err != nil {
			t.Errorf("%s: %v", rel, err)
			return
		}
		sources[src.pkg] = append(sources[src.pkg], src)
		faults = append(faults, checkSource(src)...)
	})
	if len(sources["internal/tidy"]) == 0 {
		t.Fatal("the walk did not find this package: it looks at the wrong folder")
	}
	for pkg, files := range sources {
		faults = append(faults, checkPackage(pkg, files)...)
	}
	for _, f := range report(faults, exceptions) {
		t.Error(f)
	}
}

// walk visits every text file of the repository that people write.
func walk(t *testing.T, visit func(rel string, text []byte)) {
	t.Helper()
	root := filepath.Join("..", "..")
	err := filepath.WalkDir(root, func(at string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel := filepath.ToSlash(strings.TrimPrefix(at, root+string(filepath.Separator)))
		if d.IsDir() {
			if at != root && skipped(rel) {
				return filepath.SkipDir
			}
			return nil
		}
		if !d.Type().IsRegular() || !written(rel) {
			return nil
		}
		text, err := os.ReadFile(at)
		if err == nil {
			visit(rel, text)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// skipped says whether a folder holds nothing that people write.
func skipped(rel string) bool {
	switch path.Base(rel) {
	case "testdata", "node_modules", "__pycache__", "dist":
		return true
	}
	return rel == "bin" || rel == "build" || rel == "data" ||
		strings.HasPrefix(path.Base(rel), ".") && rel != ".ci" && rel != ".github"
}

// written says whether a file is text that people write.
func written(rel string) bool {
	suffixes := []string{".go", ".py", ".pyi", ".md", ".toml", ".yaml", ".yml", ".sh", ".mod", ".txt", ".html"}
	return slices.Contains(suffixes, path.Ext(rel)) || path.Ext(rel) == "" && rel != "LICENSE"
}

func parse(rel string, text []byte) (*source, error) {
	fset := token.NewFileSet()
	file, err := parser.ParseFile(fset, rel, text, parser.ParseComments)
	if err != nil {
		return nil, err
	}
	src := &source{
		rel: rel, pkg: path.Dir(rel), isTest: strings.HasSuffix(rel, "_test.go"),
		lines: strings.Count(string(text), "\n"), fset: fset, file: file, imported: map[string]string{},
	}
	for _, spec := range file.Imports {
		imported := strings.Trim(spec.Path.Value, `"`)
		name := path.Base(imported)
		if isVersion(name) {
			name = path.Base(path.Dir(imported))
		}
		if spec.Name != nil {
			name = spec.Name.Name
		}
		src.imported[name] = imported
	}
	return src, nil
}

// isVersion says whether the last part of an import path is a major version, as in math/rand/v2.
func isVersion(name string) bool {
	return len(name) > 1 && name[0] == 'v' && strings.Trim(name[1:], "0123456789") == ""
}

func (s *source) line(node ast.Node) int { return s.fset.Position(node.Pos()).Line }

func (s *source) fault(rule string, node ast.Node, format string, args ...any) fault {
	return fault{rule: rule, place: s.rel, line: s.line(node), text: fmt.Sprintf(format, args...)}
}

// checkSource checks one file by all rules for files.
func checkSource(src *source) []fault {
	return slices.Concat(checkShape(src), checkDocs(src), checkImports(src), checkCalls(src), checkMarkers(src))
}

// checkPackage checks that one of the files of a package says what the package is.
func checkPackage(pkg string, files []*source) []fault {
	for _, src := range files {
		if src.file.Doc != nil {
			return nil
		}
	}
	return []fault{{rule: "doc", place: pkg, text: "no package comment"}}
}

// report drops the faults that are excepted, adds the exceptions that nothing needs, and gives the
// rest as lines in the order of the files.
func report(faults []fault, excepted map[string]map[string]string) []string {
	used := map[string]bool{}
	var lines []string
	for _, f := range faults {
		if _, ok := excepted[f.rule][f.place]; ok {
			used[f.rule+" "+f.place] = true
			continue
		}
		place := f.place
		if f.line > 0 {
			file, function, _ := strings.Cut(f.place, ":")
			place = strings.TrimSuffix(fmt.Sprintf("%s:%d %s", file, f.line, function), " ")
		}
		lines = append(lines, fmt.Sprintf("%s: %s (%s)", place, f.text, f.rule))
	}
	for rule, places := range excepted {
		for place, reason := range places {
			if !used[rule+" "+place] {
				lines = append(lines, fmt.Sprintf("%s: nothing needs the exception from %s any more (exception)", place, rule))
			}
			if reason == "" {
				lines = append(lines, fmt.Sprintf("%s: the exception from %s has no reason (exception)", place, rule))
			}
		}
	}
	slices.Sort(lines)
	return lines
}
