// Package e2e tests the built server from outside, as its users see it: real processes, real
// sockets, real kills. It has no code besides its tests.
//
// The tests run the binary that HEADRACE_BIN names, or build one.
package e2e
