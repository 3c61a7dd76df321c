package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/headrace/headrace/internal/engine"
	"github.com/headrace/headrace/internal/vfs"
)

func (p *program) checkCommand() *cobra.Command {
	var rebuild bool
	command := &cobra.Command{
		Use:   "check DIR",
		Short: "Read every byte of a data folder and tell what is damaged",
		Long: `Read every byte of a data folder whose server is stopped, and tell what is damaged: one line a
finding, with file, byte and rows. Nothing is changed, unless --rebuild-catalog is given: definitions
of tables that cannot be read are then made anew from the segments.

The exit code is 1 if anything is damaged.`,
		Args: arguments("DIR"),
		RunE: func(_ *cobra.Command, args []string) error { return p.check(args[0], rebuild) },
	}
	command.Flags().BoolVar(&rebuild, "rebuild-catalog", false, "make definitions of tables anew from the segments")
	return command
}

// finding is one line of "check --json". Without a last offset, it is not known how many rows are
// concerned.
type finding struct {
	File        string `json:"file"`
	Table       string `json:"table,omitzero"`
	Position    int64  `json:"position"`
	FirstOffset *int64 `json:"first_offset,omitzero"`
	LastOffset  *int64 `json:"last_offset,omitzero"`
	Detail      string `json:"detail"`
}

// String gives the finding as one line.
func (f finding) String() string {
	text := fmt.Sprintf("%s: byte %d", f.File, f.Position)
	switch {
	case f.LastOffset != nil:
		text += fmt.Sprintf(", rows %d to %d", *f.FirstOffset, *f.LastOffset)
	case f.FirstOffset != nil:
		text += fmt.Sprintf(", rows from %d on", *f.FirstOffset)
	}
	if f.Table != "" {
		text += " of " + f.Table
	}
	return text + ": " + f.Detail
}

func (p *program) check(dir string, rebuild bool) error {
	if err := isFolder(dir); err != nil {
		return err
	}
	disk, err := vfs.NewDisk(dir)
	if err != nil {
		return fmt.Errorf("opening the data folder %s: %w", dir, err)
	}
	defer func() { _ = disk.Close() }()
	findings := 0
	var printing error
	checked, err := engine.CheckFolder(disk, dir, rebuild, func(found engine.Finding) {
		findings++
		f := finding{File: found.Path, Table: found.Table, Position: found.Position, Detail: found.Detail}
		if found.FirstOffset >= 0 {
			f.FirstOffset = &found.FirstOffset
		}
		if found.LastOffset >= found.FirstOffset && found.FirstOffset >= 0 {
			f.LastOffset = &found.LastOffset
		}
		if p.json {
			printing = errors.Join(printing, printJSON(p.stdout, f))
			return
		}
		_, failed := fmt.Fprintln(p.stdout, f)
		printing = errors.Join(printing, failed)
	})
	if errors.Is(err, vfs.ErrLocked) {
		return fmt.Errorf("a server uses %s; stop it first", dir)
	}
	if err != nil {
		return fmt.Errorf("checking %s: %w", dir, errors.Join(err, printing))
	}
	if printing != nil {
		return printing
	}
	p.note("%s, %s, %s read: %s", counted(checked.Tables, "table"), counted(checked.Segments, "segment"),
		formatBytes(float64(checked.Bytes)), counted(findings, "finding"))
	if checked.Rebuilt > 0 {
		p.note("%d definitions of tables made anew", checked.Rebuilt)
	}
	if findings > 0 {
		return errReported
	}
	return nil
}
