package flightsrv

import (
	"github.com/headrace/headrace/internal/engine"
	"github.com/headrace/headrace/internal/model"
)

// lookupCommand is the JSON of a lookup, in the descriptor of a DoExchange and in tickets.
type lookupCommand struct {
	Table         string        `json:"table"`
	Columns       *[]columnPath `json:"columns"`
	By            *[]columnName `json:"by"`
	How           string        `json:"how"`
	Carry         bool          `json:"carry"`
	Prefix        string        `json:"prefix"`
	Found         string        `json:"found"`
	Filter        filterValue   `json:"filter"`
	MinOffsets    *position     `json:"min_offsets"`
	InsertMissing bool          `json:"insert_missing"`
	// Keys is an IPC stream with the keys, in a ticket alone.
	Keys bytesValue `json:"keys"`
}

// request checks the command and gives it in the engine's words; the schema is still to be set.
func (c *lookupCommand) request(e *engine.Engine) (engine.LookupRequest, error) {
	table, err := parseTable(c.Table)
	if err != nil {
		return engine.LookupRequest{}, err
	}
	switch c.How {
	case "", "left", "inner":
	default:
		return engine.LookupRequest{}, notOneOf("how", c.How, "left", "inner")
	}
	columns, paths := columnPaths(c.Columns)
	request := engine.LookupRequest{
		Table: table, Columns: columns, Paths: paths, By: columnNames(c.By), Inner: c.How == "inner", Carry: c.Carry,
		Prefix: c.Prefix, Found: c.Found, InsertMissing: c.InsertMissing, Filter: c.Filter.Expression,
	}
	if c.MinOffsets != nil {
		if err := checkTableID(e, table, c.MinOffsets.TableID); err != nil {
			return engine.LookupRequest{}, err
		}
		request.MinOffsets = c.MinOffsets.Offsets
	}
	return request, nil
}

// checkTableID refuses the position of another table than the one that has the name now.
func checkTableID(e *engine.Engine, name model.TableName, id string) error {
	if id == "" {
		return nil
	}
	table, err := e.Table(name)
	if err != nil {
		return err
	}
	if table.ID != id {
		return model.Errorf(model.TableReplaced, "the table %s has the id %s, the position is of %s", name, table.ID, clipText(id, 40)).
			WithRemedy("Use a position of the table that is there now").With("table", name.String())
	}
	return nil
}
