package streams

import (
	"errors"
	"io/fs"
	"path"
	"strconv"
	"strings"
	"time"
)

// toTrash moves a file of the bucket's folder to the trash: its name there is its path, with _ for /,
// and the time in ms since 1970.
func (b *Bucket) toTrash(name string) error {
	from := b.dir + "/" + name
	b.options.Logger.Warn("a file that is not part of the log goes to the trash", "file", from)
	if err := b.options.FS.MkdirAll(b.options.Trash); err != nil {
		return err
	}
	origin := path.Join(b.options.Trash, strings.ReplaceAll(from, "/", "_"))
	for millis := b.options.Clock.Now().UnixMilli(); ; millis++ {
		to := origin + "." + strconv.FormatInt(millis, 10)
		_, err := b.options.FS.Stat(to)
		if err == nil {
			continue // a name is taken once
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if err := b.options.FS.Rename(from, to); err != nil {
			return err
		}
		return b.options.FS.SyncDir(b.options.Trash)
	}
}

// TrashedAt tells when a bucket moved a file to the trash, from its name there; false for a file that
// somebody else has put there.
func TrashedAt(name string) (time.Time, bool) {
	dot := strings.LastIndexByte(name, '.')
	if !strings.HasPrefix(name, tablesDir+"_") || dot < 0 {
		return time.Time{}, false
	}
	millis, err := strconv.ParseInt(name[dot+1:], 10, 64)
	if err != nil || millis < 0 {
		return time.Time{}, false
	}
	return time.UnixMilli(millis).UTC(), true
}
