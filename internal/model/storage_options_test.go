package model

import (
	"errors"
	"strings"
	"testing"
)

func TestParseCompression(t *testing.T) {
	for text, want := range map[string]Compression{
		"none": {}, "lz4": {CompressionLZ4, 0}, "zstd": {CompressionZSTD, 0}, "zstd:1": {CompressionZSTD, 1}, "zstd:22": {CompressionZSTD, 22},
	} {
		got, err := ParseCompression(text)
		if err != nil || got != want || got.String() != text {
			t.Errorf("%s: got %v, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "NONE", "none:1", "lz4:1", "zstd:", "zstd:0", "zstd:23", "zstd:-1", "zstd:+1", "zstd:01", "zstd:1:2", "snappy"} {
		if got, err := ParseCompression(text); !errors.Is(err, BadRequest) {
			t.Errorf("%q: got %v, %v, want an error", text, got, err)
		}
	}
}

func TestStorageOptionsThatDoNotFit(t *testing.T) {
	for name, c := range map[string]struct {
		key     []string
		options map[string]string
		fault   string // empty: none
	}{
		"local as long as all":    {nil, map[string]string{"log.ttl": "1d", "local.ttl": "24h"}, ""},
		"local alone":             {nil, map[string]string{"local.ttl": "36500d"}, ""},
		"local longer than all":   {nil, map[string]string{"log.ttl": "1d", "local.ttl": "2d"}, "local.ttl is 2d, longer than log.ttl, 1d"},
		"compressed log":          {nil, map[string]string{"log.compression": "zstd"}, ""},
		"keyed, not compressed":   {[]string{"id"}, map[string]string{"log.compression": "none"}, ""},
		"keyed and compressed":    {[]string{"id"}, map[string]string{"log.compression": "lz4"}, "option log.compression is for log tables"},
		"keyed, local for longer": {[]string{"id"}, map[string]string{"log.ttl": "1h", "local.ttl": "1d"}, "longer than log.ttl"},
	} {
		table := &Table{Schema: indexedTable().Schema, PrimaryKey: c.key, Options: c.options}
		err := table.CheckOptions()
		if c.fault == "" && err != nil || c.fault != "" && (!errors.Is(err, BadRequest) || !strings.Contains(err.Error(), c.fault)) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
