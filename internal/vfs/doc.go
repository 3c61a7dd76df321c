// Package vfs is the one door to the file system: every durable byte goes through FS, so that a
// test can keep files in memory, fail any single call, or cut the power between two of them.
//
// Disk is the real thing: a folder of the machine. Mem keeps files in memory and knows what a power
// cut would leave of them. Fault fails chosen calls of another FS; Trace writes down the calls that
// change one. Only this package may import os for files; internal/tidy checks that.
//
// # Paths
//
// Paths are slash-separated and relative to the root of the FS, without "." and ".." parts; "." is
// the root itself (fs.ValidPath). Others fail with fs.ErrInvalid.
//
// # Durability
//
// Three things become durable one by one: the bytes and the length of a file by File.Sync, the name
// of a file or folder by FS.SyncDir of the folder that it is in, and everything by FS.SyncAll. A
// file whose bytes were synced and whose name was not can be missing after a power cut. A rename
// within a folder is there as a whole or not at all; between two folders it is durable once both
// are synced.
//
// # Concurrency
//
// An FS and a Mappings are safe for concurrent use; what holds for a File stands there. A Mapping
// is counted by reference: see Mapping.
package vfs
