package pkstore

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"

	"github.com/dgraph-io/badger/v4/pb"
	"github.com/dgraph-io/badger/v4/y"
	"google.golang.org/protobuf/proto"

	"github.com/headrace/headrace/internal/model"
	"github.com/headrace/headrace/internal/vfs"
)

// coldTableSuffix is how the names of Badger's tables end.
const coldTableSuffix = ".sst"

// checkTables looks at the index of each table before Badger does, which on some damage panics in a
// goroutine of its own. A table ends with
//
//	index; its length n, uint32; a sum as protobuf; its length m, uint32
//
// with big-endian integers.
func (c *Cold) checkTables() error {
	if c.options.FS == nil {
		return nil
	}
	names, err := c.options.FS.List(c.options.Path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, name := range names {
		if !strings.HasSuffix(name, coldTableSuffix) {
			continue
		}
		name = path.Join(c.options.Path, name)
		if err := checkTable(c.options.FS, name); err != nil {
			return model.Errorf(model.Corrupt, "the index of %s is damaged: %v", name, err).
				WithRemedy("Restore the folder from a backup; its rows are no longer in the log")
		}
	}
	return nil
}

func checkTable(files vfs.FS, name string) error {
	file, err := files.Open(name)
	if err != nil {
		return err
	}
	defer func() { _ = file.Close() }()
	end, err := file.Size()
	if err != nil {
		return err
	}
	// back reads the n bytes that end at end, and moves it before them.
	back := func(n int64) ([]byte, error) {
		if n > end {
			return nil, fmt.Errorf("%d bytes should end at byte %d", n, end)
		}
		end -= n
		part := make([]byte, n)
		_, err := file.ReadAt(part, end)
		return part, err
	}
	// sized is back for a part with its length behind it.
	sized := func() ([]byte, error) {
		length, err := back(4)
		if err != nil {
			return nil, err
		}
		return back(int64(binary.BigEndian.Uint32(length)))
	}
	sum, err := sized()
	if err != nil {
		return err
	}
	index, err := sized()
	if err != nil {
		return err
	}
	var want pb.Checksum
	if err := proto.Unmarshal(sum, &want); err != nil {
		return err
	}
	if algorithm := want.GetAlgo(); algorithm != pb.Checksum_CRC32C && algorithm != pb.Checksum_XXHash64 {
		return fmt.Errorf("there is no checksum %d", algorithm)
	}
	return y.VerifyChecksum(index, &want)
}
