package auth

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"

	"github.com/headrace/headrace/internal/model"
)

// tokenPrefix begins every token, so that one that has leaked can be found by searching.
const tokenPrefix = "hrt_"

// NewToken makes a token from 32 bytes of random, and the line of the token file for it.
func NewToken(name string, random io.Reader) (token, line string, err error) {
	if err := checkTokenName(name); err != nil {
		return "", "", err
	}
	var secret [32]byte
	if _, err := io.ReadFull(random, secret[:]); err != nil {
		return "", "", fmt.Errorf("make a token: %w", err)
	}
	token = tokenPrefix + base64.RawURLEncoding.EncodeToString(secret[:])
	hash := sha256.Sum256([]byte(token))
	return token, name + ":" + hex.EncodeToString(hash[:]), nil
}

func checkTokenName(name string) error {
	if name == "" || strings.ContainsAny(name, ":\r\n") || strings.HasPrefix(name, "#") {
		return fmt.Errorf("%q is not a name for a token: want text without a colon that does not begin with #", name)
	}
	return nil
}

// tokenHash is one line of the token file.
type tokenHash struct {
	name string
	hash [sha256.Size]byte
}

// Tokens are the tokens of a token file.
type Tokens struct{ file watched[[]tokenHash] }

// OpenTokens reads the token file at path. The error names every line that makes no sense.
func OpenTokens(path string, clock model.Clock, logger *slog.Logger) (*Tokens, error) {
	t := &Tokens{file: watched[[]tokenHash]{
		what: "token file", paths: []string{path}, clock: clock, logger: logger,
		load: func() ([]tokenHash, error) {
			data, err := os.ReadFile(path)
			if err != nil {
				return nil, err
			}
			return parseTokens(data)
		},
	}}
	if err := t.file.start(); err != nil {
		return nil, err
	}
	return t, nil
}

// Reload reads the file now rather than when the next token is checked.
func (t *Tokens) Reload() error { return t.file.reload() }

// Check gives the name of a token; it takes the same time for every wrong one.
func (t *Tokens) Check(token string) (name string, ok bool) {
	hash := sha256.Sum256([]byte(token))
	for _, known := range t.file.get() {
		if subtle.ConstantTimeCompare(hash[:], known.hash[:]) == 1 {
			name, ok = known.name, true
		}
	}
	return name, ok
}

// parseTokens reads the lines of a token file.
func parseTokens(data []byte) ([]tokenHash, error) {
	var tokens []tokenHash
	var faults []error
	lines := bufio.NewScanner(bytes.NewReader(data))
	for number := 1; lines.Scan(); number++ {
		line := strings.TrimSpace(lines.Text())
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		name, digits, _ := strings.Cut(line, ":")
		hash, err := hex.DecodeString(strings.TrimSpace(digits))
		name = strings.TrimSpace(name)
		if err != nil || len(hash) != sha256.Size || name == "" {
			// The line itself is not shown: it may be a token that was put there by mistake.
			faults = append(faults, fmt.Errorf("line %d is not name:sha256, with 64 hexadecimal digits", number))
			continue
		}
		tokens = append(tokens, tokenHash{name: name, hash: [sha256.Size]byte(hash)})
	}
	if err := lines.Err(); err != nil {
		faults = append(faults, err)
	}
	return tokens, errors.Join(faults...)
}
