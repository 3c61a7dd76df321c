package model

import "strings"

// MatchTable says whether the full name of a table matches a pattern: `*` stands for any number of
// characters, `?` for one, neither for the dot. A pattern without a dot is one for tables of the
// default database, as a name without a dot is one of its tables; "" matches every table, as does
// "*.*".
func MatchTable(pattern string, name TableName) bool {
	if pattern == "" {
		return true
	}
	database, table, dotted := strings.Cut(pattern, ".")
	if !dotted {
		database, table = DefaultDatabase, pattern
	}
	return matchGlob(database, name.Database) && matchGlob(table, name.Table)
}

// matchGlob matches the whole of text; it goes back to the last star only, so that it takes at most
// len(pattern) × len(text) steps.
func matchGlob(pattern, text string) bool {
	p, t := 0, 0
	star, resume := -1, 0
	for t < len(text) {
		switch {
		case p < len(pattern) && pattern[p] == '*':
			star, resume = p, t
			p++
		case p < len(pattern) && (pattern[p] == '?' || pattern[p] == text[t]):
			p++
			t++
		case star >= 0:
			resume++
			p, t = star+1, resume
		default:
			return false
		}
	}
	return strings.Trim(pattern[p:], "*") == ""
}
