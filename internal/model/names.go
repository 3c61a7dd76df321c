package model

import (
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"
)

// DefaultDatabase is the database of a table name without a dot. It always exists.
const DefaultDatabase = "default"

// namePattern is what a database or a table may be called. Directories are never named by it.
var namePattern = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_-]{0,127}$`)

// TableName is the two-level name of a table.
type TableName struct{ Database, Table string }

// ParseTableName reads `db.table`, or `table` for a table of the default database.
func ParseTableName(text string) (TableName, error) {
	database, table, dotted := strings.Cut(text, ".")
	if !dotted {
		database, table = DefaultDatabase, text
	}
	name := TableName{Database: database, Table: table}
	if err := CheckName("database", database); err != nil {
		return TableName{}, err
	}
	return name, CheckName("table", table)
}

// ParseTablePath reads the path of a Flight descriptor: [db, table], [table] or ["db.table"].
func ParseTablePath(path []string) (TableName, error) {
	switch len(path) {
	case 1:
		return ParseTableName(path[0])
	case 2:
		if strings.Contains(path[0], ".") {
			return TableName{}, CheckName("database", path[0])
		}
		return ParseTableName(path[0] + "." + path[1])
	}
	return TableName{}, Errorf(BadRequest, "the descriptor's path has %d parts", len(path)).
		WithRemedy(`Send ["db", "table"], ["table"] or ["db.table"]`)
}

// CheckName says what is wrong with the name of a database or a table, the kind.
func CheckName(kind, name string) error {
	if namePattern.MatchString(name) {
		return nil
	}
	if len(name) > 140 {
		name = name[:140] + "…"
	}
	return Errorf(BadRequest, "%q is not a name for a %s", name, kind).
		WithRemedy("Names begin with a letter or _, go on with letters, digits, _ and -, and have at most 128 characters")
}

// labelBytesMax bounds the names that users give to groups and their members.
const labelBytesMax = 255

// CheckLabel says what is wrong with the name of something that is no object of the catalog, the kind, such
// as a group: it is free text of 1 to 255 bytes without control characters.
func CheckLabel(kind, name string) error {
	if name != "" && len(name) <= labelBytesMax && utf8.ValidString(name) && !strings.ContainsFunc(name, unicode.IsControl) {
		return nil
	}
	return Errorf(BadRequest, "%q is not a name for a %s", clip(name, 100), kind).
		WithRemedy("Such names are text of 1 to %d bytes, without control characters", labelBytesMax)
}

// String is the full name, `db.table`.
func (n TableName) String() string { return n.Database + "." + n.Table }

// Fold is the name as compared: two names that differ only in case are the same name.
func (n TableName) Fold() string { return strings.ToLower(n.String()) }
