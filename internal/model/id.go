package model

import (
	"fmt"
	"io"

	"github.com/oklog/ulid/v2"
)

// NewID gives a new ULID: 26 characters that sort by the time of clock, in milliseconds, with 80
// random bits read from entropy. It fails only if entropy does.
func NewID(clock Clock, entropy io.Reader) (string, error) {
	id, err := ulid.New(ulid.Timestamp(clock.Now()), entropy)
	if err != nil {
		return "", fmt.Errorf("making an id: %w", err)
	}
	return id.String(), nil
}
