package vfs

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"syscall"
	"testing"

	"pgregory.net/rapid"
)

// pair is a Disk and a Mem that get the same calls.
type pair struct {
	t     *rapid.T
	both  [2]FS
	files map[string][2]File // open files by a name of their own
	maps  map[string][2]*Mapping
	made  int // files and maps so far
}

// name gives a new name for a file or a mapping of the file at path.
func (p *pair) name(path string) string {
	p.made++
	return fmt.Sprintf("%s#%d", path, p.made)
}

var modelPaths = []string{"a", "b", "c", "a/x", "a/y", "b/x", "a/x/z", "b/y/z"}

// kind is what callers may tell errors apart by.
func kind(err error) error {
	for _, target := range []error{
		fs.ErrNotExist, syscall.ENOTEMPTY, fs.ErrExist, fs.ErrInvalid, fs.ErrClosed,
		syscall.ENOTDIR, syscall.EISDIR, syscall.EINVAL, ErrDiskFull, ErrLocked, ErrUnreadable,
	} {
		if errors.Is(err, target) {
			return target
		}
	}
	return err
}

// same checks that a call had the same outcome on both, and gives whether it succeeded.
func (p *pair) same(call string, values [2]any, errs [2]error) bool {
	p.t.Helper()
	if kind(errs[0]) != kind(errs[1]) {
		p.t.Fatalf("%s: disk gave %v, mem %v", call, errs[0], errs[1])
	}
	if got, want := fmt.Sprint(values[1]), fmt.Sprint(values[0]); got != want {
		p.t.Fatalf("%s: disk gave %s, mem %s", call, want, got)
	}
	return errs[0] == nil
}

func (p *pair) names(call string, work func(FS) (any, error)) bool {
	p.t.Helper()
	var values [2]any
	var errs [2]error
	for i, fsys := range p.both {
		values[i], errs[i] = work(fsys)
	}
	return p.same(call, values, errs)
}

func (p *pair) open(call, path string, open func(FS, string) (File, error)) {
	if len(p.files) > 8 {
		return
	}
	var files [2]File
	var errs [2]error
	for i, fsys := range p.both {
		files[i], errs[i] = open(fsys, path)
	}
	if p.same(call+" "+path, [2]any{}, errs) {
		p.files[p.name(path)] = files
	}
}

// file does work to one of the open files.
func (p *pair) file(call string, work func(File) (any, error)) (name string, ok bool) {
	if len(p.files) == 0 {
		return "", false
	}
	var names []string
	for name := range p.files {
		names = append(names, name)
	}
	slices.Sort(names)
	name = rapid.SampledFrom(names).Draw(p.t, "file")
	var values [2]any
	var errs [2]error
	for i, file := range p.files[name] {
		values[i], errs[i] = work(file)
	}
	return name, p.same(call+" "+name, values, errs)
}

func (p *pair) actions() map[string]func(*rapid.T) {
	path := rapid.SampledFrom(modelPaths)
	position := rapid.Int64Range(0, 6000)
	return map[string]func(*rapid.T){
		"create": func(t *rapid.T) { p.open("create", path.Draw(t, "path"), FS.Create) },
		"open":   func(t *rapid.T) { p.open("open", path.Draw(t, "path"), FS.Open) },
		"mkdir": func(t *rapid.T) {
			at := path.Draw(t, "path")
			p.names("mkdir "+at, func(f FS) (any, error) { return nil, f.MkdirAll(at) })
		},
		"remove": func(t *rapid.T) {
			at := path.Draw(t, "path")
			p.names("remove "+at, func(f FS) (any, error) { return nil, f.Remove(at) })
		},
		"removeall": func(t *rapid.T) {
			at := path.Draw(t, "path")
			p.names("removeall "+at, func(f FS) (any, error) { return nil, f.RemoveAll(at) })
		},
		"rename": func(t *rapid.T) {
			from, to := path.Draw(t, "from"), path.Draw(t, "to")
			p.names("rename "+from+" "+to, func(f FS) (any, error) { return nil, f.Rename(from, to) })
		},
		"syncdir": func(t *rapid.T) {
			at := path.Draw(t, "path")
			p.names("syncdir "+at, func(f FS) (any, error) { return nil, f.SyncDir(at) })
		},
		"write": func(t *rapid.T) {
			at, bytes := position.Draw(t, "position"), rapid.SliceOfN(rapid.Byte(), 0, 50).Draw(t, "bytes")
			p.file("write", func(f File) (any, error) {
				return nil, f.WriteAt([][]byte{bytes[:len(bytes)/2], bytes[len(bytes)/2:]}, at)
			})
		},
		"truncate": func(t *rapid.T) {
			size := position.Draw(t, "size")
			p.file("truncate", func(f File) (any, error) { return nil, f.Truncate(size) })
		},
		"sync": func(*rapid.T) { p.file("sync", func(f File) (any, error) { return nil, f.Sync() }) },
		"map":  p.mapFile,
		"close": func(*rapid.T) {
			if name, ok := p.file("close", func(f File) (any, error) { return nil, f.Close() }); ok {
				delete(p.files, name)
			}
		},
		"": func(*rapid.T) { p.compare() },
	}
}

// mapFile maps a file; the mapping lives on whatever happens to the file.
func (p *pair) mapFile(*rapid.T) {
	if len(p.maps) > 8 {
		return
	}
	var mapped [2]*Mapping
	i := 0
	name, ok := p.file("map", func(f File) (any, error) {
		var err error
		mapped[i], err = f.Map(16384)
		i++
		return nil, err
	})
	if ok {
		p.maps[p.name(name)] = mapped
	}
}

// compare checks that both look the same: all names, the content of all files, open ones and
// mapped ones.
func (p *pair) compare() {
	for _, dir := range append([]string{"."}, modelPaths...) {
		p.names("list "+dir, func(f FS) (any, error) { return f.List(dir) })
		p.names("stat "+dir, func(f FS) (any, error) {
			info, err := f.Stat(dir)
			if info.IsDir {
				info.Size = 0
			}
			return fmt.Sprint(info.Size, info.IsDir), err
		})
	}
	for name, files := range p.files {
		var values [2]any
		var errs [2]error
		for i, file := range files {
			into := make([]byte, 7000)
			n, err := file.ReadAt(into, 0)
			if err != io.EOF {
				errs[i] = err
			}
			values[i] = into[:n]
		}
		p.same("read "+name, values, errs)
	}
	for name, mapped := range p.maps {
		// A page behind the end of the file must not be touched: where Populate fails on one, it
		// fails on both.
		for page := int64(0); page < 2; page++ {
			errs := [2]error{mapped[0].Populate(page*4096, 4096), mapped[1].Populate(page*4096, 4096)}
			if p.same("populate "+name, [2]any{}, errs) {
				from, to := page*4096, page*4096+4096
				if !bytes.Equal(mapped[0].Bytes()[from:to], mapped[1].Bytes()[from:to]) {
					p.t.Fatalf("mapping %s differs", name)
				}
			}
		}
	}
}

// A Mem does what a Disk does, call by call: the same outcome, the same errors, the same content.
func TestMemBehavesAsDisk(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		disk := must(NewDisk(t.TempDir()))(t)
		p := &pair{
			t: rt, both: [2]FS{disk, NewMem(MemOptions{})},
			files: map[string][2]File{}, maps: map[string][2]*Mapping{},
		}
		rt.Repeat(p.actions())
		for _, files := range p.files {
			check(t, errors.Join(files[0].Close(), files[1].Close()))
		}
		for _, mapped := range p.maps {
			mapped[0].Release()
			mapped[1].Release()
		}
		check(t, disk.Close())
		if mem := p.both[1].(*Mem); mem.used != memUsed(mem.root) {
			rt.Fatalf("mem counts %d bytes, its files have %d", mem.used, memUsed(mem.root))
		}
	})
}

// memUsed adds up the files that have a name.
func memUsed(node *memNode) int64 {
	used := node.charged
	for _, below := range node.entries {
		used += memUsed(below)
	}
	return used
}
