// Package e2e tests the built server from outside, as its users see it: real processes, real
// sockets, real kills, a real full disk. It has no code besides its tests.
//
// The tests run the binary that HEADRACE_BIN names, or build one. They need Linux: memory is read
// from /proc, and the small disk is a tmpfs, mounted as root or in a user namespace.
package e2e
