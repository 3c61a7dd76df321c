package main

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/headrace/headrace/internal/model"
)

// position is where a reader stands: {"table_id":…,"offsets":{"0":1200}}.
type position struct {
	TableID string          `json:"table_id,omitzero"`
	Offsets map[int32]int64 `json:"offsets"`
}

func (p position) clone() position { return position{p.TableID, maps.Clone(p.Offsets)} }

// parsePosition reads a position, or its offsets alone.
func parsePosition(text string) (position, error) {
	var p position
	decoder := json.NewDecoder(strings.NewReader(text))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&p); err == nil && p.Offsets != nil && !decoder.More() {
		return p, nil
	}
	p = position{}
	if err := json.Unmarshal([]byte(text), &p.Offsets); err != nil || p.Offsets == nil {
		return p, usagef(`%q is not a position; write one as '{"offsets":{"0":1200}}'`, text)
	}
	return p, nil
}

// scanTicket is a scan as the server takes it.
type scanTicket struct {
	Scan scanRequest `json:"scan"`
}

type scanRequest struct {
	Table         string           `json:"table"`
	Columns       *[]columnPath    `json:"columns,omitzero"`
	Filter        sqlFilter        `json:"filter,omitzero"`
	From          any              `json:"from,omitzero"`
	To            any              `json:"to,omitzero"`
	Buckets       []int32          `json:"buckets,omitzero"`
	Partitions    []map[string]any `json:"partitions,omitzero"`
	Limit         *int64           `json:"limit,omitzero"`
	View          string           `json:"view,omitzero"`
	SystemColumns bool             `json:"system_columns,omitzero"`
	Compression   string           `json:"compression,omitzero"`
}

// sqlFilter is a filter as a user writes it.
type sqlFilter struct {
	SQL string `json:"sql"`
}

// timeBound is a bound by the time at which rows were stored.
type timeBound struct {
	Time time.Time `json:"time"`
}

// parseBound reads one end of a range: one of the words, a point in time, a time ago, or a position.
func parseBound(flag, text string, now time.Time, words ...string) (any, error) {
	for _, word := range words {
		if text == word {
			return text, nil
		}
	}
	if strings.HasPrefix(text, "{") {
		return parsePosition(text)
	}
	if at, err := time.Parse(time.RFC3339, text); err == nil {
		return timeBound{at.UTC()}, nil
	}
	if ago, err := model.ParseDuration(text); err == nil && ago > 0 {
		return timeBound{now.Add(-ago).UTC()}, nil
	}
	return nil, usagef(`--%s is %q, want one of %s, a time such as 2026-11-21T08:00:00Z, how long ago such as 1h, or a position such as '{"offsets":{"0":17}}'`,
		flag, text, strings.Join(words, ", "))
}

// stateAndChanges is the view of the rows that there are and then of all changes to them.
const stateAndChanges = "rows+changelog"

// scanFlags are the flags of "scan".
type scanFlags struct {
	columns                                      []string
	from, to, output, format, positionFile, view string
	where, at, compression                       string
	limit                                        int64
	buckets                                      []int32
	partitions                                   []string
	systemColumns, follow, lines                 bool
}

// request gives the scan that the flags ask for.
func (f scanFlags) request(table string, given func(flag string) bool, now time.Time) (scanRequest, error) {
	request := scanRequest{Table: table, Buckets: f.buckets, View: f.view, Compression: f.compression, Filter: sqlFilter{f.where}}
	if err := f.check(); err != nil {
		return request, err
	}
	request.SystemColumns = f.systemColumns || strings.HasSuffix(f.view, "changelog") // _change_type is one of them
	if given("columns") {
		columns := wholeColumns(f.columns)
		request.Columns = &columns
	}
	if given("limit") {
		if f.limit < 0 {
			return request, usagef("--limit is %d, want 0 or more", f.limit)
		}
		request.Limit = &f.limit
	}
	var err error
	if f.from != "" {
		if request.From, err = parseBound("from", f.from, now, "earliest", "latest"); err != nil {
			return request, err
		}
	}
	switch {
	case f.follow && given("to"):
		return request, usagef("--follow has no end: leave out --to")
	case f.follow && given("limit"):
		return request, usagef("--follow has no end: leave out --limit")
	case f.follow:
		request.To = "never"
	case f.to != "":
		if request.To, err = parseBound("to", f.to, now, "now", "latest", "earliest"); err != nil {
			return request, err
		}
	}
	return request, nil
}

// check refuses what this version does not have, and views that there are not.
func (f scanFlags) check() error {
	if f.at != "" {
		return usagef("--at is not available in this version; use --from and --to")
	}
	views := []string{"", "rows", "changelog", stateAndChanges, "before-after"}
	if !slices.Contains(views, f.view) {
		return usagef("--view is %q, want one of %s", f.view, strings.Join(views[1:], ", "))
	}
	return nil
}
