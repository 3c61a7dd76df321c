package model

import (
	"errors"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/apache/arrow-go/v18/arrow"
)

// Column describes one top-level column in JSON, as CreateTable takes it and DescribeTable gives it.
type Column struct {
	Name string `json:"name"`
	// Type is the text of the type; see ParseType.
	Type string `json:"type"`
	// Nullable says whether the column may hold nulls; nil means that it may.
	Nullable *bool `json:"nullable,omitzero"`
	// Comment is free text.
	Comment string `json:"comment,omitzero"`
	// Default is the value of rows whose writer leaves the column out, in JSON form; see
	// CheckDefault. nil: null, or refused where the column is NOT NULL.
	Default any `json:"default,omitzero"`
	// Metadata is the metadata of the Arrow field, as far as it is text.
	Metadata map[string]string `json:"metadata,omitzero"`
}

// arrowMetadataPrefix begins the metadata keys that change what a field is to Arrow libraries.
const arrowMetadataPrefix = "ARROW:"

func isArrowMetadata(key string) bool { return strings.HasPrefix(key, arrowMetadataPrefix) }

// SchemaFromColumns gives the Arrow schema of columns, and the defaults and comments of those that
// have one, by column name; defaults are in the form that CheckDefault gives. The error names every
// fault of every column. The schema is not yet checked; see CheckSchema.
func SchemaFromColumns(columns []Column) (*arrow.Schema, map[string]any, map[string]string, error) {
	fields := make([]arrow.Field, 0, len(columns))
	defaults, comments := map[string]any{}, map[string]string{}
	var faults []error
	for _, column := range columns {
		field, err := column.Field()
		if err != nil {
			faults = append(faults, err)
			continue
		}
		fields = append(fields, field)
		if column.Comment != "" {
			comments[column.Name] = column.Comment
		}
		if column.Default == nil {
			continue
		}
		value, err := CheckDefault(field, column.Default)
		if err != nil {
			faults = append(faults, err)
			continue
		}
		defaults[column.Name] = value
	}
	if err := JoinFaults(faults); err != nil {
		return nil, nil, nil, err
	}
	return arrow.NewSchema(fields, nil), defaults, comments, nil
}

// Field gives the Arrow field of c, without its default.
func (c Column) Field() (arrow.Field, error) {
	t, err := ParseType(c.Type)
	if err != nil {
		fault := AsError(err)
		return arrow.Field{}, Errorf(fault.Reason, "column %q: %s", clip(c.Name, 140), fault.Text).
			WithRemedy("%s", fault.Remedy)
	}
	for key := range c.Metadata {
		if isArrowMetadata(key) {
			return arrow.Field{}, Errorf(BadRequest, "column %q: the metadata key %q is Arrow's own", c.Name, clip(key, 140)).
				WithRemedy("Send the schema as an Arrow IPC message in base64 to use extension types")
		}
	}
	field := arrow.Field{Name: c.Name, Type: t, Nullable: c.Nullable == nil || *c.Nullable}
	if len(c.Metadata) > 0 {
		field.Metadata = arrow.MetadataFrom(c.Metadata)
	}
	return field, nil
}

// ColumnsOf describes the columns of table, in the order of its schema. Nullable is always set.
func ColumnsOf(table *Table) []Column {
	columns := make([]Column, table.Schema.NumFields())
	for i, field := range table.Schema.Fields() {
		columns[i] = Column{
			Name: field.Name, Type: FormatType(field.Type), Nullable: &field.Nullable,
			Comment: table.Comments[field.Name], Default: table.Defaults[field.Name],
		}
		columns[i].Metadata = textMetadata(field.Metadata)
	}
	return columns
}

// textMetadata gives the pairs that JSON can hold; nil where there are none. Arrow allows any bytes in
// values, and extension types of users make use of that: the whole is in the IPC schema.
func textMetadata(metadata arrow.Metadata) map[string]string {
	var texts map[string]string
	for i, key := range metadata.Keys() {
		if value := metadata.Values()[i]; utf8.ValidString(key) && utf8.ValidString(value) {
			if texts == nil {
				texts = make(map[string]string, metadata.Len())
			}
			texts[key] = value
		}
	}
	return texts
}

// ParseColumns reads columns as `name type [not null] [, …]`, such as
// "id int64 not null, tags list<item: string>". A name with spaces or one of `:,<>` is written in
// backquotes.
func ParseColumns(text string) ([]Column, error) {
	p := typeParser{text: text}
	var columns []Column
	for {
		column, err := p.parseColumn()
		if err == nil && p.skipToEnd() {
			return append(columns, column), nil
		}
		if err == nil {
			err = p.expect(",")
		}
		if err != nil {
			return nil, p.fault("columns", err)
		}
		columns = append(columns, column)
	}
}

// skipToEnd says that only space is left.
func (p *typeParser) skipToEnd() bool {
	p.skipSpace()
	return p.at == len(p.text)
}

func (p *typeParser) parseColumn() (Column, error) {
	p.skipSpace()
	from := p.at
	var name string
	if p.accept("`") {
		quoted, err := p.quotedName()
		if err != nil {
			return Column{}, err
		}
		name = quoted
	} else {
		for p.at < len(p.text) && strings.IndexByte(" \t\r\n,:<>`", p.text[p.at]) < 0 {
			p.at++
		}
		name = p.text[from:p.at]
	}
	if name == "" {
		return Column{}, errors.New("got " + p.next() + ", want the name of a column")
	}
	p.accept(":")
	t, err := p.parseType(1)
	if err != nil {
		return Column{}, err
	}
	nullable := !p.acceptNotNull()
	return Column{Name: name, Type: FormatType(t), Nullable: &nullable}, nil
}

// JoinFaults makes one error of several that a user may see: all texts, the reason of the first,
// and each remedy once. Nil errors are left out; it gives nil where none is left.
func JoinFaults(faults []error) error {
	faults = slices.DeleteFunc(faults, func(err error) bool { return err == nil })
	switch len(faults) {
	case 0:
		return nil
	case 1:
		return faults[0]
	}
	const faultsMax = 20
	first := AsError(faults[0])
	joined := &Error{Reason: first.Reason, Details: first.Details}
	var texts, remedies []string
	for _, fault := range faults {
		e := AsError(fault)
		texts = append(texts, e.Text)
		if e.Remedy != "" && !slices.Contains(remedies, e.Remedy) {
			remedies = append(remedies, e.Remedy)
		}
	}
	if len(texts) > faultsMax {
		texts = append(texts[:faultsMax], "and more faults of this kind")
	}
	joined.Text = strings.Join(texts, "; ")
	joined.Remedy = strings.Join(remedies[:min(len(remedies), faultsMax)], ". ")
	return joined
}
