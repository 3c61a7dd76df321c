package flightsrv

import (
	"github.com/apache/arrow-go/v18/arrow"

	"github.com/headrace/headrace/internal/arrowipc"
	"github.com/headrace/headrace/internal/model"
)

// The changes of columns in the body of AlterTable.
type (
	addColumnChange struct {
		Name     columnPath        `json:"name"`
		Type     string            `json:"type"`
		Nullable *bool             `json:"nullable"`
		Comment  string            `json:"comment"`
		Default  any               `json:"default"`
		Metadata map[string]string `json:"metadata"`
		After    string            `json:"after"`
		First    bool              `json:"first"`
	}
	renameColumnChange struct {
		From columnPath `json:"from"`
		To   string     `json:"to"`
	}
	setTypeChange struct {
		Column columnPath `json:"column"`
		Type   string     `json:"type"`
	}
	moveColumnChange struct {
		Column columnPath `json:"column"`
		After  string     `json:"after"`
		First  bool       `json:"first"`
	}
	setCommentChange struct {
		Column  string `json:"column"`
		Comment string `json:"comment"`
	}
	setMetadataChange struct {
		Column   columnPath        `json:"column"`
		Metadata map[string]string `json:"metadata"`
	}
)

// columns gives the changes of columns that are set.
func (c *alterChange) columns() (set []model.ColumnChange, err error) {
	if c.AddColumn != nil {
		change, err := c.AddColumn.change()
		if err != nil {
			return nil, err
		}
		set = append(set, change)
	}
	if c.DropColumn != nil {
		set = append(set, model.DropColumn{Path: model.ColumnPath(*c.DropColumn)})
	}
	if r := c.RenameColumn; r != nil {
		set = append(set, model.RenameColumn{Path: model.ColumnPath(r.From), To: r.To})
	}
	if s := c.SetType; s != nil {
		field, err := typeOfColumn(s.Column, s.Type)
		if err != nil {
			return nil, err
		}
		set = append(set, model.SetType{Path: model.ColumnPath(s.Column), Type: field.Type})
	}
	if c.SetNullable != nil {
		set = append(set, model.SetNullable{Path: model.ColumnPath(*c.SetNullable)})
	}
	if m := c.MoveColumn; m != nil {
		set = append(set, model.MoveColumn{Path: model.ColumnPath(m.Column), Place: model.Place{After: m.After, First: m.First}})
	}
	if s := c.SetComment; s != nil {
		set = append(set, model.SetComment{Column: s.Column, Comment: s.Comment})
	}
	if s := c.SetMetadata; s != nil {
		set = append(set, model.SetMetadata{Path: model.ColumnPath(s.Column), Metadata: s.Metadata})
	}
	return set, nil
}

func (c *addColumnChange) change() (model.ColumnChange, error) {
	field, err := typeOfColumn(c.Name, c.Type)
	if err != nil {
		return nil, err
	}
	if c.Nullable != nil {
		field.Nullable = *c.Nullable
	}
	if len(c.Metadata) > 0 {
		plain, err := model.Column{Name: field.Name, Type: "int8", Metadata: c.Metadata}.Field()
		if err != nil {
			return nil, err
		}
		metadata := field.Metadata.ToMap()
		for key, value := range plain.Metadata.ToMap() {
			metadata[key] = value
		}
		field.Metadata = arrow.MetadataFrom(metadata)
	}
	return model.AddColumn{
		Path: model.ColumnPath(c.Name), Field: field, Default: c.Default, Comment: c.Comment, Place: model.Place{After: c.After, First: c.First},
	}, nil
}

// typeOfColumn reads the type of a column: its text, or the schema of one field in base64, whose nullable flag
// and metadata count too.
func typeOfColumn(column columnPath, text string) (arrow.Field, error) {
	t, err := model.ParseType(text)
	if err == nil {
		return arrow.Field{Type: t, Nullable: true}, nil
	}
	var encoded bytesValue
	if encoded.UnmarshalText([]byte(text)) == nil && len(encoded) >= 8 {
		if schema, failed := arrowipc.DecodeSchemaAny(encoded, arrowipc.Limits{}); failed == nil {
			if n := schema.NumFields(); n != 1 {
				return arrow.Field{}, model.Errorf(model.BadRequest, "the type of column %s is a schema of %d fields, want one", model.ColumnPath(column), n)
			}
			return schema.Field(0), nil
		}
	}
	fault := model.AsError(err)
	return arrow.Field{}, model.Errorf(fault.Reason, "column %s: %s", model.ColumnPath(column), fault.Text).WithRemedy("%s", fault.Remedy)
}
