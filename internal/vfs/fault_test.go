package vfs

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"testing"
)

// everyCall makes one call of each kind, in this order, and gives the names and the errors of those
// that failed. A handle or mapping that could not be opened is opened behind the fault's back.
func everyCall(t *testing.T, fsys FS) (failed []string, failures []error) {
	note := func(name string, err error) bool {
		if err != nil && !errors.Is(err, io.EOF) {
			failed, failures = append(failed, name), append(failures, err)
		}
		return err == nil
	}
	note("mkdir", fsys.MkdirAll("d"))
	file, err := fsys.Create("a")
	if note("create", err) {
		note("write", file.WriteAt([][]byte{[]byte("01"), []byte("2"), []byte("345")}, 0))
		_, err = file.ReadAt(make([]byte, 1), 0)
		note("read", err)
		note("sync", file.Sync())
		note("allocate", file.Allocate(10))
		note("truncate", file.Truncate(6))
		_, err = file.Size()
		note("size", err)
		mapping, err := file.Map(6)
		if note("map", err) {
			note("populate", mapping.Populate(0, 1))
			mapping.Release()
		}
		check(t, file.Close())
	}
	file, err = fsys.Open("a")
	if note("open", err) {
		check(t, file.Close())
	}
	note("rename", fsys.Rename("a", "b"))
	note("remove", fsys.Remove("b"))
	note("removeall", fsys.RemoveAll("d"))
	_, err = fsys.List(".")
	note("list", err)
	_, err = fsys.Stat(".")
	note("stat", err)
	note("syncdir", fsys.SyncDir("."))
	note("syncall", fsys.SyncAll())
	lock, err := fsys.Lock("lock")
	if note("lock", err) {
		check(t, lock.Close())
	}
	_, _, err = fsys.Space()
	note("space", err)
	return failed, failures
}

var (
	changingCalls = []string{
		"mkdir", "create", "write", "sync", "allocate", "truncate", "rename", "remove", "removeall",
		"syncdir", "syncall", "lock",
	}
	allCalls = []string{
		"mkdir", "create", "write", "read", "sync", "allocate", "truncate", "size", "map", "populate",
		"open", "rename", "remove", "removeall", "list", "stat", "syncdir", "syncall", "lock", "space",
	}
)

func TestFaultFailsEachCallInTurn(t *testing.T) {
	for _, c := range []struct {
		changesOnly bool
		want        []string
	}{{false, allCalls}, {true, changingCalls}} {
		var got []string
		for failAt := int64(0); ; failAt++ {
			fault := NewFault(NewMem(MemOptions{}), FaultOptions{FailAt: failAt, ChangesOnly: c.changesOnly, Err: os.ErrDeadlineExceeded})
			failed, failures := everyCall(t, fault)
			if fault.Calls() <= failAt {
				if len(failed) > 0 {
					t.Errorf("%q failed without a fault", failed)
				}
				break
			}
			if !errors.Is(failures[0], ErrInjected) || !errors.Is(failures[0], os.ErrDeadlineExceeded) {
				t.Errorf("%s: error %v", failed[0], failures[0])
			}
			if failed[0] == "populate" && !errors.Is(failures[0], ErrUnreadable) {
				t.Errorf("populate: error %v, want %v", failures[0], ErrUnreadable)
			}
			got = append(got, failed[0])
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("changes only %t: failed %q, want %q", c.changesOnly, got, c.want)
		}
	}
}

func TestFaultFailsAllFromThenOn(t *testing.T) {
	fault := NewFault(NewMem(MemOptions{}), FaultOptions{FailAt: 4, Always: true})
	failed, _ := everyCall(t, fault)
	// Without the handle's first calls there is no mapping either.
	want := slices.DeleteFunc(slices.Clone(allCalls[4:]), func(call string) bool { return call == "populate" })
	if !slices.Equal(failed, want) {
		t.Errorf("failed %q, want %q", failed, want)
	}
}

func TestFaultLeavesHalfOfAWrite(t *testing.T) {
	for _, parts := range []string{"", "1", "12", "1 23 4", "12 345 6789", "123456 7"} {
		mem := NewMem(MemOptions{})
		file := must(NewFault(mem, FaultOptions{FailAt: 1}).Create("a"))(t)
		var written [][]byte
		for part := range strings.FieldsSeq(parts) {
			written = append(written, []byte(part))
		}
		wantError(t, file.WriteAt(written, 0), ErrInjected)
		whole := string(slices.Concat(written...))
		if got := content(t, file); got != whole[:len(whole)/2] {
			t.Errorf("of %q %q is left, want the first half", parts, got)
		}
	}
}

// After a failed sync the kernel takes the pages for clean: a second sync succeeds and the bytes
// are lost all the same. Code that tries again and goes on must be caught.
func TestFaultSyncLosesWhatWasUnsynced(t *testing.T) {
	for name, sync := range map[string]func(FS, File) error{
		"sync":    func(_ FS, file File) error { return file.Sync() },
		"syncall": func(fsys FS, _ File) error { return fsys.SyncAll() },
	} {
		t.Run(name, func(t *testing.T) {
			mem := NewMem(MemOptions{})
			kept := put(t, mem, "a", "kept")
			check(t, mem.SyncAll())
			check(t, kept.Close())
			fault := NewFault(NewTrace(mem), FaultOptions{FailAt: 1, ChangesOnly: true})
			file := must(fault.Open("a"))(t)
			write(t, file, "lost", 4)
			wantError(t, sync(fault, file), ErrInjected)
			write(t, file, "later", 8)
			check(t, sync(fault, file))
			if got := content(t, file); got != "keptlostlater" {
				t.Errorf("callers see %q", got)
			}
			if got := read(t, mem.Crash(Cut{Mode: KeepAll}), "a"); got != "kept\x00\x00\x00\x00later" {
				t.Errorf("%q is left", got)
			}
		})
	}
}

func TestTraceWritesDownWhatChanges(t *testing.T) {
	trace := NewTrace(NewMem(MemOptions{}))
	if failed, _ := everyCall(t, trace); len(failed) > 0 {
		t.Fatalf("%q failed", failed)
	}
	want := strings.Fields(`mkdir_d create_a write_a_0+6 sync_a allocate_a_10 truncate_a_6 close_a
		close_a rename_a_b remove_b removeall_d syncdir_. syncall lock_lock unlock_lock`)
	got := trace.Take()
	for i, line := range got {
		got[i] = strings.ReplaceAll(line, " ", "_")
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if left := trace.Take(); len(left) > 0 {
		t.Errorf("%q came twice", left)
	}

	failing := NewTrace(NewFault(NewMem(MemOptions{}), FaultOptions{FailAt: 0, Always: true}))
	everyCall(t, failing)
	if got := fmt.Sprint(failing.Take()); got != "[mkdir d failed create a failed rename a b failed remove b failed "+
		"removeall d failed syncdir . failed syncall failed lock lock failed]" {
		t.Errorf("got %s", got)
	}
}
