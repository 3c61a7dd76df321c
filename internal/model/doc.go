// Package model holds the words that every part of headrace shares: names, positions, durability
// levels, table definitions, table options, and the errors that users see.
//
// It does no I/O, starts no goroutine and keeps no state.
package model
