package flightsrv

import (
	"strconv"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/headrace/headrace/internal/model"
)

// The functions here write the JSON that goes out with every batch, without reflection. All names
// and values are ours, or are quoted by appendText.

// appendText appends a JSON string.
func appendText(dst []byte, text string) []byte {
	quoted, err := jsontext.AppendQuote(dst, text)
	if err != nil { // invalid UTF-8 is replaced, and said to be an error
		return quoted
	}
	return quoted
}

// appendPosition appends {"table_id":…,"offsets":{"0":1200}}, buckets in ascending order.
func appendPosition(dst []byte, p model.Position) []byte {
	dst = append(dst, '{')
	if p.TableID != "" {
		dst = append(dst, `"table_id":`...)
		dst = append(appendText(dst, p.TableID), ',')
	}
	dst = append(dst, `"offsets":`...)
	dst = appendOffsets(dst, p.Offsets)
	return append(dst, '}')
}

// appendOffsets appends {"0":1200}, buckets in ascending order.
func appendOffsets(dst []byte, offsets model.Offsets) []byte {
	dst = append(dst, '{')
	for i, bucket := range offsets.Buckets() {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = appendBucket(dst, bucket)
		dst = strconv.AppendInt(dst, offsets[bucket], 10)
	}
	return append(dst, '}')
}

// appendBucket appends the name of a bucket and the colon behind it.
func appendBucket(dst []byte, bucket int32) []byte {
	dst = append(dst, '"')
	dst = strconv.AppendInt(dst, int64(bucket), 10)
	return append(dst, `":`...)
}

// appendField appends ,"name":value.
func appendField(dst []byte, name string, value int64) []byte {
	dst = append(dst, `,"`...)
	dst = append(dst, name...)
	dst = append(dst, `":`...)
	return strconv.AppendInt(dst, value, 10)
}

// appendTime appends a moment in microseconds since 1970 as a JSON string.
func appendTime(dst []byte, microseconds int64) []byte {
	dst = append(dst, '"')
	dst = time.UnixMicro(microseconds).UTC().AppendFormat(dst, timeLayout)
	return append(dst, '"')
}
