package obs

import (
	"fmt"
	"io"
	"log/slog"
	"strings"
)

// LogOptions say how a server logs.
type LogOptions struct {
	// Level is debug, info, warn or error; empty means info.
	Level string
	// Format is text or json; empty means text.
	Format string
}

// NewLogger gives a logger that writes one line a record to out.
func NewLogger(out io.Writer, options LogOptions) (*slog.Logger, error) {
	level := slog.LevelInfo
	if options.Level != "" {
		if err := level.UnmarshalText([]byte(options.Level)); err != nil {
			return nil, fmt.Errorf("log level %q, want debug, info, warn or error", options.Level)
		}
	}
	handlerOptions := &slog.HandlerOptions{Level: level}
	switch strings.ToLower(options.Format) {
	case "", "text":
		return slog.New(slog.NewTextHandler(out, handlerOptions)), nil
	case "json":
		return slog.New(slog.NewJSONHandler(out, handlerOptions)), nil
	}
	return nil, fmt.Errorf("log format %q, want text or json", options.Format)
}
