// Package obs holds what an operator sees of a running server: the names of all metrics, the set-up
// of the log, and a string type for secrets that never shows its text.
//
// It keeps no state of its own: a Metrics belongs to whoever made it and has its own registry, so
// that two servers in one process do not mix their figures. Everything is safe for concurrent use.
package obs
