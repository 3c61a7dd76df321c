package engine

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"pgregory.net/rapid"

	"github.com/headrace/headrace/internal/arrowipc"
	"github.com/headrace/headrace/internal/model"
	"github.com/headrace/headrace/internal/vfs"
)

// evolvingMachine changes the schema of a table at random while it is written and read, and knows by the
// numbers of fields what each row has.
type evolvingMachine struct {
	t     *testing.T
	files *vfs.Mem
	e     *Engine
	keyed bool

	definition *model.Table
	initial    map[int32]any // by the number of a field that was added
	names      int
	rows       []evolvingRow       // of a log table
	state      map[int]evolvingRow // of a primary-key table
	writers    []evolvingWriter
	lookups    []evolvingLookup
}

// evolvingRow has the values of fields by number, those of structs too: true, or nil for null.
type evolvingRow map[int32]any

type evolvingWriter struct {
	*jsonWriter
	trees []*model.FieldTree
}

type evolvingLookup struct {
	*Lookup
	trees []*model.FieldTree
	only  *evolvingCondition // nil: no filter
}

func TestEvolvingModel(t *testing.T) {
	t.Parallel()
	for _, keyed := range []bool{false, true} {
		t.Run(fmt.Sprint("keyed ", keyed), func(t *testing.T) {
			t.Parallel()
			rapid.Check(t, func(r *rapid.T) {
				m := &evolvingMachine{t: t, files: vfs.NewMem(vfs.MemOptions{}), keyed: keyed, initial: map[int32]any{}, state: map[int]evolvingRow{}}
				m.open()
				defer func() { closeEngine(t, m.e) }()
				key := map[bool]string{true: "id"}[keyed]
				createText(t, m.e, "t", "id int64 not null, a int8, s struct<x: int8, y: string>, b string", key, nil)
				m.definition, _ = m.e.Table(name(t, "t"))
				actions := map[string]func(*rapid.T){
					"": m.check, "write": m.write, "write1": m.write, "write2": m.write, "alter": m.alter, "alter1": m.alter, "restart": m.restart,
					"grow": m.grow, "rest": m.rest,
				}
				if keyed {
					actions["delete"], actions["retire"], actions["lookup"] = m.delete, m.retire, m.openLookup
				}
				r.Repeat(actions)
			})
		})
	}
}

func (m *evolvingMachine) open() {
	options := testOptions(m.files)
	options.OpenCold = filesColdOf(m.files)
	options.RestIdle = 1
	m.e = open(m.t, options)
	m.writers, m.lookups = nil, nil
}

func (m *evolvingMachine) restart(r *rapid.T) {
	closeEngine(m.t, m.e)
	checkUndamaged(m.t, "restart", m.files)
	m.open()
}

func (m *evolvingMachine) retire(r *rapid.T) {
	opened := m.e.catalog.lookup(name(m.t, "t")).opened()
	slices.SortFunc(opened, func(a, b *bucket) int { return int(a.number - b.number) })
	for _, b := range opened {
		if end := b.keyed.End(); end > 0 {
			if err := m.e.retireBucket(m.t.Context(), b, rapid.Int64Range(1, end).Draw(r, "before"), m.e.newPacer()); err != nil {
				r.Fatal(err)
			}
		}
	}
}

// write writes rows with a stream that is open, or with a new one.
func (m *evolvingMachine) write(r *rapid.T) {
	at := rapid.IntRange(0, len(m.writers)).Draw(r, "writer")
	if at == len(m.writers) {
		w, err := openJSONWriter(m.t, m.e, "t", m.definition.Schema, PutRequest{})
		if err != nil {
			r.Fatal(err)
		}
		m.writers = append(m.writers, evolvingWriter{w, m.definition.Current().Trees()})
	}
	w := m.writers[at]
	n := rapid.IntRange(1, 4).Draw(r, "rows")
	rows, texts := make([]evolvingRow, n), make([]string, n)
	for i := range rows {
		rows[i] = evolvingRow{}
		for _, tree := range w.trees {
			m.draw(r, tree, rows[i])
		}
		rows[i][1] = float64(rapid.IntRange(0, 9).Draw(r, "key"))
		texts[i] = m.text(rows[i], w.trees)
	}
	_, err := w.jsonWriter.write(nil, "["+strings.Join(texts, ",")+"]")
	if missing := lacking(w.trees, m.definition.Current().Trees()); missing {
		if !errors.Is(err, model.SchemaChanged) {
			r.Fatalf("a batch with a field that was dropped: %v", err)
		}
		m.writers = slices.Delete(m.writers, at, at+1)
		return
	}
	if err != nil {
		r.Fatalf("%s: %v", texts, err)
	}
	for _, row := range rows {
		if !m.keyed {
			m.rows = append(m.rows, row)
			continue
		}
		m.upsert(row, w.trees)
	}
}

// upsert gives a row the columns that a stream knows.
func (m *evolvingMachine) upsert(row evolvingRow, trees []*model.FieldTree) {
	key := int(row[1].(float64))
	merged := maps.Clone(m.state[key])
	if merged == nil {
		merged = evolvingRow{}
	}
	for _, tree := range trees {
		for _, now := range m.definition.Current().Trees() {
			if now.ID == tree.ID {
				forget(merged, now)
			}
		}
	}
	maps.Copy(merged, row)
	m.state[key] = merged
}

func forget(row evolvingRow, tree *model.FieldTree) {
	delete(row, tree.ID)
	for _, child := range tree.Children {
		forget(row, child)
	}
}

// keyColumn is where the column is that was id once.
func (m *evolvingMachine) keyColumn() int { return slices.Index(m.definition.FieldIDs, 1) }

// lacking says that a field is not there any more.
func lacking(before, now []*model.FieldTree) bool {
	return slices.ContainsFunc(before, func(b *model.FieldTree) bool {
		at := slices.IndexFunc(now, func(n *model.FieldTree) bool { return n.ID == b.ID })
		return at < 0 || lacking(b.Children, now[at].Children)
	})
}

// loosened says that a field that was NOT NULL may have nulls now.
func loosened(before, now []*model.FieldTree) bool {
	return slices.ContainsFunc(before, func(b *model.FieldTree) bool {
		at := slices.IndexFunc(now, func(n *model.FieldTree) bool { return n.ID == b.ID })
		if at < 0 {
			return !b.Field.Nullable
		}
		return !b.Field.Nullable && now[at].Field.Nullable || loosened(b.Children, now[at].Children)
	})
}

// draw gives a row a value in a field.
func (m *evolvingMachine) draw(r *rapid.T, tree *model.FieldTree, row evolvingRow) {
	null := tree.Field.Nullable && rapid.IntRange(0, 3).Draw(r, "null") == 0
	switch {
	case null:
		row[tree.ID] = nil
	case tree.Field.Type.ID() == arrow.STRUCT:
		row[tree.ID] = true
		for _, child := range tree.Children {
			m.draw(r, child, row)
		}
	case arrow.IsInteger(tree.Field.Type.ID()) || arrow.IsFloating(tree.Field.Type.ID()):
		row[tree.ID] = float64(rapid.IntRange(0, 100).Draw(r, "number"))
	default:
		row[tree.ID] = rapid.StringMatching("[a-z]{0,20}").Draw(r, "text")
	}
}

// value gives what a row shows in a field.
func (m *evolvingMachine) value(row evolvingRow, tree *model.FieldTree) any {
	value, has := row[tree.ID]
	if !has {
		value = m.initial[tree.ID]
	}
	if value == nil || tree.Field.Type.ID() != arrow.STRUCT {
		return value
	}
	object := map[string]any{}
	for _, child := range tree.Children {
		object[child.Field.Name] = m.value(row, child)
	}
	return object
}

// text gives the fields of a row as JSON.
func (m *evolvingMachine) text(row evolvingRow, trees []*model.FieldTree) string {
	object := map[string]any{}
	for _, tree := range trees {
		object[tree.Field.Name] = m.value(row, tree)
	}
	text, err := json.Marshal(object)
	if err != nil {
		m.t.Fatal(err)
	}
	return string(text)
}

// alter makes one to three changes that are allowed, as a whole.
func (m *evolvingMachine) alter(r *rapid.T) {
	var changes []model.ColumnChange
	definition := m.definition
	for range rapid.IntRange(1, 3).Draw(r, "changes") {
		change := m.drawChange(r, definition)
		next, err := definition.WithColumns(change)
		if err != nil {
			continue // it is tried for what the rules allow
		}
		changes, definition = append(changes, change), next
	}
	before := m.definition
	together := []TableChange{ChangeColumns{changes}}
	if rapid.Bool().Draw(r, "one by one") {
		together = nil
		for i := range changes {
			together = append(together, ChangeColumns{changes[i : i+1]})
		}
	}
	if before.Buckets < 8 && rapid.IntRange(0, 3).Draw(r, "grows too") == 0 {
		at := rapid.IntRange(0, len(together)).Draw(r, "at")
		together = slices.Insert(together, at, TableChange(SetBuckets{2 * int64(before.Buckets)}))
	}
	altered, err := m.e.AlterTable(m.t.Context(), name(m.t, "t"), Expect{ID: before.ID, SchemaVersion: before.SchemaVersion}, together...)
	if err != nil {
		r.Fatalf("%+v: %v: %v", changes, err, m.e.failed().Unwrap())
	}
	m.definition = altered
	maps.Copy(m.initial, altered.Initial)
}

func (m *evolvingMachine) drawChange(r *rapid.T, definition *model.Table) model.ColumnChange {
	trees := definition.Current().Trees()
	tree := rapid.SampledFrom(trees).Draw(r, "column")
	path := columnPath{tree.Field.Name}
	if n := len(tree.Children); n > 0 && rapid.Bool().Draw(r, "nested") {
		tree = rapid.SampledFrom(tree.Children).Draw(r, "field")
		path = append(path, tree.Field.Name)
	}
	m.names++
	fresh := fmt.Sprint("f", m.names)
	siblings := append(slices.Clone(path[:len(path)-1]), fresh)
	place := model.Place{First: rapid.Bool().Draw(r, "first")}
	switch rapid.IntRange(0, 6).Draw(r, "kind") {
	case 0:
		types := []string{"int8", "int16 not null", "string", "string not null", "struct<p: int8, q: string>", "double"}
		field := fieldOfText(m.t, fresh+" "+rapid.SampledFrom(types).Draw(r, "type"))
		add := model.AddColumn{Path: siblings, Field: field, Place: place}
		if !field.Nullable || rapid.Bool().Draw(r, "default") {
			switch field.Type.ID() {
			case arrow.STRING:
				add.Default = "d" + fresh
			case arrow.STRUCT:
			default:
				add.Default = 5.0
			}
		}
		return add
	case 1:
		return model.DropColumn{Path: path}
	case 2:
		return model.RenameColumn{Path: path, To: fresh}
	case 3:
		return model.MoveColumn{Path: path, Place: place}
	case 4:
		return model.SetNullable{Path: path}
	}
	wider := map[arrow.Type]arrow.DataType{
		arrow.INT8: arrow.PrimitiveTypes.Int16, arrow.INT16: arrow.PrimitiveTypes.Int32, arrow.INT32: arrow.PrimitiveTypes.Float64,
		arrow.STRING: arrow.BinaryTypes.LargeString,
	}[tree.Field.Type.ID()]
	if wider == nil {
		return model.SetMetadata{Path: path, Metadata: map[string]string{"changed": fresh}}
	}
	return model.SetType{Path: path, Type: wider}
}

func (m *evolvingMachine) delete(r *rapid.T) {
	column := m.definition.Schema.Field(m.keyColumn())
	schema := arrow.NewSchema([]arrow.Field{column}, nil)
	w, err := openJSONWriter(m.t, m.e, "t", schema, PutRequest{Mode: PutDelete})
	if err != nil {
		r.Fatal(err)
	}
	key := rapid.IntRange(0, 9).Draw(r, "key")
	if _, err := w.write(nil, fmt.Sprintf(`[{%q:%d}]`, column.Name, key)); err != nil {
		r.Fatal(err)
	}
	delete(m.state, key)
}

func (m *evolvingMachine) openLookup(r *rapid.T) {
	request := LookupRequest{Table: name(m.t, "t"), Schema: arrowipc.EncodeSchema(m.keySchema())}
	trees := m.definition.Current().Trees()
	var only *evolvingCondition
	if rapid.Bool().Draw(r, "filtered") {
		only = m.drawCondition(r, trees)
		request.Filter = only.filter
	}
	l, err := m.e.OpenLookup(m.t.Context(), request)
	if err != nil {
		r.Fatal(err)
	}
	m.lookups = append(m.lookups, evolvingLookup{l, trees, only})
}

func (m *evolvingMachine) keySchema() *arrow.Schema {
	return arrow.NewSchema([]arrow.Field{m.definition.Schema.Field(m.keyColumn())}, nil)
}

// check reads the table in every way.
func (m *evolvingMachine) check(r *rapid.T) {
	trees := m.definition.Current().Trees()
	var want []string
	for _, row := range m.rows {
		want = append(want, m.text(row, trees))
	}
	for _, row := range m.state {
		want = append(want, m.text(row, trees))
	}
	compare := func(what string, got []map[string]any, want []string) {
		texts := make([]string, len(got))
		for i := range got {
			text, err := json.Marshal(got[i])
			if err != nil {
				r.Fatal(err)
			}
			texts[i] = string(text)
		}
		if m.keyed || m.definition.Buckets > 1 {
			slices.Sort(texts)
			slices.Sort(want)
		}
		if !slices.Equal(texts, want) {
			r.Fatalf("%s:\n got %s\nwant %s", what, strings.Join(texts, "\n     "), strings.Join(want, "\n     "))
		}
	}
	compare("the rows", readJSON(m.t, m.e, "t"), want)
	one := rapid.SampledFrom(trees).Draw(r, "projected")
	var column []string
	for _, row := range append(m.rows, slices.Collect(maps.Values(m.state))...) {
		column = append(column, m.text(row, []*model.FieldTree{one}))
	}
	compare("a column", readJSON(m.t, m.e, "t", one.Field.Name), column)
	condition := m.drawCondition(r, trees)
	var kept []string
	for _, row := range append(m.rows, slices.Collect(maps.Values(m.state))...) {
		if condition.keeps(m.value(row, condition.tree)) {
			kept = append(kept, m.text(row, trees))
		}
	}
	compare("the rows with "+condition.sql, openJSONReader(m.t, m.e, Scan{Table: name(m.t, "t"), Filter: condition.filter}).all(), kept)
	if !m.keyed {
		return
	}
	m.checkFilteredLog(r, condition)
	compare("the folded changelog", m.folded(r), want)
	for _, l := range m.lookups {
		m.ask(r, l)
	}
}

// folded gives the rows that the changelog leaves, if the whole of it is there.
func (m *evolvingMachine) folded(r *rapid.T) []map[string]any {
	key := m.definition.Schema.Field(m.keyColumn()).Name
	state := map[any]map[string]any{}
	var replaced map[string]any
	for _, row := range openJSONReader(m.t, m.e, Scan{Table: name(m.t, "t"), View: ViewChangelog, SystemColumns: true}).all() {
		kind := row[model.ChangeColumn]
		for _, system := range []string{"_bucket", "_offset", "_timestamp", model.ChangeColumn} {
			delete(row, system)
		}
		old, known := state[row[key]]
		switch {
		case known != (kind != "+I"), (kind == "-U" || kind == "-D") && jsonOf(m.t, []map[string]any{old}) != jsonOf(m.t, []map[string]any{row}):
			r.Fatalf("%v %v does not fit %v", kind, row, old)
		case (kind == "+U") != (replaced != nil):
			r.Fatalf("%v %v behind %v", kind, row, replaced)
		}
		replaced = nil
		switch kind {
		case "-U":
			replaced = row
		case "-D":
			delete(state, row[key])
		default:
			state[row[key]] = row
		}
	}
	return slices.Collect(maps.Values(state))
}

// ask looks all keys up with a stream that may have been opened long ago.
func (m *evolvingMachine) ask(r *rapid.T, l evolvingLookup) {
	at := slices.IndexFunc(l.trees, func(tree *model.FieldTree) bool { return tree.ID == 1 })
	column := l.trees[at].Field
	keys := make([]string, 10)
	want := []map[string]any{}
	for key := range keys {
		keys[key] = fmt.Sprintf(`{%q:%d}`, column.Name, key)
		row, known := m.state[key]
		if known && l.only != nil {
			known = l.only.keeps(m.past(row, l.only.tree, m.definition.Current().Trees()))
		}
		object := map[string]any{}
		for _, tree := range l.trees {
			object[tree.Field.Name] = nil
			if known {
				object[tree.Field.Name] = m.past(row, tree, m.definition.Current().Trees())
			}
		}
		want = append(want, object)
	}
	got, err := lookupJSON(m.t, l.Lookup, arrow.NewSchema([]arrow.Field{column}, nil), "["+strings.Join(keys, ",")+"]")
	if errors.Is(err, model.SchemaChanged) && loosened(l.trees, m.definition.Current().Trees()) {
		return // a field that was NOT NULL has nulls, or is not there any more
	}
	if err != nil {
		r.Fatal(err)
	}
	if g, w := jsonOf(m.t, got), jsonOf(m.t, want); g != w {
		r.Fatalf("a lookup:\n got %s\nwant %s", g, w)
	}
}

// past gives what a row shows in a field of an earlier schema.
func (m *evolvingMachine) past(row evolvingRow, tree *model.FieldTree, now []*model.FieldTree) any {
	at := slices.IndexFunc(now, func(n *model.FieldTree) bool { return n.ID == tree.ID })
	if at < 0 {
		return nil
	}
	value, has := row[tree.ID]
	if !has {
		value = m.initial[tree.ID]
	}
	if value == nil || tree.Field.Type.ID() != arrow.STRUCT {
		return value
	}
	object := map[string]any{}
	for _, child := range tree.Children {
		object[child.Field.Name] = m.past(row, child, now[at].Children)
	}
	return object
}
