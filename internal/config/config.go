package config

import (
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"

	"github.com/headrace/headrace/internal/model"
)

// Config holds the settings of a server.
type Config struct {
	// Data is the folder of all data; it is made if it is missing.
	Data string
	// Listen is the address of the Flight port, host:port; port 0 takes a free one.
	Listen string
	// Advertise is the address that the nodes of a cluster tell clients; a server alone tells none, so
	// that clients stay with the address that they used.
	Advertise string
	// Admin is the address of the HTTP port for health and metrics; empty means none.
	Admin string
	// TLSCert and TLSKey are files in PEM form; empty means no TLS.
	TLSCert, TLSKey string
	// TLSClientCA is a file in PEM form; clients must then show a certificate that it signed.
	TLSClientCA string
	// TokenFile holds the hashes of the tokens that clients may show; empty means that none is asked for.
	TokenFile string
	// Insecure allows listening beyond this machine without TLS.
	Insecure bool
	// SegmentBytes is the size at which a bucket begins a new file.
	SegmentBytes int64
	// RowCacheBytes is the memory for rows of primary-key tables that were looked up; 0: it depends on the memory that
	// there is, negative: none.
	RowCacheBytes int64
	// LogLevel is debug, info, warn or error; LogFormat is text or json.
	LogLevel, LogFormat string
}

// Setting describes one setting.
type Setting struct {
	Name, Default, Description string

	read func(c *Config, text string) error
}

// segmentBytesMin and segmentBytesMax bound Config.SegmentBytes.
const segmentBytesMin, segmentBytesMax = 64 << 10, 16 << 30

// rowCacheBytesMin is the least of Config.RowCacheBytes.
const rowCacheBytesMin = 1 << 20

// Settings are all settings, in the order in which they are shown.
func Settings() []Setting {
	return []Setting{
		{"data", "./data", "folder of all data", textOf(func(c *Config) *string { return &c.Data })},
		{"listen", "127.0.0.1:8815", "address of the Flight port", textOf(func(c *Config) *string { return &c.Listen })},
		{"advertise", "", "address that a cluster tells its clients; without effect alone", textOf(func(c *Config) *string { return &c.Advertise })},
		{"admin", "127.0.0.1:8816", "address of the HTTP port for health and metrics; empty for none", textOf(func(c *Config) *string { return &c.Admin })},
		{"tls-cert", "", "certificate of the server, a PEM file", textOf(func(c *Config) *string { return &c.TLSCert })},
		{"tls-key", "", "private key of the certificate, a PEM file", textOf(func(c *Config) *string { return &c.TLSKey })},
		{"tls-client-ca", "", "ask clients for a certificate that one of this PEM file signed", textOf(func(c *Config) *string { return &c.TLSClientCA })},
		{"token-file", "", "ask clients for a token whose hash is in this file", textOf(func(c *Config) *string { return &c.TokenFile })},
		{"insecure", "false", "allow listening beyond this machine without TLS", readInsecure},
		{"segment-bytes", "256MiB", "size at which a bucket begins a new file", readSegmentBytes},
		{"row-cache-bytes", "", "memory for rows that were looked up, 0 for none (default a sixteenth of the memory)", readRowCacheBytes},
		{"log-level", "info", "debug, info, warn or error", oneOf(func(c *Config) *string { return &c.LogLevel }, "debug", "info", "warn", "error")},
		{"log-format", "text", "text or json", oneOf(func(c *Config) *string { return &c.LogFormat }, "text", "json")},
	}
}

func textOf(field func(*Config) *string) func(*Config, string) error {
	return func(c *Config, text string) error {
		*field(c) = text
		return nil
	}
}

func oneOf(field func(*Config) *string, words ...string) func(*Config, string) error {
	return func(c *Config, text string) error {
		if !slices.Contains(words, text) {
			return fmt.Errorf("got %q, want one of %s", text, strings.Join(words, ", "))
		}
		*field(c) = text
		return nil
	}
}

func readInsecure(c *Config, text string) error {
	insecure, err := strconv.ParseBool(text)
	if err != nil {
		return fmt.Errorf("got %q, want true or false", text)
	}
	c.Insecure = insecure
	return nil
}

func readSegmentBytes(c *Config, text string) error {
	size, err := model.ParseSize(text)
	if err != nil {
		return fmt.Errorf("%s, want a size such as 256MiB", model.AsError(err).Text)
	}
	if size < segmentBytesMin || size > segmentBytesMax {
		return fmt.Errorf("got %s, want 64KiB to 16GiB", text)
	}
	c.SegmentBytes = size
	return nil
}

func readRowCacheBytes(c *Config, text string) error {
	if text == "" {
		return nil
	}
	size, err := model.ParseSize(text)
	if err != nil {
		return fmt.Errorf("%s, want a size such as 512MiB, or 0", model.AsError(err).Text)
	}
	if size != 0 && size < rowCacheBytesMin {
		return fmt.Errorf("got %s, want 0 for none, or 1MiB and more", text)
	}
	if c.RowCacheBytes = size; size == 0 {
		c.RowCacheBytes = -1
	}
	return nil
}

// validate says what does not fit together.
func (c Config) validate() []error {
	var faults []error
	if c.Data == "" {
		faults = append(faults, errors.New("data: the folder is empty"))
	}
	if (c.TLSCert == "") != (c.TLSKey == "") {
		faults = append(faults, errors.New("tls-cert and tls-key: one is set without the other"))
	}
	if c.TLSClientCA != "" && c.TLSCert == "" {
		faults = append(faults, errors.New("tls-client-ca: it needs tls-cert and tls-key"))
	}
	for _, address := range []struct {
		name, value string
		optional    bool
	}{{"listen", c.Listen, false}, {"admin", c.Admin, true}, {"advertise", c.Advertise, true}} {
		if address.value == "" && address.optional {
			continue
		}
		if _, _, err := net.SplitHostPort(address.value); err != nil {
			faults = append(faults, fmt.Errorf("%s: got %q, want host:port such as 127.0.0.1:8815", address.name, address.value))
		}
	}
	return faults
}
