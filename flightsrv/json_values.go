package flightsrv

import (
	"encoding/base64"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/headrace/headrace/internal/engine"
	"github.com/headrace/headrace/internal/model"
)

// integerMax is the largest integer that JSON readers everywhere keep exactly.
const integerMax = 1<<53 - 1

// integer is a whole number of −(2^53−1) to 2^53−1, in JSON a number (also 12.0) or a decimal
// string. null leaves it as it is.
type integer int64

// UnmarshalJSONFrom implements json.UnmarshalerFrom.
func (i *integer) UnmarshalJSONFrom(decoder *jsontext.Decoder) error {
	token, err := decoder.ReadToken()
	if err != nil {
		return err
	}
	switch token.Kind() {
	case 'n':
		return nil
	case '0', '"':
		value, err := parseInteger(token.String())
		if err != nil {
			return err
		}
		*i = integer(value)
		return nil
	}
	return model.Errorf(model.BadRequest, "%s, want an integer", kindName(token.Kind()))
}

// parseInteger reads a decimal integer, also one with a fraction of zeros or an exponent.
func parseInteger(text string) (int64, error) {
	value, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		float, floatErr := strconv.ParseFloat(text, 64)
		if floatErr != nil || strings.ContainsAny(text, "xXpP_nN") || float != math.Trunc(float) {
			return 0, model.Errorf(model.BadRequest, "%q is not an integer", clipText(text, 40))
		}
		if math.Abs(float) <= integerMax {
			value, err = int64(float), nil
		}
	}
	if err != nil || value > integerMax || value < -integerMax {
		return 0, model.Errorf(model.BadRequest, "%s is too large", clipText(text, 40)).
			WithRemedy("Integers go up to 2^53-1")
	}
	return value, nil
}

// bytesValue are bytes, in JSON base64 of the standard or the URL alphabet, padded or not.
type bytesValue []byte

// UnmarshalText implements encoding.TextUnmarshaler.
func (b *bytesValue) UnmarshalText(text []byte) error {
	plain := strings.NewReplacer("-", "+", "_", "/").Replace(strings.TrimRight(string(text), "="))
	decoded, err := base64.RawStdEncoding.DecodeString(plain)
	if err != nil {
		return model.Errorf(model.BadRequest, "the text is not base64")
	}
	*b = decoded
	return nil
}

// MarshalText implements encoding.TextMarshaler.
func (b bytesValue) MarshalText() ([]byte, error) {
	return base64.StdEncoding.AppendEncode(nil, b), nil
}

// timeValue is a moment, in JSON a string in the form of RFC 3339 with a zone and at most 9
// fraction digits.
type timeValue struct{ at time.Time }

// UnmarshalText implements encoding.TextUnmarshaler.
func (t *timeValue) UnmarshalText(text []byte) error {
	parsed, err := time.Parse(time.RFC3339Nano, string(text))
	_, fraction, _ := strings.Cut(string(text), ".")
	digits := strings.IndexFunc(fraction, func(r rune) bool { return r < '0' || r > '9' })
	if err != nil || digits > 9 || strings.Contains(string(text), ",") {
		return model.Errorf(model.BadRequest, "%q is not a time", clipText(string(text), 60)).
			WithRemedy("Write it as 2026-11-21T08:00:00Z, with a zone and at most 9 fraction digits")
	}
	t.at = parsed
	return nil
}

// MarshalText implements encoding.TextMarshaler.
func (t timeValue) MarshalText() ([]byte, error) {
	return t.at.UTC().AppendFormat(nil, timeLayout), nil
}

// timeLayout is RFC 3339 in UTC with microseconds.
const timeLayout = "2006-01-02T15:04:05.000000Z07:00"

// position is a model.Position, in JSON {"table_id":…,"offsets":{…}} or the offsets alone.
type position struct{ model.Position }

// UnmarshalJSONFrom implements json.UnmarshalerFrom.
func (p *position) UnmarshalJSONFrom(decoder *jsontext.Decoder) error {
	value, err := decoder.ReadValue()
	if err != nil || value.Kind() == 'n' {
		return err
	}
	return p.read(decoder, value)
}

// read reads value, which decoder has just read.
func (p *position) read(decoder *jsontext.Decoder, value jsontext.Value) (err error) {
	if value.Kind() != '{' {
		return model.Errorf(model.BadRequest, "%s, want a position", kindName(value.Kind()))
	}
	// The bare form has numbers as names, the long one has words.
	if startsWithDigit(value) {
		var offsets map[string]integer
		if err := decodeNested(decoder, value, &offsets); err != nil {
			return err
		}
		p.Offsets, err = parseOffsets(offsets)
		return err
	}
	var long struct {
		TableID string             `json:"table_id"`
		Offsets map[string]integer `json:"offsets"`
	}
	if err := decodeNested(decoder, value, &long); err != nil {
		return err
	}
	p.TableID = long.TableID
	p.Offsets, err = parseOffsets(long.Offsets)
	return err
}

// MarshalJSONTo implements json.MarshalerTo.
func (p position) MarshalJSONTo(encoder *jsontext.Encoder) error {
	return encoder.WriteValue(appendPosition(nil, p.Position))
}

// startsWithDigit says whether the first name of the object value starts with a digit, or a sign.
func startsWithDigit(value jsontext.Value) bool {
	quote := strings.IndexByte(string(value[:min(len(value), 64)]), '"')
	return quote >= 0 && quote+1 < len(value) && strings.IndexByte("0123456789-", value[quote+1]) >= 0
}

// parseOffsets turns the names of buckets into numbers.
func parseOffsets(named map[string]integer) (model.Offsets, error) {
	offsets := make(model.Offsets, len(named))
	for name, offset := range named {
		bucket, err := strconv.ParseInt(name, 10, 32)
		if err != nil || bucket < 0 || strconv.FormatInt(bucket, 10) != name {
			return nil, model.Errorf(model.BadRequest, "%q is not the number of a bucket", clipText(name, 40))
		}
		if offset < 0 {
			return nil, model.Errorf(model.BadRequest, "the offset of bucket %d is %d, want 0 or more", bucket, offset)
		}
		offsets[int32(bucket)] = int64(offset)
	}
	return offsets, nil
}

// bound is one end of a scan, in JSON "earliest", "latest", "now", "never", a position, or
// {"time":…}.
type bound struct{ engine.Bound }

var boundWords = map[string]engine.BoundKind{
	"earliest": engine.BoundEarliest, "latest": engine.BoundLatest, "now": engine.BoundNow, "never": engine.BoundNever,
}

// UnmarshalJSONFrom implements json.UnmarshalerFrom.
func (b *bound) UnmarshalJSONFrom(decoder *jsontext.Decoder) error {
	value, err := decoder.ReadValue()
	if err != nil {
		return err
	}
	switch value.Kind() {
	case 'n':
		return nil
	case '"':
		word := strings.Trim(string(value), `"`)
		kind, ok := boundWords[word]
		if !ok {
			return model.Errorf(model.BadRequest, "%q is not a bound", clipText(word, 40)).
				WithRemedy(`Use "earliest", "latest", "now", "never", {"offsets":…} or {"time":…}`)
		}
		b.Kind = kind
		return nil
	}
	if value.Kind() != '{' {
		return model.Errorf(model.BadRequest, "%s, want a word, a position or a time", kindName(value.Kind()))
	}
	var names map[string]jsontext.Value
	if err := decodeNested(decoder, value, &names); err != nil {
		return err
	}
	if _, timed := names["time"]; timed {
		var at struct {
			Time timeValue `json:"time"`
		}
		if err := decodeNested(decoder, value, &at); err != nil {
			return err
		}
		b.Kind, b.Time = engine.BoundTime, at.Time.at
		return nil
	}
	var at position
	if err := at.read(decoder, value); err != nil {
		return err
	}
	b.Kind, b.Position = engine.BoundOffsets, at.Position
	return nil
}

// MarshalJSONTo implements json.MarshalerTo.
func (b bound) MarshalJSONTo(encoder *jsontext.Encoder) error {
	switch b.Kind {
	case engine.BoundOffsets:
		return encoder.WriteValue(appendPosition(nil, b.Position))
	case engine.BoundTime:
		text, err := timeValue{b.Time}.MarshalText()
		if err != nil {
			return err
		}
		return encoder.WriteValue([]byte(`{"time":"` + string(text) + `"}`))
	}
	for word, kind := range boundWords {
		if kind == b.Kind {
			return encoder.WriteToken(jsontext.String(word))
		}
	}
	return encoder.WriteToken(jsontext.Null)
}
