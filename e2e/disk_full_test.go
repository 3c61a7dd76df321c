package e2e

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/headrace/headrace/internal/model"
)

// smallDisk gives a folder on a disk of its own of 96 MiB, or false where it may not be mounted.
func smallDisk(t *testing.T) (string, bool) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "data")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("mount", "-t", "tmpfs", "-o", "size=96m", "tmpfs", dir).CombinedOutput(); err != nil {
		t.Logf("mount: %v: %s", err, out)
		return "", false
	}
	t.Cleanup(func() {
		if out, err := exec.Command("umount", "-l", dir).CombinedOutput(); err != nil {
			t.Errorf("umount: %v: %s", err, out)
		}
	})
	return dir, true
}

// inNamespace says that the test runs in a user namespace of its own, where anybody may mount.
const inNamespace = "HEADRACE_TEST_NAMESPACE"

// runInNamespace runs the test of this name again, in namespaces of its own.
func runInNamespace(t *testing.T) {
	t.Helper()
	path, err := executable()
	if err != nil {
		t.Fatal(err)
	}
	again := exec.Command("unshare", "-Urm", os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v", "-test.count=1")
	again.Env = append(os.Environ(), inNamespace+"=1", "HEADRACE_BIN="+path)
	out, err := again.CombinedOutput()
	t.Logf("in a user namespace:\n%s", out)
	if err != nil || !strings.Contains(string(out), "--- PASS: "+t.Name()) {
		t.Fatalf("a small disk needs root or user namespaces: %v", err)
	}
}

// TestDiskFull fills the disk of a server: writes fail with DISK_FULL, reads go on, and once there is
// space writes do too, without a restart. What was acknowledged outlives a kill, and nothing is damaged.
func TestDiskFull(t *testing.T) {
	data, mounted := smallDisk(t)
	if !mounted {
		if os.Getenv(inNamespace) != "" {
			t.Fatal("no disk can be mounted in a user namespace either")
		}
		runInNamespace(t)
		return
	}
	ballast := filepath.Join(data, "ballast")
	if err := os.WriteFile(ballast, make([]byte, 24<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	s := startServer(t, data, "--segment-bytes", "4194304")
	p := &producer{table: "filling", rows: 2000}
	s.create(p.table, idSchema, nil)
	expectDiskFull(t, s, p)
	if p.acked == 0 {
		t.Fatal("the disk was full at once")
	}
	readBack(t, s, p)

	// Not even what the server keeps in reserve is left.
	extra := filepath.Join(data, "extra")
	fillDisk(t, extra)
	before := p.acked
	expectDiskFull(t, s, p)
	if p.acked != before {
		t.Errorf("%d batches were acknowledged on a full disk", p.acked-before)
	}
	if _, err := s.tryAction(t.Context(), "ServerInfo", map[string]any{}); err != nil {
		t.Errorf("the server on a full disk: %v", err)
	}
	readBack(t, s, p)

	for _, path := range []string{extra, ballast} {
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
	}
	expectDiskFull(t, s, p) // writes go on until the disk is full again
	if p.acked < before+before/20 {
		t.Errorf("only %d batches were acknowledged after 24 MiB had become free, %d before", p.acked-before, before)
	}
	readBack(t, s, p)
	s.kill()
	fillDisk(t, extra) // a server starts on a disk that is full to the last byte
	s = startServer(t, data, "--segment-bytes", "4194304")
	readBack(t, s, p)
	s.stop()
	if code, findings := check(t, data); code != 0 || len(findings) != 0 {
		t.Errorf("check: exit code %d, %+v", code, findings)
	}
}

// expectDiskFull writes until the server refuses.
func expectDiskFull(t *testing.T, s *server, p *producer) {
	t.Helper()
	stop := make(chan struct{})
	timer := time.AfterFunc(30*time.Second, func() { close(stop) })
	defer timer.Stop()
	err := p.run(s.client, stop)
	for _, one := range unjoined(err) {
		if reasonOf(one) == model.DiskFull {
			if !strings.Contains(one.Error(), "DISK_FULL: ") {
				t.Errorf("the text %q does not begin with the reason", one)
			}
			return
		}
	}
	t.Fatalf("got %v, want DISK_FULL\n%s", err, s.log())
}

// unjoined gives the parts of errors.Join.
func unjoined(err error) []error {
	if joined, ok := errors.AsType[interface {
		error
		Unwrap() []error
	}](err); ok {
		return joined.Unwrap()
	}
	return []error{err}
}

// readBack reads everything and compares it with what was acknowledged.
func readBack(t *testing.T, s *server, p *producer) {
	t.Helper()
	var total tally
	p.check(s, true, &total)
	if total.faults() > 0 || total.read < p.acked*p.rows {
		t.Fatalf("%+v with %d rows acknowledged", total, p.acked*p.rows)
	}
	s.scan(map[string]any{"table": p.table, "from": "latest"}, func(arrow.RecordBatch, chunkMetadata) {})
}

// fillDisk writes a file until there is no space.
func fillDisk(t *testing.T, path string) {
	t.Helper()
	file, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	block := make([]byte, 64<<10)
	for len(block) > 0 {
		if _, err := file.Write(block); err != nil {
			block = block[:len(block)/2]
		}
	}
}
