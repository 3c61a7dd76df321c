// Package replication puts groups of requests into one sequence and remembers which of them are
// whole. Alone, a node does that with a CommitFile; in a cluster a JetStream stream will.
//
// # Commit file
//
// A node has one sequence, kept in two files of a fixed size, commit-0 and commit-1, that take
// turns. A group appends its batches to their segments and one record here, then syncs once. A
// record names for each segment that the group touched how far it now counts (an Extent). A group
// counts after a crash only if its record and everything that the record names verify.
//
// A record can also carry the bytes that its group has put into the segments (a Piece each). Then the
// group is durable once this file is synced, and its segments are synced some time later, before the
// next checkpoint. After a crash, what the records carry is written to the segments first.
//
// The file in use begins with a checkpoint: the extents of every segment that may still grow, all
// of them durable in their segments when the checkpoint was written. When the file is full, the other
// one is begun with a new checkpoint and a higher generation; its old content stays behind as bytes of
// an older generation, which the reader ignores. The blocks are written once, with zeros, when the file
// is made, so that a sync of a record needs no change of the file's metadata.
//
// # Format, version 2
//
// Integers are little-endian. A record begins at a multiple of 64 bytes and is padded with zeros to
// the next one.
//
//	record, a multiple of 64 bytes
//	   0  4  magic "HRC1"
//	   4  4  CRC-32C (Castagnoli) of the bytes from 8 to the end of the record
//	   8  4  length of the record in bytes
//	  12  2  version, 2
//	  14  2  kind: 1 checkpoint, 2 group, 3 mark: all that is named before was durable in the segments
//	  16  8  generation of the file, from 1
//	  24  8  position of the record in the file
//	  32  8  sequence: one up a record, over both files
//	  40  8  synced: this record's writer knew that all records up to this one, and what they name,
//	         were durable
//	  48  4  n: number of extents
//	  52  4  m: number of pieces
//	  56  8  zero
//	  64 48n the extents
//	   … 32m what the pieces are; then zeros up to a multiple of 64
//	   …     the bytes of each piece, then zeros up to a multiple of 64
//
//	extent, 48 bytes
//	   0 16  table id (the bytes of the ULID)
//	  16  8  base offset of the segment
//	  24  8  end: length in bytes that counts
//	  32  8  next: offset behind the last row
//	  40  4  bucket
//	  44  4  chain: CRC of the last batch
//
//	piece, 32 bytes
//	   0  4  index of its extent in the record
//	   4  4  number of bytes
//	   8  8  position of the bytes in the segment
//	  16 16  UUID of the segment
//
// No piece has the magic of a record at a multiple of 64 bytes: a reader that looks for records behind
// damage must not take what a user has stored for one. See CanCarry.
//
// Version 1 is read and not written: it has no pieces, zero in place of m, and a length and a checksum
// that leave out the padding.
//
// # Torn or rotten
//
// Reading ends at the first record that does not verify. If a record of the same generation follows
// whose synced reaches beyond the gap, the missing record was durable once: that is rot, and it is
// reported as such; else it was never acknowledged, and the sequence ends there. What records of the
// newest generation carry is told in either case, also that of records behind a gap: the bytes are what
// was written at their place of that segment, whether they count or not.
//
// # Concurrency
//
// A CommitFile is for one goroutine, the committer, except for Sync, which another one may call at
// the same time.
package replication
