package engine

import (
	"slices"
	"strings"
	"sync"

	"github.com/headrace/headrace/internal/model"
)

// catalog knows the databases and tables by name.
type catalog struct {
	// changes puts changes of the catalog one behind the other; it is held during calls to the disk.
	changes sync.Mutex

	mu sync.RWMutex
	// tables are by folded full name, databases by folded name; guarded by mu.
	tables    map[string]*table
	databases map[string]string
}

// lookup gives the table of that name, or nil. A name that differs in case is no match.
func (c *catalog) lookup(name model.TableName) *table {
	c.mu.RLock()
	defer c.mu.RUnlock()
	t := c.tables[name.Fold()]
	if t == nil || t.definition.Load().Name != name {
		return nil
	}
	return t
}

// taken gives the table whose name equals name but for case, or nil.
func (c *catalog) taken(name model.TableName) *table {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.tables[name.Fold()]
}

// all gives every table, sorted by name.
func (c *catalog) all() []*table {
	c.mu.RLock()
	defer c.mu.RUnlock()
	all := make([]*table, 0, len(c.tables))
	for _, t := range c.tables {
		all = append(all, t)
	}
	slices.SortFunc(all, func(a, b *table) int {
		return strings.Compare(a.definition.Load().Name.String(), b.definition.Load().Name.String())
	})
	return all
}

func (c *catalog) add(t *table) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.tables[t.definition.Load().Name.Fold()] = t
}

// rename puts a table under the name of another definition of it. The table is never seen without a
// name, nor under one that is not in its definition.
func (c *catalog) rename(t *table, definition *model.Table) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.tables, t.definition.Load().Name.Fold())
	t.definition.Store(definition)
	c.tables[definition.Name.Fold()] = t
}

func (c *catalog) remove(name model.TableName) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.tables, name.Fold())
}

// database gives the spelling of the database whose name equals name but for case.
func (c *catalog) database(name string) (spelling string, found bool) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	spelling, found = c.databases[strings.ToLower(name)]
	return spelling, found
}

// databaseNames gives the databases, sorted.
func (c *catalog) databaseNames() []string {
	c.mu.RLock()
	defer c.mu.RUnlock()
	names := make([]string, 0, len(c.databases))
	for _, name := range c.databases {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// setDatabase adds a database, or removes it where present is false.
func (c *catalog) setDatabase(name string, present bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if present {
		c.databases[strings.ToLower(name)] = name
	} else {
		delete(c.databases, strings.ToLower(name))
	}
}

// table gives the table of that name, or TableNotFound with the nearest name as a remedy.
func (e *Engine) table(name model.TableName) (*table, error) {
	if t := e.catalog.lookup(name); t != nil {
		return t, nil
	}
	missing := model.Errorf(model.TableNotFound, "there is no table %s", name).With("table", name.String())
	if other := e.catalog.taken(name); other != nil {
		return nil, missing.WithRemedy("Names are case-sensitive: there is %s", other.definition.Load().Name)
	}
	for _, t := range e.catalog.all() {
		if n := t.definition.Load().Name; strings.EqualFold(n.Table, name.Table) {
			return nil, missing.WithRemedy("Did you mean %s?", n)
		}
	}
	return nil, missing.WithRemedy("Create it first, or list the tables to see what is there")
}

// Table gives the definition of a table.
func (e *Engine) Table(name model.TableName) (*model.Table, error) {
	t, err := e.table(name)
	if err != nil {
		return nil, err
	}
	return t.definition.Load(), nil
}

// Tables gives the definitions of the tables whose name matches the glob, sorted by name. See
// model.MatchTable.
func (e *Engine) Tables(pattern string) ([]*model.Table, error) {
	var found []*model.Table
	for _, t := range e.catalog.all() {
		if definition := t.definition.Load(); model.MatchTable(pattern, definition.Name) {
			found = append(found, definition)
		}
	}
	return found, nil
}

// Databases gives the names of the databases, sorted.
func (e *Engine) Databases() []string { return e.catalog.databaseNames() }

// Buckets tells what is kept of each bucket of a table.
func (e *Engine) Buckets(name model.TableName) ([]BucketState, error) {
	t, err := e.table(name)
	if err != nil {
		return nil, err
	}
	chosen, err := t.choose(Scan{Table: name}, t.schema.Load())
	if err != nil {
		return nil, err
	}
	defer chosen.release()
	numbers := chosen.numbers
	if t.partitions == nil {
		numbers = t.numbers()
	}
	states := make([]BucketState, len(numbers))
	ranges := make(map[int32]model.Range, len(numbers))
	for i, number := range numbers {
		if states[i], err = t.measure(number); err != nil {
			return nil, err
		}
		ranges[number] = model.Range{}
	}
	for number, partition := range t.partitionsOf(ranges) {
		i, _ := slices.BinarySearch(numbers, number)
		states[i].Partition = partition
	}
	return states, nil
}
