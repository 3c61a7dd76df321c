package main

import (
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/headrace/headrace/internal/model"
)

// columnFlags are the flags of alter that change columns.
type columnFlags struct {
	add, drop, rename, setType, nullable, move, comment, metadata []string
}

func (f *columnFlags) register(command *cobra.Command) {
	flags := command.Flags()
	flags.StringArrayVar(&f.add, "add-column", nil, "column to add, 'NAME TYPE [not null] [default VALUE] [after NAME | first]'; may be repeated")
	flags.StringArrayVar(&f.drop, "drop-column", nil, "column to drop; may be repeated")
	flags.StringArrayVar(&f.rename, "rename-column", nil, "column to rename, NAME=NEW-NAME; may be repeated")
	flags.StringArrayVar(&f.setType, "set-type", nil, "wider type of a column, NAME=TYPE; may be repeated")
	flags.StringArrayVar(&f.nullable, "set-nullable", nil, "column that may hold nulls from now on; may be repeated")
	flags.StringArrayVar(&f.move, "move-column", nil, "column to move, 'NAME after OTHER', 'NAME first' or 'NAME last'; may be repeated")
	flags.StringArrayVar(&f.comment, "set-comment", nil, "comment of a column, NAME=TEXT; may be repeated")
	flags.StringArrayVar(&f.metadata, "set-metadata", nil, "metadata of a column in place of what it has, NAME=KEY=VALUE, or NAME= for none; may be repeated")
}

// The changes of columns, as AlterTable takes them.
type (
	addColumn struct {
		Name     []string `json:"name"`
		Type     string   `json:"type"`
		Nullable bool     `json:"nullable"`
		Default  any      `json:"default,omitzero"`
		After    string   `json:"after,omitempty"`
		First    bool     `json:"first,omitempty"`
	}
	renameColumn struct {
		From []string `json:"from"`
		To   string   `json:"to"`
	}
	setType struct {
		Column []string `json:"column"`
		Type   string   `json:"type"`
	}
	moveColumn struct {
		Column []string `json:"column"`
		After  string   `json:"after,omitempty"`
		First  bool     `json:"first,omitempty"`
	}
	setComment struct {
		Column  string `json:"column"`
		Comment string `json:"comment"`
	}
	setMetadata struct {
		Column   []string          `json:"column"`
		Metadata map[string]string `json:"metadata"`
	}
)

// changes gives the changes in the order in which they are made: what is dropped or renamed makes room for
// what is added.
func (f *columnFlags) changes() (changes []tableChange, err error) {
	for _, text := range f.drop {
		path, err := parsePath("--drop-column", text)
		if err != nil {
			return nil, err
		}
		changes = append(changes, tableChange{DropColumn: path})
	}
	for _, text := range f.rename {
		path, to, err := columnAndText("--rename-column", text, "NAME=NEW-NAME")
		if err != nil {
			return nil, err
		}
		changes = append(changes, tableChange{RenameColumn: &renameColumn{path, to}})
	}
	for _, text := range f.setType {
		path, to, err := columnAndText("--set-type", text, "NAME=TYPE")
		if err != nil {
			return nil, err
		}
		changes = append(changes, tableChange{SetType: &setType{path, to}})
	}
	for _, text := range f.nullable {
		path, err := parsePath("--set-nullable", text)
		if err != nil {
			return nil, err
		}
		changes = append(changes, tableChange{SetNullable: path})
	}
	more, err := f.placed()
	if err != nil {
		return nil, err
	}
	changes = append(changes, more...)
	for _, text := range f.comment {
		path, comment, err := columnAndText("--set-comment", text, "NAME=TEXT")
		if err != nil {
			return nil, err
		}
		if len(path) > 1 {
			return nil, usagef("--set-comment %s: only columns have comments", text)
		}
		changes = append(changes, tableChange{SetComment: &setComment{path[0], comment}})
	}
	more, err = f.withMetadata()
	return append(changes, more...), err
}

// withMetadata gives a change for each column that gets metadata, in the order of the flags: all that they say of a
// column is its metadata.
func (f *columnFlags) withMetadata() (changes []tableChange, err error) {
	for _, text := range f.metadata {
		path, pair, err := columnAndText("--set-metadata", text, "NAME=KEY=VALUE")
		if err != nil {
			return nil, err
		}
		at := slices.IndexFunc(changes, func(c tableChange) bool { return slices.Equal(c.SetMetadata.Column, path) })
		if at < 0 {
			at = len(changes)
			changes = append(changes, tableChange{SetMetadata: &setMetadata{path, map[string]string{}}})
		}
		key, value, found := strings.Cut(pair, "=")
		switch metadata := changes[at].SetMetadata.Metadata; {
		case pair == "":
		case !found || key == "":
			return nil, usagef("--set-metadata %s: want NAME=KEY=VALUE, or NAME= for none", text)
		default:
			metadata[key] = value
		}
	}
	return changes, nil
}

// placed gives the changes that say where a column stands.
func (f *columnFlags) placed() (changes []tableChange, err error) {
	for _, text := range f.add {
		add, err := model.ParseAddedColumn(text)
		if err != nil {
			return nil, usagef("--add-column %s: %s", text, model.AsError(err).Error())
		}
		changes = append(changes, tableChange{AddColumn: &addColumn{
			Name: add.Path, Type: model.FormatType(add.Field.Type), Nullable: add.Field.Nullable, Default: add.Default,
			After: add.Place.After, First: add.Place.First,
		}})
	}
	for _, text := range f.move {
		name, where, _ := strings.Cut(text, " ")
		path, err := parsePath("--move-column", name)
		if err != nil {
			return nil, err
		}
		move := &moveColumn{Column: path}
		after, found := strings.CutPrefix(strings.TrimSpace(where), "after ")
		switch {
		case found:
			move.After = strings.TrimSpace(after)
		case strings.TrimSpace(where) == "first":
			move.First = true
		case strings.TrimSpace(where) == "last":
		default:
			return nil, usagef("--move-column %s: want 'NAME after OTHER', 'NAME first' or 'NAME last'", text)
		}
		changes = append(changes, tableChange{MoveColumn: move})
	}
	return changes, nil
}

func parsePath(flag, text string) ([]string, error) {
	path, err := model.ParseColumnPath(text)
	if err != nil {
		return nil, usagef("%s %s: %s", flag, text, model.AsError(err).Error())
	}
	return path, nil
}

// columnAndText cuts the value of a flag at its first equals sign.
func columnAndText(flag, value, form string) (path []string, text string, err error) {
	name, text, found := strings.Cut(value, "=")
	mayBeEmpty := flag == "--set-comment" || flag == "--set-metadata"
	if !found || name == "" || text == "" && !mayBeEmpty {
		return nil, "", usagef("%s %s: want %s", flag, value, form)
	}
	path, err = parsePath(flag, name)
	return path, text, err
}
