package model

import (
	"encoding/json"
	"errors"
	"strings"
)

// ParseColumnPath reads the name of a column, or of a field nested in one: the names that lead to it with
// points between them. A name with a point or a space in it is written in backquotes.
func ParseColumnPath(text string) (ColumnPath, error) {
	p := typeParser{text: text}
	path, err := p.parsePath()
	if err == nil {
		err = p.expectEnd()
	}
	if err != nil {
		return nil, p.fault("column", err).WithRemedy("Name a column, or a field in it as column.field; put names with a point in backquotes")
	}
	return path, nil
}

// ParseAddedColumn reads a column to be added as `NAME TYPE [not null] [default VALUE] [after NAME | first]`,
// such as "score double not null default 0 after name". The name may be that of a field, as in ParseColumnPath;
// the value is JSON, or text without spaces.
func ParseAddedColumn(text string) (AddColumn, error) {
	p := typeParser{text: text}
	add, err := p.parseAdded()
	if err == nil {
		err = p.expectEnd()
	}
	if err != nil {
		return AddColumn{}, p.fault("column", err).WithRemedy("Write it as NAME TYPE [not null] [default VALUE] [after NAME | first]")
	}
	return add, nil
}

func (p *typeParser) parseAdded() (add AddColumn, err error) {
	if add.Path, err = p.parsePath(); err != nil {
		return add, err
	}
	if add.Field.Type, err = p.parseType(1); err != nil {
		return add, err
	}
	add.Field.Nullable = !p.acceptNotNull()
	if p.acceptWord("default") {
		if add.Default, err = p.parseValue(); err != nil {
			return add, err
		}
	}
	switch {
	case p.acceptWord("first"):
		add.Place.First = true
	case p.acceptWord("after"):
		path, err := p.parsePath()
		if err != nil {
			return add, err
		}
		add.Place.After = path[len(path)-1]
	}
	return add, nil
}

// acceptWord consumes a word, in any case, if it comes next.
func (p *typeParser) acceptWord(word string) bool {
	from := p.at
	if strings.EqualFold(p.word(), word) {
		return true
	}
	p.at = from
	return false
}

// parsePath reads names with points between them.
func (p *typeParser) parsePath() (path ColumnPath, err error) {
	p.skipSpace()
	for {
		var name string
		if p.accept("`") {
			if name, err = p.quotedName(); err != nil {
				return nil, err
			}
		} else {
			from := p.at
			for p.at < len(p.text) && strings.IndexByte(" \t\r\n,:<>`.", p.text[p.at]) < 0 {
				p.at++
			}
			name = p.text[from:p.at]
		}
		if name == "" {
			return nil, errors.New("got " + p.next() + ", want the name of a column")
		}
		path = append(path, name)
		if p.at == len(p.text) || p.text[p.at] != '.' {
			return path, nil
		}
		p.at++
	}
}

// parseValue reads a value in JSON, or a word.
func (p *typeParser) parseValue() (any, error) {
	p.skipSpace()
	var value any
	decoder := json.NewDecoder(strings.NewReader(p.text[p.at:]))
	decoder.UseNumber()
	if err := decoder.Decode(&value); err == nil {
		if end := p.at + int(decoder.InputOffset()); end == len(p.text) || strings.IndexByte(" \t\r\n", p.text[end]) >= 0 {
			p.at = end
			return value, nil
		}
	}
	from := p.at
	for p.at < len(p.text) && strings.IndexByte(" \t\r\n", p.text[p.at]) < 0 {
		p.at++
	}
	if from == p.at {
		return nil, errors.New("got the end, want a value")
	}
	return p.text[from:p.at], nil
}
