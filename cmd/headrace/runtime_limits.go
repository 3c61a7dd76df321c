package main

import (
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
)

const (
	// threadsPerCore raises GOMAXPROCS above the cores: a goroutine that waits for a page of a mapped
	// file holds its place among the running ones, and the others must not wait with it.
	threadsPerCore = 2
	// stackBytesMax ends a runaway recursion long before the machine's memory.
	stackBytesMax = 64 << 20
)

// setRuntimeLimits fits Go's runtime to a server, except where the environment says otherwise.
func setRuntimeLimits(variable func(string) string) {
	debug.SetMaxStack(stackBytesMax)
	if variable("GOMAXPROCS") == "" {
		runtime.GOMAXPROCS(max(4, threadsPerCore*runtime.GOMAXPROCS(0)))
	}
	if variable("GOMEMLIMIT") == "" {
		if memory := memoryBytes(os.ReadFile); memory > 0 {
			// Half of the memory: the rest is for the pages of mapped segments.
			debug.SetMemoryLimit(memory / 2)
		}
	}
}

// memoryBytes is the memory that this process may use: the machine's or that of its control group;
// 0 if it is not known.
func memoryBytes(read func(path string) ([]byte, error)) int64 {
	memory := int64(0)
	if text, err := read("/proc/meminfo"); err == nil {
		for line := range strings.Lines(string(text)) {
			if fields := strings.Fields(line); len(fields) >= 2 && fields[0] == "MemTotal:" {
				kilobytes, _ := strconv.ParseInt(fields[1], 10, 64)
				memory = kilobytes << 10
			}
		}
	}
	if text, err := read("/sys/fs/cgroup/memory.max"); err == nil {
		if limit, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64); err == nil && (memory == 0 || limit < memory) {
			memory = limit
		}
	}
	return memory
}

const (
	// rowCacheShare is the part of the memory that is for rows that were looked up, where nobody says how much.
	rowCacheShare                      = 16
	rowCacheBytesMin, rowCacheBytesMax = 64 << 20, 8 << 30
)

// rowCacheBytes is how much memory is for rows that were looked up: what the settings say, or by the memory that there
// is, as memoryBytes has it.
func rowCacheBytes(set, memory int64) int64 {
	if set != 0 {
		return set
	}
	return min(max(memory/rowCacheShare, rowCacheBytesMin), rowCacheBytesMax)
}
