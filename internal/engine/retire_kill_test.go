package engine

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/headrace/headrace/internal/model"
	"github.com/headrace/headrace/internal/vfs"
)

const (
	retireKillFolder = "HEADRACE_TEST_RETIRE_FOLDER"
	// Request n writes the keys of group n % killGroups, all with the number n, but for one, that is deleted before.
	killGroups, killMembers = 300, 6
	killKeys                = killGroups * killMembers
)

// killed is the key that is deleted before request n.
func killed(n int64) int64 { return n%killGroups*killMembers + n/killGroups%killMembers }

func retireKillOptions(t *testing.T, folder string) (Options, *vfs.Disk) {
	t.Helper()
	disk, err := vfs.NewDisk(folder)
	if err != nil {
		t.Fatal(err)
	}
	options := testOptions(disk)
	options.Folder, options.MarkDelay = folder, 10*time.Millisecond
	return options, disk
}

// killRows are the rows of request n.
func killRows(n int64) (rows []keyedRow) {
	for member := range int64(killMembers) {
		if id := n%killGroups*killMembers + member; id != killed(n) {
			rows = append(rows, keyedRow{id, rowText(n), n})
		}
	}
	return rows
}

// TestRetireVictim writes and retires without end. It runs only as the child of TestRetirementSurvivesKills.
func TestRetireVictim(t *testing.T) {
	folder := os.Getenv(retireKillFolder)
	if folder == "" {
		t.Skip("runs as a child alone")
	}
	options, _ := retireKillOptions(t, folder)
	e := open(t, options)
	if _, err := e.Table(name(t, "t")); errors.Is(err, model.TableNotFound) {
		createKeyed(t, e, "t", 1, map[string]string{"log.max-bytes": "1MiB", "log.durability": "os"})
	}
	next := killState(t, e) + 1
	go func() {
		for { // until the process is killed
			e.Maintain(context.Background())
			b := e.catalog.lookup(name(t, "t")).opened()[0]
			if err := e.retireBucket(context.Background(), b, b.keyed.End()-next%150, e.newPacer()); err != nil {
				fmt.Println("failed", err)
			}
		}
	}()
	for n := next; ; n++ {
		deleteKeys(t, e, "t", killed(n))
		upsert(t, e, "t", killRows(n)...)
		fmt.Println("written", n)
	}
}

// killState checks that a table is what a request has left, and gives its number; 0 for an empty one. A deletion
// comes alone, before the rows.
func killState(t *testing.T, e *Engine) int64 {
	t.Helper()
	numbers := map[int64]int64{}
	for _, c := range mustRead(t, e, "t", ViewRows) {
		if _, twice := numbers[c.row.id]; twice {
			t.Fatalf("key %d is there twice", c.row.id)
		}
		if c.row.text != rowText(c.row.number) {
			t.Fatalf("key %d has %+v", c.row.id, c.row)
		}
		numbers[c.row.id] = c.row.number
	}
	newest := int64(0)
	for _, n := range numbers {
		newest = max(newest, n)
	}
	for id := range int64(killKeys) {
		n, there := numbers[id]
		last := newest - ((newest-id/killMembers)%killGroups+killGroups)%killGroups // the last request for its group
		switch {
		case last < 1 && !there:
		case last >= 1 && there && n == last && id != killed(last):
		case !there && (id == killed(last) || id == killed(newest+1)):
		default:
			t.Fatalf("behind request %d, key %d is there: %v, with the number %d", newest, id, there, n)
		}
	}
	ids := make([]int64, killKeys)
	for id := range ids {
		ids[id] = int64(id)
	}
	for id, row := range lookupRows(t, e, "t", ids...) {
		if n, there := numbers[int64(id)]; there && row.number != n || !there && row.number != noNumber {
			t.Fatalf("a lookup of key %d finds %+v, the table has %d, %v", id, row, n, there)
		}
	}
	return newest
}

// TestRetirementSurvivesKills kills a server that writes and retires, at any time, and looks at what is left: all
// that it has acknowledged, and no row of before.
func TestRetirementSurvivesKills(t *testing.T) {
	if testing.Short() {
		t.Skip("starts processes")
	}
	folder := t.TempDir()
	retired := int64(0)
	for round := range 8 {
		written := killRetireVictim(t, folder, 100+round*60)
		if round%3 == 2 { // without the index file, from the log and the retired rows
			err := fs.WalkDir(os.DirFS(folder), ".", func(path string, _ fs.DirEntry, err error) error {
				if strings.HasSuffix(path, "keys-0.index") {
					return os.Remove(folder + "/" + path)
				}
				return err
			})
			if err != nil {
				t.Fatal(err)
			}
		}
		options, disk := retireKillOptions(t, folder)
		if _, err := CheckFolder(disk, folder, false, func(f Finding) {
			if !strings.HasSuffix(f.Path, ".index") {
				t.Errorf("round %d: check finds %+v", round, f)
			}
		}); err != nil {
			t.Fatal(err)
		}
		e := open(t, options)
		if got := killState(t, e); got < written {
			t.Errorf("round %d: the table is at request %d, %d were acknowledged", round, got, written)
		}
		stats := e.catalog.lookup(name(t, "t")).opened()[0].keyed.Stats()
		t.Logf("round %d: request %d, %+v", round, written, stats)
		retired = max(retired, stats.RetiredKeys)
		closeEngine(t, e)
		_ = disk.Close()
	}
	if retired == 0 {
		t.Error("no row was retired")
	}
}

// killRetireVictim starts a child and kills it when it has said lines lines. It gives the last request that it said
// was written.
func killRetireVictim(t *testing.T, folder string, lines int) (written int64) {
	t.Helper()
	command := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestRetireVictim$")
	command.Env = append(os.Environ(), retireKillFolder+"="+folder)
	output, err := command.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	scanner := bufio.NewScanner(output)
	said := 0
	for said < lines && scanner.Scan() {
		if _, err := fmt.Sscanf(scanner.Text(), "written %d", &written); err != nil {
			t.Errorf("the child says %s", scanner.Text())
			continue
		}
		said++
	}
	if said < lines {
		t.Errorf("the child ended after %d lines", said)
	}
	_ = command.Process.Kill()
	_ = command.Wait() // says that it was killed
	return written
}
