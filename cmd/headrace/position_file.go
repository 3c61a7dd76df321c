package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// readPositionFile gives the position in a file; nil if there is no such file yet.
func readPositionFile(path string) (*position, error) {
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading the position: %w", err)
	}
	p, err := parsePosition(string(text))
	if err != nil {
		return nil, fmt.Errorf("%s does not hold a position; remove it to begin anew", path)
	}
	return &p, nil
}

// writePositionFile replaces the file in one step: a crash leaves the old position or the new one.
// With sync, the new one survives a power cut.
func writePositionFile(path string, p position, sync bool) error {
	text, err := json.Marshal(p)
	if err != nil {
		return fmt.Errorf("encoding the position: %w", err)
	}
	temporary, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*.new")
	if err != nil {
		return fmt.Errorf("writing the position: %w", err)
	}
	_, err = temporary.Write(append(text, '\n'))
	if err == nil && sync {
		err = temporary.Sync()
	}
	err = errors.Join(err, temporary.Close())
	if err == nil {
		err = os.Rename(temporary.Name(), path)
	}
	if err != nil {
		return fmt.Errorf("writing the position: %w", errors.Join(err, os.Remove(temporary.Name())))
	}
	return nil
}
