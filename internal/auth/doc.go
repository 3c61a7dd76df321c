// Package auth says who a caller is, and whether they may call at all: bearer tokens from a file of
// hashes, and client certificates.
//
// # Token file
//
// One line a token: a name, a colon, and the SHA-256 of the token in 64 hexadecimal digits. Empty
// lines and lines that begin with # are skipped. A name may occur several times, so that a token
// can be replaced without a gap. A plain hash is enough because tokens are 256 random bits, made by
// NewToken: there is nothing to guess. Text that a person made up must not be used as a token.
//
// # Files that change
//
// The token file, the certificate, its key and the client CA are read again when they have changed,
// at most once a second, without a restart. A file that cannot be read or does not make sense is
// reported to the log and leaves in force what was read before.
//
// Everything is safe for concurrent use; there are no goroutines.
package auth
