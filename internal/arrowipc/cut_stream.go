package arrowipc

import (
	"encoding/binary"
	"fmt"

	"github.com/headrace/headrace/internal/model"
)

// StreamMessage is one message of an IPC stream: its metadata without the length before it, and its
// body. Both lie in the bytes that were cut, and nothing in them has been verified.
type StreamMessage struct{ Header, Body []byte }

// CutStream cuts an IPC stream that lies in memory and may be hostile into messages, of which there is
// at least one; a Decoder takes them. The end mark may be missing; bytes behind it are refused. What
// is malformed is model.BadRequest.
func CutStream(stream []byte) ([]StreamMessage, error) {
	var messages []StreamMessage
	for rest := stream; len(rest) > 0; {
		message, behind, err := cutStreamMessage(rest)
		if err != nil {
			return nil, invalidStream(err)
		}
		if message == nil {
			if len(behind) > 0 {
				return nil, invalidStream(fmt.Errorf("%d bytes stand behind its end", len(behind)))
			}
			break
		}
		messages, rest = append(messages, *message), behind
	}
	if len(messages) == 0 {
		return nil, invalidStream(fmt.Errorf("it has no schema"))
	}
	return messages, nil
}

func invalidStream(err error) error {
	return model.Errorf(model.BadRequest, "the IPC stream is not valid: %v", err)
}

// cutStreamMessage cuts one message off; nil for the end mark.
func cutStreamMessage(data []byte) (*StreamMessage, []byte, error) {
	if len(data) >= 4 && binary.LittleEndian.Uint32(data) == 0xffffffff {
		data = data[4:]
	}
	if len(data) < 4 {
		return nil, nil, fmt.Errorf("it ends within the length of a message")
	}
	if binary.LittleEndian.Uint32(data) == 0 {
		return nil, data[4:], nil
	}
	header, err := cutMessage(data)
	if err != nil {
		return nil, nil, err
	}
	rest := data[4+len(header):]
	f := &flat{data: header, tables: 4}
	length := f.int64Field(f.root(), 3)
	if f.err != nil {
		return nil, nil, f.err
	}
	if length < 0 || length > int64(len(rest)) {
		return nil, nil, fmt.Errorf("the body of a message has %d bytes, there are %d", length, len(rest))
	}
	return &StreamMessage{Header: header, Body: rest[:length]}, rest[length:], nil
}
