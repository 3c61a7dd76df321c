package streams

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"

	"github.com/headrace/headrace/internal/model"
	"github.com/headrace/headrace/internal/vfs"
)

// TestScripts runs the scripts of testdata: each command of a script prints what the bucket did, and
// `go test -rewrite` writes the outcomes anew.
//
//	append rows=N [extra=N] [time=T] [producer=P seq=N]    write    sync    fail    seal
//	crash mode=none|all|kill    rebuild    read [from=N] [to=N]    runs [from=N]    offset-at time=T
//	ls    dump base=N|index=N    flip base=N at=N    cut base=N size=N    remove base=N    check base=N    stats
//	retain [before=T] [bytes=N] [keep=N]    trim before=N    pin name=P from=N    unpin name=P    rewrite [compression=C]
//	rest    measure
func TestScripts(t *testing.T) {
	datadriven.Walk(t, "testdata/scripts", func(t *testing.T, path string) {
		s := &script{mem: newFS(t), pins: map[string]func(){}}
		s.world = openWorld(t, s.mem)
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			s.t, s.world.t = t, t
			return s.run(d)
		})
		if err := s.bucket.Close(nil); err != nil {
			t.Error(err)
		}
	})
}

type script struct {
	*world
	t    *testing.T
	mem  *vfs.Mem
	pins map[string]func()
}

func (s *script) run(d *datadriven.TestData) string {
	number := func(name string, otherwise int64) int64 {
		value := otherwise
		d.MaybeScanArgs(s.t, name, &value)
		return value
	}
	word := func(name string) string {
		var value string
		d.MaybeScanArgs(s.t, name, &value)
		return value
	}
	path := SegmentName{TableID: testTableID, Base: number("base", 0)}.Path()
	switch d.Cmd {
	case "append":
		return s.appendCommand(number, word)
	case "write":
		return s.writeCommand()
	case "sync":
		s.sync()
	case "fail":
		s.fail()
		return fmt.Sprintf("next %d", s.bucket.Next())
	case "seal":
		s.bucket.Seal()
	case "crash":
		return s.crashCommand(word("mode"))
	case "rebuild":
		_ = s.bucket.Close(nil)
		return s.open(nil)
	case "read":
		return s.readCommand(number("from", s.bucket.Start()), number("to", noLimit))
	case "runs":
		return s.runsCommand(number("from", 0))
	case "offset-at":
		return s.offsetAt(number("time", 0))
	case "flip":
		flipBit(s.t, s.mem, path, number("at", 0), 0)
		return message(s.mem.SyncAll())
	case "cut":
		content := fileBytes(s.t, s.mem, path)
		setFile(s.t, s.mem, path, content[:number("size", 0)])
		return message(s.mem.SyncAll())
	case "remove":
		return message(s.mem.Remove(path))
	case "dump":
		if d.HasArg("index") {
			path = strings.TrimSuffix(path, segmentSuffix) + indexSuffix
		}
		return hex.Dump(fileBytes(s.t, s.mem, path))
	case "ls":
		return s.list()
	default:
		return s.upkeepCommand(d, path, number, word)
	}
	return ""
}

func (s *script) upkeepCommand(d *datadriven.TestData, path string, number func(string, int64) int64, word func(string) string) string {
	b := s.bucket
	switch d.Cmd {
	case "check":
		return s.checkCommand(path)
	case "stats":
		stats := b.Stats()
		return fmt.Sprintf("%d segments, rows %d..%d", stats.Segments, stats.Start, stats.End)
	case "measure":
		stats := b.Measure()
		return fmt.Sprintf("%d segments, rows %d..%d, %d bytes, raw %d", stats.Segments, stats.Start, stats.End, stats.Bytes, stats.RawBytes)
	case "rest":
		return message(b.Rest())
	case "retain":
		removed, err := b.Retain(Retention{Before: number("before", 0), Bytes: number("bytes", 0), KeepFrom: number("keep", 0)})
		s.retired = b.Start()
		return fmt.Sprintf("%d bytes removed, rows %d..%d\n%s", removed, b.Start(), b.End(), message(err))
	case "trim":
		b.Trim(number("before", 0))
		return fmt.Sprintf("rows %d..%d", b.Start(), b.End())
	case "pin":
		s.pins[word("name")] = b.Pin(number("from", 0))
	case "unpin":
		s.pins[word("name")]()
	case "rewrite":
		compression := model.Compression{}
		if text := word("compression"); text != "" {
			var err error
			if compression, err = model.ParseCompression(text); err != nil {
				s.t.Fatal(err)
			}
		}
		rewritten, err := b.Rewrite(context.Background(), Rewriting{Compression: compression})
		return fmt.Sprintf("%d rewritten\n%s", rewritten, message(err))
	default:
		s.t.Fatalf("%s: unknown command %q", d.Pos, d.Cmd)
	}
	return ""
}

func (s *script) appendCommand(number func(string, int64) int64, word func(string) string) string {
	rows, from := number("rows", 1), s.bucket.Next()
	s.serial++
	run := Run{Rows: rows, Time: number("time", s.bucket.LastTime()), Producer: word("producer")}
	if run.Producer != "" {
		run.Epoch, run.FirstSequence = 1, number("seq", 0)
		run.LastSequence = run.FirstSequence
		run.Hash = s.serial
	}
	offset := s.bucket.Append(makePaddedBatch(s.t, from, from+rows, int(number("extra", 0))), []Run{run})
	return fmt.Sprintf("offset %d", offset)
}

func (s *script) writeCommand() string {
	before := len(s.groups)
	if !s.write() {
		return "failed"
	}
	var out strings.Builder
	for _, g := range s.groups[before:] {
		for _, x := range g.written.Extents {
			fmt.Fprintf(&out, "segment %d: %d bytes, next %d\n", x.Segment.Base, x.End, x.Next)
		}
		if n := len(g.written.Sealed); n > 0 {
			fmt.Fprintf(&out, "%d sealed\n", n)
		}
	}
	return out.String()
}

func (s *script) crashCommand(mode string) string {
	_ = s.bucket.Close(nil)
	switch mode {
	case "none":
		s.mem = s.mem.Crash(vfs.Cut{Mode: vfs.KeepNone})
	case "all":
		s.mem = s.mem.Crash(vfs.Cut{Mode: vfs.KeepAll})
	case "kill":
		s.mem = s.mem.Kill()
	default:
		s.t.Fatalf("unknown mode %q", mode)
	}
	s.options = testOptions(s.mem)
	s.groups = s.recovered(s.options, s.synced)
	s.synced = len(s.groups)
	at := s.extent()
	return s.open(&at)
}

func (s *script) open(at *Extent) string {
	s.options.Entropy = &seeded{newSeeded().random}
	b, err := OpenBucket(testTable(), 0, at, s.options)
	if err != nil {
		return message(err)
	}
	s.bucket = b
	return fmt.Sprintf("rows %d..%d, next %d", b.Start(), b.End(), b.Next())
}

func (s *script) readCommand(from, to int64) string {
	c, err := s.bucket.Cursor(from)
	if err != nil {
		return message(err)
	}
	defer c.Close()
	var out strings.Builder
	for {
		stored, err := c.Next(to)
		if err == nil && stored != nil {
			if err = stored.Verify(nil); err == nil {
				checkRows(s.t, stored)
				fmt.Fprintf(&out, "%d..%d\n", stored.Base, stored.Base+stored.Rows)
				continue
			}
		}
		fmt.Fprintf(&out, "%sat %d", message(err), c.Offset())
		last, damaged := lostUpTo(err)
		if !damaged {
			return out.String()
		}
		// Go on behind the damage, as a reader does that knows of it.
		fmt.Fprintf(&out, "\n")
		c.Close()
		if c, err = s.bucket.Cursor(last + 1); err != nil {
			return out.String() + message(err)
		}
	}
}

// lostUpTo gives the last offset that an error says is lost.
func lostUpTo(err error) (int64, bool) {
	if !errors.Is(err, model.Corrupt) {
		return 0, false
	}
	last, ok := model.AsError(err).Details["last_offset"].(int64)
	return last, ok
}

func (s *script) runsCommand(from int64) string {
	var out strings.Builder
	for at, err := range s.bucket.Runs(from) {
		if err != nil {
			fmt.Fprint(&out, message(err))
			continue
		}
		fmt.Fprintf(&out, "%d+%d time %d", at.Offset, at.Run.Rows, at.Run.Time)
		if at.Run.Producer != "" {
			fmt.Fprintf(&out, " %s epoch %d sequence %d", at.Run.Producer, at.Run.Epoch, at.Run.FirstSequence)
		}
		fmt.Fprintln(&out)
	}
	return out.String()
}

func (s *script) offsetAt(time int64) string {
	offset, err := s.bucket.OffsetAt(time)
	if err != nil {
		return message(err)
	}
	return fmt.Sprint(offset)
}

func (s *script) checkCommand(path string) string {
	var out strings.Builder
	err := CheckSegment(s.options, path, -1, func(f Finding) {
		fmt.Fprintf(&out, "byte %d, rows %d..%d: %s\n", f.Position, f.FirstOffset, f.LastOffset, f.Detail)
	})
	return out.String() + message(err)
}

func (s *script) list() string {
	var out strings.Builder
	for _, dir := range []string{bucketDir(testTableID, 0), "trash"} {
		names, err := s.mem.List(dir)
		if err != nil {
			continue
		}
		for _, name := range names {
			info, err := s.mem.Stat(dir + "/" + name)
			if err != nil {
				s.t.Fatal(err)
			}
			fmt.Fprintf(&out, "%s %d\n", strings.ReplaceAll(dir+"/"+name, testTableID, "T"), info.Size)
		}
	}
	return out.String()
}

func message(err error) string {
	if err == nil {
		return ""
	}
	return strings.ReplaceAll(err.Error(), testTableID, "T") + "\n"
}
