package tidy

import (
	"fmt"
	"go/ast"
	"go/token"
	"regexp"
	"strings"
)

const (
	fileLinesMax     = 500
	testFileLinesMax = 800
	funcLinesMax     = 70
	complexityMax    = 15
	nestingMax       = 5
	parametersMax    = 5

	// A test is a straight list of steps, each with its check, or a table of cases: longer than other
	// functions, and no harder to read for it.
	testFuncLinesMax  = 100
	testComplexityMax = 25
)

// checkShape checks the lengths, complexity, nesting and parameters of a file and its functions.
func checkShape(src *source) []fault {
	var faults []fault
	most, funcLines, branches := fileLinesMax, funcLinesMax, complexityMax
	if src.isTest {
		most, funcLines, branches = testFileLinesMax, testFuncLinesMax, testComplexityMax
	}
	if src.lines > most {
		faults = append(faults, fault{rule: "file-length", place: src.rel, text: fmt.Sprintf("%d lines, want at most %d", src.lines, most)})
	}
	for _, decl := range src.file.Decls {
		f, ok := decl.(*ast.FuncDecl)
		if !ok {
			continue
		}
		if f.Name.Name == "init" && f.Recv == nil {
			faults = append(faults, src.fault("init", f, "func init runs unasked; call what it does"))
		}
		measures := []struct {
			rule      string
			got, most int
			unit      string
		}{
			{"func-length", src.fset.Position(f.End()).Line - src.line(f) + 1, funcLines, "lines"},
			{"complexity", complexity(f), branches, "branches"},
			{"nesting", nesting(f.Body), nestingMax, "levels of nesting"},
			{"parameters", src.parameters(f), parametersMax, "parameters"},
		}
		for _, m := range measures {
			if m.got > m.most {
				found := src.fault(m.rule, f, "%d %s, want at most %d", m.got, m.unit, m.most)
				found.place += ":" + funcName(f)
				faults = append(faults, found)
			}
		}
	}
	return faults
}

// funcName gives the name of a function, with its receiver's type before it.
func funcName(f *ast.FuncDecl) string {
	if f.Recv == nil {
		return f.Name.Name
	}
	return receiver(f) + "." + f.Name.Name
}

// receiver gives the name of the type that a method belongs to.
func receiver(f *ast.FuncDecl) string {
	of := f.Recv.List[0].Type
	for {
		switch typed := of.(type) {
		case *ast.StarExpr:
			of = typed.X
		case *ast.IndexExpr:
			of = typed.X
		case *ast.IndexListExpr:
			of = typed.X
		case *ast.Ident:
			return typed.Name
		default:
			return ""
		}
	}
}

func complexity(f *ast.FuncDecl) int {
	count := 1
	ast.Inspect(f, func(node ast.Node) bool {
		switch node := node.(type) {
		case *ast.IfStmt, *ast.ForStmt, *ast.RangeStmt:
			count++
		case *ast.CaseClause:
			if node.List != nil {
				count++
			}
		case *ast.CommClause:
			if node.Comm != nil {
				count++
			}
		case *ast.BinaryExpr:
			if node.Op == token.LAND || node.Op == token.LOR {
				count++
			}
		}
		return true
	})
	return count
}

// nesting gives how deep the statements below node lie in one another. An else-if is as deep as the
// if before it.
func nesting(node ast.Node) int {
	deepest := 0
	if node == nil {
		return 0
	}
	ast.Inspect(node, func(below ast.Node) bool {
		if below == node {
			return true
		}
		switch typed := below.(type) {
		case *ast.IfStmt:
			deepest = max(deepest, 1+nesting(typed.Cond), 1+nesting(typed.Body))
			if typed.Init != nil {
				deepest = max(deepest, 1+nesting(typed.Init))
			}
			switch other := typed.Else.(type) {
			case *ast.IfStmt:
				// Wrapped in a block of its own it is inspected as what it is: an if at this depth.
				deepest = max(deepest, nesting(&ast.BlockStmt{List: []ast.Stmt{other}}))
			case *ast.BlockStmt:
				deepest = max(deepest, 1+nesting(other))
			}
			return false
		case *ast.ForStmt, *ast.RangeStmt, *ast.SwitchStmt, *ast.TypeSwitchStmt, *ast.SelectStmt:
			deepest = max(deepest, 1+nesting(below))
			return false
		}
		return true
	})
	return deepest
}

// parameters counts those that a caller has to think about.
func (s *source) parameters(f *ast.FuncDecl) int {
	count := 0
	for _, field := range f.Type.Params.List {
		if !s.uncounted(field.Type) {
			count += max(1, len(field.Names))
		}
	}
	return count
}

// uncounted says whether a parameter is a context or what a test reports to.
func (s *source) uncounted(of ast.Expr) bool {
	if star, ok := of.(*ast.StarExpr); ok {
		of = star.X
	}
	selector, ok := of.(*ast.SelectorExpr)
	if !ok {
		return false
	}
	from, ok := selector.X.(*ast.Ident)
	if !ok {
		return false
	}
	switch s.imported[from.Name] + "." + selector.Sel.Name {
	case "context.Context", "testing.T", "testing.B", "testing.F", "testing.TB", "pgregory.net/rapid.T":
		return true
	}
	return false
}

// checkDocs checks that exported names have a comment. A comment above a group counts for all of it.
func checkDocs(src *source) []fault {
	if src.isTest {
		return nil
	}
	var faults []fault
	missing := func(name *ast.Ident, place string, docs ...*ast.CommentGroup) {
		for _, doc := range docs {
			if doc != nil {
				return
			}
		}
		if name.IsExported() {
			found := src.fault("doc", name, "exported and without a comment")
			found.place += ":" + place
			faults = append(faults, found)
		}
	}
	for _, decl := range src.file.Decls {
		switch decl := decl.(type) {
		case *ast.FuncDecl:
			if decl.Recv == nil || ast.IsExported(receiver(decl)) {
				missing(decl.Name, funcName(decl), decl.Doc)
			}
		case *ast.GenDecl:
			for _, spec := range decl.Specs {
				switch spec := spec.(type) {
				case *ast.TypeSpec:
					missing(spec.Name, spec.Name.Name, spec.Doc, decl.Doc)
				case *ast.ValueSpec:
					for _, name := range spec.Names {
						missing(name, name.Name, spec.Doc, spec.Comment, decl.Doc)
					}
				}
			}
		}
	}
	return faults
}

// The words are put together here so that this file does not break its own rules.
var (
	markers  = regexp.MustCompile(`\b(` + "TO" + "DO|FIX" + "ME|X" + "XX" + `)\b`)
	machines = regexp.MustCompile(`(^|[^\w.)}$-])/(wo` + `rk|ro` + `ot)/|/tmp/ba` + `sh_jobs|` +
		`proxy\.go` + `lang\.org|py` + `pi\.org|repo1?\.ma` + `ven|registry\.np` + `mjs|static\.cra` + `tes`)
)

// checkMarkers checks the comments of a Go file.
func checkMarkers(src *source) []fault {
	var faults []fault
	for _, group := range src.file.Comments {
		for _, comment := range group.List {
			if marker := markers.FindString(comment.Text); marker != "" {
				faults = append(faults, src.fault("marker", comment, "%s: do it, or open an issue", marker))
			}
		}
	}
	return faults
}

// checkText checks any text file.
func checkText(rel string, text []byte) []fault {
	var faults []fault
	number := 0
	for line := range strings.Lines(string(text)) {
		number++
		if found := machines.FindString(line); found != "" {
			faults = append(faults, fault{rule: "machine", place: rel, line: number, text: fmt.Sprintf("%q belongs to one machine", strings.TrimSpace(found))})
		}
	}
	return faults
}
