package vfs

import "testing"

func TestNewMemory(t *testing.T) {
	memory, release, err := NewMemory(5 << 20)
	if err != nil {
		t.Fatal(err)
	}
	defer release()
	if len(memory) != 5<<20 || memory[0] != 0 || memory[len(memory)-1] != 0 {
		t.Errorf("got %d bytes that begin with %d and end with %d", len(memory), memory[0], memory[len(memory)-1])
	}
	memory[0], memory[len(memory)-1] = 1, 2
	if _, _, err := NewMemory(-1); err == nil {
		t.Error("memory of less than nothing was given")
	}
}
