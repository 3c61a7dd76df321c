package engine

import (
	"errors"
	"io/fs"
	"time"
)

// groups checks the ledger of a table's groups. The torn end of a crash is no damage.
func (c *checker) groups(table, dir string) {
	path := dir + "/" + groupsFile
	content, err := readFile(c.files, path)
	if errors.Is(err, fs.ErrNotExist) {
		return
	}
	if err == nil {
		c.checked.Bytes += int64(len(content))
		set := &groupSet{byName: map[string]*consumerGroup{}}
		_, err = parseLedger(content, func(record []byte) error { return set.apply(record, time.Time{}) })
	}
	if err != nil {
		c.found(Finding{Path: path, Table: table, Detail: err.Error()})
	}
}
