package vfs

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// tree gives all files below dir with what they hold; empty folders end in a slash.
func tree(t testing.TB, fsys FS, dir string) map[string]string {
	t.Helper()
	found := map[string]string{}
	for _, name := range must(fsys.List(dir))(t) {
		path := strings.TrimPrefix(dir+"/"+name, "./")
		if !must(fsys.Stat(path))(t).IsDir {
			found[path] = read(t, fsys, path)
			continue
		}
		below := tree(t, fsys, path)
		maps.Copy(found, below)
		if len(below) == 0 {
			found[path+"/"] = ""
		}
	}
	return found
}

func wantTree(t *testing.T, what string, fsys FS, want map[string]string) {
	t.Helper()
	if got := tree(t, fsys, "."); !maps.Equal(got, want) {
		t.Errorf("%s: %q, want %q", what, got, want)
	}
}

type files = map[string]string

func write(t testing.TB, file File, text string, position int64) {
	t.Helper()
	check(t, file.WriteAt([][]byte{[]byte(text)}, position))
}

// crashCases say what a power cut leaves when it keeps nothing, and when it keeps all.
var crashCases = []struct {
	name      string
	work      func(t *testing.T, m *Mem)
	none, all files
}{
	{"a name without a folder sync is lost, synced bytes or not", func(t *testing.T, m *Mem) {
		check(t, put(t, m, "a", "text").Sync())
	}, files{}, files{"a": "text"}},
	{"a synced name without synced bytes is empty", func(t *testing.T, m *Mem) {
		put(t, m, "a", "text")
		check(t, m.SyncDir("."))
	}, files{"a": ""}, files{"a": "text"}},
	{"what was written after the sync is lost", func(t *testing.T, m *Mem) {
		file := put(t, m, "a", "0123456789")
		check(t, m.SyncDir("."))
		check(t, file.Sync())
		write(t, file, "ab", 1)
		write(t, file, "behind", 12)
	}, files{"a": "0123456789"}, files{"a": "0ab3456789\x00\x00behind"}},
	{"a cut that was not synced comes back", func(t *testing.T, m *Mem) {
		file := put(t, m, "a", "0123456789")
		check(t, m.SyncAll())
		check(t, file.Truncate(4))
		check(t, file.Truncate(6))
	}, files{"a": "0123456789"}, files{"a": "0123\x00\x00"}},
	{"a cut that was synced stays", func(t *testing.T, m *Mem) {
		file := put(t, m, "a", "0123456789")
		check(t, m.SyncAll())
		check(t, file.Truncate(4))
		check(t, file.Sync())
		check(t, file.Truncate(6))
	}, files{"a": "0123"}, files{"a": "0123\x00\x00"}},
	{"reserved space is not length", func(t *testing.T, m *Mem) {
		file := put(t, m, "a", "01")
		check(t, file.Allocate(100))
		check(t, m.SyncAll())
	}, files{"a": "01"}, files{"a": "01"}},
	{"a rename without a folder sync is lost as a whole", func(t *testing.T, m *Mem) {
		put(t, m, "a", "new")
		put(t, m, "b", "old")
		check(t, m.SyncAll())
		check(t, m.Rename("a", "b"))
	}, files{"a": "new", "b": "old"}, files{"b": "new"}},
	{"a folder sync makes making and renaming durable", func(t *testing.T, m *Mem) {
		check(t, put(t, m, "a.new", "text").Sync())
		check(t, m.Rename("a.new", "a"))
		check(t, m.SyncDir("."))
	}, files{"a": "text"}, files{"a": "text"}},
	{"a rename between folders needs both synced", func(t *testing.T, m *Mem) {
		check(t, m.MkdirAll("d"))
		put(t, m, "a", "text")
		check(t, m.SyncAll())
		check(t, m.Rename("a", "d/a"))
		check(t, m.SyncDir("d"))
	}, files{"a": "text", "d/": ""}, files{"d/a": "text"}},
	{"a rename between folders with both synced stays", func(t *testing.T, m *Mem) {
		check(t, m.MkdirAll("d"))
		put(t, m, "a", "text")
		check(t, m.SyncAll())
		check(t, m.Rename("a", "d/a"))
		check(t, m.SyncDir("d"))
		check(t, m.SyncDir("."))
	}, files{"d/a": "text"}, files{"d/a": "text"}},
	{"what depends on a rename takes it along", func(t *testing.T, m *Mem) {
		check(t, m.MkdirAll("d"))
		put(t, m, "a", "text")
		check(t, m.SyncAll())
		check(t, m.Rename("a", "d/a"))
		check(t, m.Rename("d/a", "d/b"))
		check(t, m.SyncDir("d"))
	}, files{"d/b": "text"}, files{"d/b": "text"}},
	{"a removal without a folder sync is lost", func(t *testing.T, m *Mem) {
		file := put(t, m, "a", "text")
		check(t, m.SyncAll())
		write(t, file, "more", 4)
		check(t, m.Remove("a"))
		check(t, file.Close())
	}, files{"a": "text"}, files{}},
	{"a folder needs its parent synced", func(t *testing.T, m *Mem) {
		check(t, m.MkdirAll("d/e"))
		check(t, put(t, m, "d/e/a", "text").Sync())
		check(t, m.SyncDir("d/e"))
		check(t, m.SyncDir("d"))
	}, files{}, files{"d/e/a": "text"}},
	{"a removed tree comes back until its parent is synced", func(t *testing.T, m *Mem) {
		check(t, m.MkdirAll("d/e"))
		put(t, m, "d/e/a", "text")
		check(t, m.SyncAll())
		check(t, m.RemoveAll("d"))
	}, files{"d/e/a": "text"}, files{}},
	{"a removed tree is gone once its parent is synced", func(t *testing.T, m *Mem) {
		check(t, m.MkdirAll("d/e"))
		put(t, m, "d/e/a", "text")
		check(t, m.SyncAll())
		put(t, m, "d/e/b", "text")
		check(t, m.RemoveAll("d"))
		check(t, m.SyncDir("."))
		if len(m.names) != 0 {
			t.Errorf("%d changes wait for folders that are gone", len(m.names))
		}
	}, files{}, files{}},
	{"a removed and remade name is one or the other", func(t *testing.T, m *Mem) {
		put(t, m, "a", "old")
		check(t, m.SyncAll())
		check(t, m.Remove("a"))
		check(t, put(t, m, "a", "new").Sync())
	}, files{"a": "old"}, files{"a": "new"}},
}

func TestCrash(t *testing.T) {
	for _, c := range crashCases {
		t.Run(c.name, func(t *testing.T) {
			m := NewMem(MemOptions{})
			c.work(t, m)
			seen := tree(t, m, ".")
			wantTree(t, "keeping none", m.Crash(Cut{Mode: KeepNone}), c.none)
			wantTree(t, "keeping all", m.Crash(Cut{Mode: KeepAll}), c.all)
			wantTree(t, "killed", m.Kill(), seen)
			wantTree(t, "killed, then the power cut", m.Kill().Kill().Crash(Cut{}), c.none)
			wantTree(t, "twice", m.Crash(Cut{Mode: KeepAll}).Crash(Cut{}), c.all)
			wantTree(t, "the original", m, seen)
		})
	}
}

// cuts crashes m with many seeds and gives the outcomes by how often each was seen.
func cuts(t *testing.T, m *Mem, mode CutMode, outcome func(after *Mem) string) map[string]int {
	t.Helper()
	seen := map[string]int{}
	for seed := range uint64(400) {
		cut := func() *Mem { return m.Crash(Cut{Mode: mode, Rand: rand.New(rand.NewPCG(seed, 7))}) }
		first := outcome(cut())
		if again := outcome(cut()); again != first {
			t.Fatalf("seed %d gives %s, then %s", seed, first, again)
		}
		seen[first]++
	}
	return seen
}

// summary tells bytes by runs of what they are: "o512 n512 z10" for old, new and zero.
func summary(content string) string {
	var parts []string
	for len(content) > 0 {
		n := len(content) - len(strings.TrimLeft(content, content[:1]))
		name := content[:1]
		if name == "\x00" {
			name = "z"
		}
		parts = append(parts, fmt.Sprintf("%s%d", name, n))
		content = content[n:]
	}
	return strings.Join(parts, " ")
}

func TestKeepPrefixCutsAtOnePoint(t *testing.T) {
	m := NewMem(MemOptions{})
	first, second := put(t, m, "first", strings.Repeat("o", 2000)), put(t, m, "second", "")
	check(t, m.SyncAll())
	write(t, first, strings.Repeat("a", 1000), 100)
	write(t, second, "b", 0)
	check(t, m.Rename("second", "third"))
	write(t, first, "c", 2000)
	got := cuts(t, m, KeepPrefix, func(after *Mem) string {
		left := tree(t, after, ".")
		second, third := left["second"], left["third"]
		if _, renamed := left["third"]; renamed {
			return summary(left["first"]) + ", third: " + third
		}
		return summary(left["first"]) + ", second: " + second
	})
	for _, state := range []string{
		"o2000, second: ",              // before the first write
		"o100 a412 o1488, second: ",    // torn at the first sector
		"o100 a924 o976, second: ",     // torn at the second
		"o100 a1000 o900, second: ",    // before the second write
		"o100 a1000 o900, second: b",   // before the rename
		"o100 a1000 o900, third: b",    // before the last write
		"o100 a1000 o900 c1, third: b", // all
	} {
		if got[state] == 0 {
			t.Errorf("%s was never seen", state)
		}
		delete(got, state)
	}
	if len(got) > 0 {
		t.Errorf("states that no prefix gives: %v", got)
	}
}

func TestKeepRandomReordersAndTears(t *testing.T) {
	m := NewMem(MemOptions{})
	file := put(t, m, "a", strings.Repeat("o", 512))
	check(t, m.SyncAll())
	write(t, file, strings.Repeat("n", 512), 0)
	write(t, file, strings.Repeat("m", 1024), 512)
	got := cuts(t, m, KeepRandom, func(after *Mem) string { return summary(read(t, after, "a")) })
	for _, state := range []string{
		"o512",           // both lost
		"n512",           // the second lost
		"o512 m1024",     // the first lost
		"n512 m1024",     // none lost
		"o512 m512",      // torn behind
		"o512 z512 m512", // torn before
		"o512 m512 z512", // torn behind, with the length
		"o512 z1024",     // the length without the bytes
		"n512 z1024",     // and the first without the second
	} {
		if got[state] == 0 {
			t.Errorf("%s was never seen in %v", state, got)
		}
	}
}

func TestKeepRandomReordersNames(t *testing.T) {
	m := NewMem(MemOptions{})
	put(t, m, "a", "a")
	put(t, m, "b", "b")
	check(t, m.SyncAll())
	check(t, m.Rename("a", "c"))
	check(t, m.Remove("b"))
	check(t, put(t, m, "d", "").Sync())
	check(t, m.Rename("d", "e"))
	got := cuts(t, m, KeepRandom, func(after *Mem) string { return strings.Join(must(after.List("."))(t), "") })
	for _, state := range []string{"ab", "bc", "a", "c", "abd", "bcd", "ad", "cd", "abe", "bce", "ae", "ce"} {
		if got[state] == 0 {
			t.Errorf("the names %s were never seen", state)
		}
		delete(got, state)
	}
	if len(got) > 0 {
		t.Errorf("names that no order gives: %v", got)
	}
}

func TestCrashFreesLocksAndLeavesHandlesBehind(t *testing.T) {
	m := NewMem(MemOptions{})
	file := put(t, m, "a", "text")
	must(m.Lock("lock"))(t)
	check(t, m.SyncAll())
	after, killed := m.Crash(Cut{}), m.Kill()
	write(t, file, "late", 0)
	check(t, file.Sync())
	check(t, must(after.Lock("lock"))(t).Close())
	check(t, must(killed.Lock("lock"))(t).Close())
	want := files{"a": "text", "lock": ""}
	wantTree(t, "after the cut", after, want)
	wantTree(t, "after the kill", killed, want)
	wantTree(t, "after the kill and the cut", killed.Crash(Cut{}), want)
}

// history is what a file has been, byte by byte.
type history struct {
	synced  []byte
	pending []*memOp
}

// possible says whether content can be what is left of a file by any power cut: each byte is the
// synced one, a zero, or one of a pending write.
func (h history) possible(content []byte) error {
	shortest, longest := int64(len(h.synced)), int64(len(h.synced))
	for _, op := range h.pending {
		if op.kind == opResize {
			shortest = min(shortest, op.position)
		}
		longest = max(longest, op.position+int64(len(op.bytes)))
	}
	if size := int64(len(content)); size < shortest || size > longest {
		return fmt.Errorf("%d bytes, want %d..%d", size, shortest, longest)
	}
	for at, got := range content {
		ok := got == 0 && len(h.pending) > 0 || at < len(h.synced) && h.synced[at] == got
		for _, op := range h.pending {
			in := int64(at) - op.position
			ok = ok || op.kind == opWrite && in >= 0 && in < int64(len(op.bytes)) && op.bytes[in] == got
		}
		if !ok {
			return fmt.Errorf("byte %d is %d, which was never written there", at, got)
		}
	}
	return nil
}

// Whatever is done to files and whatever the cut keeps: what was synced is there unless something
// later changed it, and what is there was written.
func TestCrashLeavesOnlyWhatWasWritten(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		m := NewMem(MemOptions{})
		open := []File{put(t, m, "a", ""), put(t, m, "b", "")}
		check(t, m.SyncAll())
		for range rapid.IntRange(1, 12).Draw(rt, "steps") {
			file := rapid.SampledFrom(open).Draw(rt, "file")
			switch rapid.IntRange(0, 5).Draw(rt, "step") {
			case 0:
				check(t, file.Sync())
			case 1:
				check(t, file.Truncate(rapid.Int64Range(0, 3000).Draw(rt, "size")))
			default:
				text := bytes.Repeat([]byte{rapid.Byte().Draw(rt, "byte")}, rapid.IntRange(1, 3000).Draw(rt, "length"))
				check(t, file.WriteAt([][]byte{text}, rapid.Int64Range(0, 3000).Draw(rt, "position")))
			}
		}
		mode := CutMode(rapid.IntRange(0, int(KeepRandom)).Draw(rt, "mode"))
		seed := rapid.Uint64().Draw(rt, "seed")
		after := m.Crash(Cut{Mode: mode, Rand: rand.New(rand.NewPCG(seed, 0))})
		for i, name := range []string{"a", "b"} {
			node := open[i].(*memFile).node
			got := read(t, after, name)
			if err := (history{node.synced, node.pending}).possible([]byte(got)); err != nil {
				rt.Fatalf("%s: %v", name, err)
			}
			if mode == KeepNone && got != string(node.synced) {
				rt.Fatalf("%s is not what was synced", name)
			}
			if mode == KeepAll && got != content(t, open[i]) {
				rt.Fatalf("%s is not what was written", name)
			}
		}
	})
}

func TestMemCapacity(t *testing.T) {
	m := NewMem(MemOptions{Capacity: 100})
	a := put(t, m, "a", strings.Repeat("a", 60))
	b := must(m.Create("b"))(t)
	wantError(t, b.Allocate(41), ErrDiskFull)
	check(t, b.Allocate(30))
	wantFree(t, m, 10)
	wantError(t, a.WriteAt([][]byte{bytes.Repeat([]byte{'x'}, 20)}, 55), ErrDiskFull)
	if got := summary(content(t, a)); got != "a55 x15" {
		t.Errorf("the failed write left %s", got)
	}
	wantFree(t, m, 0)
	check(t, a.WriteAt([][]byte{[]byte("over")}, 0)) // needs no space
	write(t, b, strings.Repeat("b", 30), 0)          // has its space
	wantError(t, b.WriteAt([][]byte{[]byte("b")}, 30), ErrDiskFull)
	wantError(t, b.WriteAt([][]byte{[]byte("b")}, 1000), ErrDiskFull)
	wantError(t, b.Truncate(31), ErrDiskFull)
	check(t, a.Truncate(20))
	wantFree(t, m, 50)
	check(t, b.Allocate(80))
	wantFree(t, m, 0)
	check(t, b.Truncate(30))
	wantFree(t, m, 50)
	write(t, b, "b", 30)
	wantFree(t, m, 49)
	check(t, b.Truncate(30))

	mapping := must(a.Map(10))(t)
	check(t, m.Remove("a"))
	check(t, a.Close())
	wantFree(t, m, 50)
	mapping.Release()
	wantFree(t, m, 70)
	m.SetCapacity(20)
	wantFree(t, m, 0)
	wantError(t, b.WriteAt([][]byte{[]byte("b")}, 30), ErrDiskFull)
	m.SetCapacity(0)
	write(t, b, "b", 1<<20)
	check(t, m.SyncAll())
	if _, err := m.Open("a"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("error %v", err)
	}
}

func wantFree(t *testing.T, m *Mem, want int64) {
	t.Helper()
	free, _, err := m.Space()
	check(t, err)
	if free != want {
		t.Errorf("%d bytes are free, want %d", free, want)
	}
	for what, after := range map[string]*Mem{"a kill": m.Kill(), "a crash": m.Crash(Cut{Mode: KeepAll})} {
		if after.used != memUsed(after.root) {
			t.Errorf("after %s %d bytes count as used, files have %d", what, after.used, memUsed(after.root))
		}
	}
}

func TestMemForgetsStorageThatNobodyMaps(t *testing.T) {
	m := NewMem(MemOptions{})
	file := put(t, m, "a", "text")
	var mappings []*Mapping
	for length := int64(10); length < 1<<20; length *= 10 {
		mappings = append(mappings, must(file.Map(length))(t))
	}
	node := file.(*memFile).node
	if len(node.mirrors) == 0 {
		t.Fatal("the file has not outgrown its storage")
	}
	for _, mapping := range mappings {
		mapping.Release()
	}
	if len(node.mirrors) > 0 || node.mappings > 0 || node.storage.mappings > 0 {
		t.Errorf("%d storages and %d mappings are left", len(node.mirrors), node.mappings)
	}
}
