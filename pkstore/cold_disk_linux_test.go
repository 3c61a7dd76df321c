package pkstore

import (
	"errors"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/headrace/headrace/internal/model"
	"github.com/headrace/headrace/internal/vfs"
)

// A disk that fills up stops retiring before Badger finds out, and goes on once there is room.
func TestColdOnADiskThatFillsUp(t *testing.T) {
	mount := t.TempDir()
	if err := syscall.Mount("tmpfs", mount, "tmpfs", 0, "size=120m"); err != nil {
		t.Skipf("a small disk cannot be mounted here: %v", err)
	}
	defer func() { _ = syscall.Unmount(mount, syscall.MNT_DETACH) }()
	disk, err := vfs.NewDisk(mount)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = disk.Close() }()
	c := openCold(t, ColdOptions{Dir: filepath.Join(mount, "cold"), FS: disk, Path: "cold"})
	write := func(commit uint64) error {
		const rows = 40_000 // about 5 MB
		move := ColdRetire{Bucket: ColdBucket{Bucket: uint32(commit)}, Commit: commit, Boundary: 1}
		return c.Retire(t.Context(), move, countingRows(rows, commit, func(int) {}))
	}
	commit := uint64(1)
	for ; commit < 100; commit++ {
		if err = write(commit); err != nil {
			break
		}
	}
	if e, ok := errors.AsType[*model.Error](err); !ok || e.Reason != model.DiskFull {
		t.Fatalf("a full disk gives %v", err)
	}
	if c.Err() != nil {
		t.Fatalf("the store has failed: %v", c.Err())
	}
	if commit < 3 {
		t.Fatalf("the disk was full at commit %d", commit)
	}
	if err := syscall.Mount("tmpfs", mount, "tmpfs", syscall.MS_REMOUNT, "size=400m"); err != nil {
		t.Fatal(err)
	}
	if err := write(commit); err != nil {
		t.Errorf("once there is room: %v", err)
	}
	for bucket := uint64(1); bucket <= commit; bucket++ {
		s := pin(t, c, uint32(bucket))
		if count, err := s.Count(); err != nil || count < 34_000 {
			t.Errorf("bucket %d has %d rows (%v)", bucket, count, err)
		}
		s.Release()
	}
	closeCold(t, c)
}
