package vfs

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
)

// systems are all implementations of FS; the same behaviour is asked of each.
var systems = map[string]func(t *testing.T) FS{
	"disk": func(t *testing.T) FS { return newDisk(t) },
	"disk without populate": func(t *testing.T) FS {
		disk := newDisk(t)
		disk.populates = false
		return disk
	},
	"mem":   func(*testing.T) FS { return NewMem(MemOptions{}) },
	"fault": func(*testing.T) FS { return NewFault(NewMem(MemOptions{}), FaultOptions{FailAt: -1}) },
	"trace": func(*testing.T) FS { return NewTrace(NewMem(MemOptions{})) },
}

func newDisk(t testing.TB) *Disk {
	t.Helper()
	disk, err := NewDisk(t.TempDir() + "/made/below")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { check(t, disk.Close()) })
	return disk
}

// machinePath gives the path of a file of disk for package os.
func machinePath(disk *Disk, path string) string { return filepath.Join(disk.root.Name(), path) }

func eachSystem(t *testing.T, test func(t *testing.T, fsys FS)) {
	t.Helper()
	for name, open := range systems {
		t.Run(name, func(t *testing.T) { test(t, open(t)) })
	}
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func must[T any](value T, err error) func(t testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()
		check(t, err)
		return value
	}
}

// wantError checks that err has target in its chain and names the call and the path.
func wantError(t *testing.T, err, target error) {
	t.Helper()
	if !errors.Is(err, target) {
		t.Fatalf("error %v, want one with %v in its chain", err, target)
	}
	if _, ok := errors.AsType[*fs.PathError](err); !ok && target != ErrUnreadable {
		t.Fatalf("error %v names no call and path", err)
	}
}

// put makes a file of text and leaves it open.
func put(t testing.TB, fsys FS, path, text string) File {
	t.Helper()
	file := must(fsys.Create(path))(t)
	check(t, file.WriteAt([][]byte{[]byte(text)}, 0))
	return file
}

// content reads a whole file through a handle.
func content(t testing.TB, file File) string {
	t.Helper()
	size := must(file.Size())(t)
	got, err := io.ReadAll(io.NewSectionReader(file, 0, size+1))
	check(t, err)
	if int64(len(got)) != size {
		t.Fatalf("read %d bytes of a file of %d", len(got), size)
	}
	return string(got)
}

// read reads a whole file by path.
func read(t testing.TB, fsys FS, path string) string {
	t.Helper()
	file := must(fsys.Open(path))(t)
	defer func() { check(t, file.Close()) }()
	return content(t, file)
}

func TestFileReadsWhatWasWritten(t *testing.T) {
	eachSystem(t, func(t *testing.T, fsys FS) {
		file := must(fsys.Create("a"))(t)
		check(t, file.WriteAt(nil, 0))
		check(t, file.WriteAt([][]byte{[]byte("one "), nil, []byte("two "), {}, []byte("three")}, 0))
		check(t, file.WriteAt([][]byte{[]byte("TWO")}, 4))
		check(t, file.WriteAt([][]byte{[]byte("end")}, 15))
		if got := content(t, file); got != "one TWO three\x00\x00end" {
			t.Errorf("got %q", got)
		}
		into := make([]byte, 10)
		if n, err := file.ReadAt(into, 12); n != 6 || err != io.EOF {
			t.Errorf("read across the end: %d, %v; want 6, io.EOF", n, err)
		}
		if n, err := file.ReadAt(into, 100); n != 0 || err != io.EOF {
			t.Errorf("read behind the end: %d, %v; want 0, io.EOF", n, err)
		}
		if n, err := file.ReadAt(into[:3], 15); n != 3 || err != nil && err != io.EOF {
			t.Errorf("read up to the end: %d, %v; want 3", n, err)
		}
		if err := file.WriteAt([][]byte{{1}}, -1); err == nil {
			t.Error("a write before the beginning succeeded")
		}
		if _, err := file.ReadAt(into, -1); err == nil {
			t.Error("a read before the beginning succeeded")
		}
		check(t, file.Sync())
		check(t, file.Close())
		wantError(t, file.WriteAt([][]byte{{1}}, 0), fs.ErrClosed)
		wantError(t, file.Sync(), fs.ErrClosed)
		wantError(t, file.Close(), fs.ErrClosed)
	})
}

func TestFileTakesManyParts(t *testing.T) {
	eachSystem(t, func(t *testing.T, fsys FS) {
		var parts [][]byte
		for i := range 3*vectorsMax + 7 {
			parts = append(parts, bytes.Repeat([]byte{byte(i)}, i%5))
		}
		before := slices.Clone(parts)
		file := must(fsys.Create("a"))(t)
		check(t, file.WriteAt(parts, 3))
		if want := "\x00\x00\x00" + string(slices.Concat(before...)); content(t, file) != want {
			t.Error("the file is not what the parts are one behind the other")
		}
		for i := range parts {
			if !bytes.Equal(parts[i], before[i]) {
				t.Fatalf("the write changed part %d", i)
			}
		}
		check(t, file.Close())
	})
}

func TestTruncateForgetsWhatWasCut(t *testing.T) {
	eachSystem(t, func(t *testing.T, fsys FS) {
		file := put(t, fsys, "a", "0123456789")
		check(t, file.Allocate(1<<20))
		if size := must(file.Size())(t); size != 10 {
			t.Errorf("size %d after Allocate, want 10", size)
		}
		check(t, file.Truncate(4))
		check(t, file.Truncate(6))
		check(t, file.WriteAt([][]byte{[]byte("x")}, 7))
		if got := content(t, file); got != "0123\x00\x00\x00x" {
			t.Errorf("got %q", got)
		}
		if err := file.Truncate(-1); err == nil {
			t.Error("a negative size was taken")
		}
		check(t, file.Close())
	})
}

func TestNames(t *testing.T) {
	eachSystem(t, func(t *testing.T, fsys FS) {
		check(t, fsys.MkdirAll("a/b"))
		check(t, fsys.MkdirAll("a/b"))
		check(t, fsys.MkdirAll("."))
		file := put(t, fsys, "a/b/x", "x")
		check(t, put(t, fsys, "a/y", "yy").Close())
		_, err := fsys.Create("a/y")
		wantError(t, err, fs.ErrExist)
		_, err = fsys.Create("missing/y")
		wantError(t, err, fs.ErrNotExist)
		_, err = fsys.Open("a/z")
		wantError(t, err, fs.ErrNotExist)
		_, err = fsys.Open("a/b")
		wantError(t, err, syscall.EISDIR)
		_, err = fsys.List("a/y")
		wantError(t, err, syscall.ENOTDIR)
		_, err = fsys.Stat("a/z")
		wantError(t, err, fs.ErrNotExist)
		wantError(t, fsys.MkdirAll("a/y/z"), syscall.ENOTDIR)
		wantError(t, fsys.SyncDir("z"), fs.ErrNotExist)
		wantError(t, fsys.Remove("a/b"), syscall.ENOTEMPTY)
		wantError(t, fsys.Remove("a/z"), fs.ErrNotExist)
		wantError(t, fsys.Rename("a/z", "a/q"), fs.ErrNotExist)
		wantNames(t, fsys, ".", "a")
		wantNames(t, fsys, "a", "b", "y")

		check(t, fsys.Rename("a/b/x", "a/y"))
		wantNames(t, fsys, "a", "b", "y")
		if got := read(t, fsys, "a/y"); got != "x" {
			t.Errorf("got %q after the rename, want the file that was renamed", got)
		}
		check(t, fsys.Rename("a", "c"))
		check(t, file.WriteAt([][]byte{[]byte("still open")}, 0))
		if got := read(t, fsys, "c/y"); got != "still open" {
			t.Errorf("got %q", got)
		}
		info := must(fsys.Stat("c/y"))(t)
		if info.Size != 10 || info.IsDir || info.Modified.IsZero() || !must(fsys.Stat("c"))(t).IsDir {
			t.Errorf("got %+v", info)
		}
		check(t, fsys.Remove("c/y"))
		if got := content(t, file); got != "still open" {
			t.Errorf("got %q of a removed file", got)
		}
		check(t, file.Close())
		check(t, fsys.SyncDir("c"))
		check(t, fsys.RemoveAll("c"))
		check(t, fsys.RemoveAll("c"))
		check(t, fsys.RemoveAll("c/d"))
		check(t, fsys.SyncDir("."))
		check(t, fsys.SyncAll())
		wantNames(t, fsys, ".")
	})
}

func wantNames(t *testing.T, fsys FS, dir string, want ...string) {
	t.Helper()
	if got := must(fsys.List(dir))(t); !slices.Equal(got, want) {
		t.Errorf("%s holds %q, want %q", dir, got, want)
	}
}

func TestPathsStayBelowTheRoot(t *testing.T) {
	eachSystem(t, func(t *testing.T, fsys FS) {
		for _, path := range []string{"", "..", "../a", "/a", "a/../../b", "a//b", "./a", "a/"} {
			_, err := fsys.Create(path)
			wantError(t, err, fs.ErrInvalid)
			_, err = fsys.Open(path)
			wantError(t, err, fs.ErrInvalid)
			_, err = fsys.List(path)
			wantError(t, err, fs.ErrInvalid)
			_, err = fsys.Stat(path)
			wantError(t, err, fs.ErrInvalid)
			_, err = fsys.Lock(path)
			wantError(t, err, fs.ErrInvalid)
			wantError(t, fsys.Rename(path, "b"), fs.ErrInvalid)
			wantError(t, fsys.Rename("b", path), fs.ErrInvalid)
			wantError(t, fsys.Remove(path), fs.ErrInvalid)
			wantError(t, fsys.RemoveAll(path), fs.ErrInvalid)
			wantError(t, fsys.MkdirAll(path), fs.ErrInvalid)
			wantError(t, fsys.SyncDir(path), fs.ErrInvalid)
		}
	})
}

func TestLockIsExclusive(t *testing.T) {
	eachSystem(t, func(t *testing.T, fsys FS) {
		lock := must(fsys.Lock("lock"))(t)
		_, err := fsys.Lock("lock")
		wantError(t, err, ErrLocked)
		check(t, lock.Close())
		check(t, must(fsys.Lock("lock"))(t).Close())
		wantNames(t, fsys, ".", "lock")
		check(t, fsys.MkdirAll("folder"))
		_, err = fsys.Lock("folder")
		wantError(t, err, syscall.EISDIR)
		_, err = fsys.Lock("missing/lock")
		wantError(t, err, fs.ErrNotExist)
	})
}

func TestSpaceIsPlausible(t *testing.T) {
	eachSystem(t, func(t *testing.T, fsys FS) {
		free, total, err := fsys.Space()
		check(t, err)
		if free <= 0 || free > total {
			t.Errorf("%d bytes free of %d", free, total)
		}
	})
}

func TestMapShowsLaterWrites(t *testing.T) {
	eachSystem(t, func(t *testing.T, fsys FS) {
		file := put(t, fsys, "a", "before")
		small := must(file.Map(6))(t)
		// Larger than what the race detector is shown, and than the storage that a Mem has by now.
		large := must(file.Map(heapStorageMax + 5))(t)
		if len(small.Bytes()) != 6 || len(large.Bytes()) != heapStorageMax+5 {
			t.Fatalf("mapped %d and %d bytes", len(small.Bytes()), len(large.Bytes()))
		}
		check(t, file.WriteAt([][]byte{[]byte("BEfore and after")}, 0))
		check(t, large.Populate(0, 16))
		check(t, large.Populate(3, 5))
		check(t, large.Populate(3, 0))
		if got := string(large.Bytes()[:16]); got != "BEfore and after" {
			t.Errorf("the large mapping shows %q", got)
		}
		if got := string(small.Bytes()); got != "BEfore" {
			t.Errorf("the small mapping shows %q", got)
		}
		wantError(t, large.Populate(1<<20, 1), ErrUnreadable)
		wantError(t, large.Populate(-1, 1), ErrUnreadable)
		wantError(t, large.Populate(heapStorageMax, 6), ErrUnreadable)
		for _, length := range []int64{0, -1} {
			if _, err := file.Map(length); err == nil {
				t.Errorf("mapped %d bytes", length)
			}
		}
		check(t, file.Close())
		check(t, fsys.Remove("a"))
		large.Retain()
		large.Release()
		check(t, large.Populate(0, 16))
		if got := string(large.Bytes()[2:16]); got != "fore and after" {
			t.Errorf("the mapping shows %q after the file was removed", got)
		}
		large.Release()
		small.Release()
	})
}

// One goroutine writes, one syncs, some read what has been published: this is what a segment does,
// and the race detector watches.
func TestSyncReadAndMapBesideAWriter(t *testing.T) {
	const rounds, size = 200, 1000
	eachSystem(t, func(t *testing.T, fsys FS) {
		file := must(fsys.Create("a"))(t)
		mapping := must(file.Map(rounds * size))(t)
		published := make(chan int, rounds)
		synced := make(chan struct{}, rounds)
		var group sync.WaitGroup
		group.Go(func() {
			for range synced {
				check(t, file.Sync())
			}
		})
		for range 2 {
			group.Go(func() {
				into := make([]byte, size)
				for i := range published {
					want := bytes.Repeat([]byte{byte(i + 1)}, size)
					if _, err := file.ReadAt(into, int64(i)*size); err != nil && err != io.EOF || !bytes.Equal(into, want) {
						t.Errorf("round %d: %v, or other bytes", i, err)
					}
					if !bytes.Equal(mapping.Bytes()[i*size:(i+1)*size], want) {
						t.Errorf("round %d: other bytes in the mapping", i)
					}
				}
			})
		}
		for i := range rounds {
			check(t, file.WriteAt([][]byte{bytes.Repeat([]byte{byte(i + 1)}, size)}, int64(i)*size))
			published <- i
			synced <- struct{}{}
		}
		close(published)
		close(synced)
		group.Wait()
		mapping.Release()
		check(t, file.Close())
	})
}

func TestDiskRefusesLinksThatLeaveIt(t *testing.T) {
	outside := t.TempDir()
	check(t, os.WriteFile(outside+"/secret", []byte("s"), 0o600))
	disk := newDisk(t)
	check(t, os.Symlink(outside, machinePath(disk, "link")))
	check(t, os.Symlink(outside+"/secret", machinePath(disk, "file")))
	for _, path := range []string{"link/secret", "link/new", "file"} {
		if _, err := disk.Open(path); err == nil {
			t.Errorf("opened %s", path)
		}
		if _, err := disk.Create(path); err == nil {
			t.Errorf("made %s", path)
		}
		if _, err := disk.Lock(path); err == nil {
			t.Errorf("locked %s", path)
		}
	}
	check(t, disk.RemoveAll("link"))
	if names, err := os.ReadDir(outside); err != nil || len(names) != 1 {
		t.Errorf("outside are %v, %v; want the secret alone", names, err)
	}
}

func TestDiskModesAndAllocation(t *testing.T) {
	disk := newDisk(t)
	check(t, disk.MkdirAll("d"))
	file := put(t, disk, "d/f", "0123456789")
	for path, want := range map[string]fs.FileMode{".": folderMode, "d": folderMode, "d/f": fileMode} {
		if info := must(os.Stat(machinePath(disk, path)))(t); info.Mode().Perm() != want {
			t.Errorf("%s has mode %v, want %v", path, info.Mode().Perm(), want)
		}
	}
	blocks := func() int64 { return must(os.Stat(machinePath(disk, "d/f")))(t).Sys().(*syscall.Stat_t).Blocks }
	before := blocks()
	check(t, file.Allocate(1<<20))
	if blocks() == before {
		t.Log("this file system does not reserve space")
	}
	check(t, file.Truncate(10))
	if after := blocks(); after > max(before, 8) {
		t.Errorf("%d blocks are held after Truncate, %d before Allocate", after, before)
	}
	check(t, file.Close())
}

func TestDiskSaysThatTheDiskIsFull(t *testing.T) {
	full, err := os.OpenFile("/dev/full", os.O_RDWR, 0)
	if err != nil {
		t.Skip("the machine has no /dev/full: ", err)
	}
	file := &diskFile{file: full, conn: must(full.SyscallConn())(t), path: "full"}
	wantError(t, file.WriteAt([][]byte{{1}}, 0), ErrDiskFull)
	wantError(t, pathError("write", "a", syscall.EDQUOT), ErrDiskFull)
	check(t, file.Close())
}

func TestNewDiskNeedsAFolder(t *testing.T) {
	path := t.TempDir() + "/file"
	check(t, os.WriteFile(path, nil, 0o600))
	if _, err := NewDisk(path); err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("error %v, want one that names %s", err, path)
	}
}

func TestWritePartsGoesOnAfterShortWrites(t *testing.T) {
	var want []byte
	var parts [][]byte
	for i := range 40 {
		part := bytes.Repeat([]byte{byte(i + 1)}, i%7)
		parts, want = append(parts, part), append(want, part...)
	}
	for most := 1; most <= len(want)+1; most++ {
		var got []byte
		err := writeParts(parts, 5, func(parts [][]byte, position int64) (int, error) {
			if position != int64(5+len(got)) {
				t.Fatalf("at most %d bytes: position %d, want %d", most, position, 5+len(got))
			}
			taken := slices.Concat(parts...)
			taken = taken[:min(most, len(taken))]
			got = append(got, taken...)
			return len(taken), nil
		})
		if err != nil || !bytes.Equal(got, want) {
			t.Fatalf("at most %d bytes: %v, or other bytes", most, err)
		}
	}
	err := writeParts(parts, 0, func([][]byte, int64) (int, error) { return 0, nil })
	if !errors.Is(err, io.ErrShortWrite) {
		t.Errorf("error %v of a disk that takes nothing, want %v", err, io.ErrShortWrite)
	}
}

func BenchmarkDiskWriteAt(b *testing.B) {
	file := must(newDisk(b).Create("a"))(b)
	parts := make([][]byte, 64)
	for i := range parts {
		parts[i] = make([]byte, 16<<10)
	}
	b.SetBytes(64 * 16 << 10)
	b.ReportAllocs()
	for b.Loop() {
		check(b, file.WriteAt(parts, 0))
	}
	check(b, file.Close())
}
