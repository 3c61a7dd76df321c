package pkstore

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"os"
	"os/exec"
	"testing"
)

const (
	coldKillDir  = "HEADRACE_TEST_COLD_DIR"
	coldKillRows = 6000
)

// TestColdVictim retires without end, and tells of each 500 rows. It runs only as the child of
// TestColdSurvivesKills.
func TestColdVictim(t *testing.T) {
	dir := os.Getenv(coldKillDir)
	if dir == "" {
		t.Skip("runs as a child alone")
	}
	c := openCold(t, ColdOptions{Dir: dir, CommitRows: 700})
	for commit := c.State(ColdBucket{}).Commit + 1; ; commit++ {
		move := ColdRetire{Commit: commit, Boundary: int64(commit) * coldKillRows}
		if err := c.Retire(context.Background(), move, countingRows(coldKillRows, commit, func(i int) {
			if i%500 == 0 {
				fmt.Println("victim", commit, i)
			}
		})); err != nil {
			t.Fatal(err)
		}
	}
}

// After kill -9 at any time, a state says truth: all rows of its commit are there, and none of a later one.
func TestColdSurvivesKills(t *testing.T) {
	if testing.Short() {
		t.Skip("starts processes")
	}
	dir := t.TempDir()
	reached := uint64(0)
	for round := range 10 {
		killVictim(t, dir, 8+round*3)
		c := openCold(t, ColdOptions{Dir: dir})
		state := c.State(ColdBucket{})
		if state.Commit < reached {
			t.Fatalf("round %d: the store went back from commit %d to %d", round, reached, state.Commit)
		}
		reached = state.Commit
		if state.Boundary != int64(state.Commit)*coldKillRows {
			t.Errorf("round %d: the boundary of commit %d is %d", round, state.Commit, state.Boundary)
		}
		checkVictim(t, c)
		closeCold(t, c)
	}
	if reached == 0 {
		t.Error("no child came to the end of a Retire")
	}
}

// killVictim starts a child and kills it when it has said lines lines.
func killVictim(t *testing.T, dir string, lines int) {
	t.Helper()
	command := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestColdVictim$")
	command.Env = append(os.Environ(), coldKillDir+"="+dir)
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
		if bytes.HasPrefix(scanner.Bytes(), []byte("victim")) {
			said++
		} else {
			t.Logf("the child says %s", scanner.Text())
		}
	}
	if said < lines {
		t.Errorf("the child ended after %d lines", said)
	}
	_ = command.Process.Kill()
	_ = command.Wait() // says that it was killed
}

func checkVictim(t *testing.T, c *Cold) {
	t.Helper()
	s := pin(t, c, 0)
	defer s.Release()
	commit := s.State().Commit
	if commit == 0 {
		return
	}
	next := uint32(0)
	skip := func() {
		for uint64(next)%7 == commit%7 {
			next++
		}
	}
	for row, err := range s.Rows(nil, nil) {
		if err != nil {
			t.Fatal(err)
		}
		skip()
		if got := binary.BigEndian.Uint32(row.Key); got != next {
			t.Fatalf("commit %d: key %d comes where %d should", commit, got, next)
		}
		if got := binary.BigEndian.Uint64(row.Value); got != commit {
			t.Fatalf("commit %d: key %d is of commit %d", commit, next, got)
		}
		next++
	}
	if skip(); next < coldKillRows {
		t.Fatalf("commit %d: the rows end before key %d", commit, next)
	}
}
