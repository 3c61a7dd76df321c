// Package streams keeps the log of a bucket: an ordered sequence of record batches in columnar form,
// in files called segments, with an offset for every row.
//
// A Bucket is written by one goroutine and read by any number. Rows go through Append (they get their
// offset), Write (they get into a file) and Publish (they can be read); who writes them decides when
// they are synced and what group they belong to. That is kept in the commit file of package
// replication, which this package knows nothing of: it takes and gives an Extent, how far a segment
// counts.
//
// # Files
//
// A bucket has the folder tables/<table id>/<bucket>:
//
//	<base>.arrow    a segment; <base> is the offset of its first row in 20 digits
//	<base>.index    where the batches of a sealed segment are; made anew when missing or wrong
//	<base>.rewrite  a segment that is being rewritten; removed when the bucket is opened
//
// Anything else in the folder is moved to the trash when the bucket is opened, and so are segments
// that the commit file does not know.
//
// # Segment, version 1
//
// A segment is an Arrow IPC stream of one schema: any Arrow library reads it. Integers of our own are
// little-endian. The file begins with the schema message, padded to a multiple of 64 bytes. Batches
// follow up to the end of the file; there is no end-of-stream mark.
//
//	batch, at a multiple of 64 bytes
//	   0  4  FF FF FF FF
//	   4  4  m: length of the metadata, padding included; 8+m is a multiple of 64
//	   8  m  the IPC message (FlatBuffers), zero-padded
//	 8+m  h  our header
//	   …     the buffers, each at a multiple of 64 bytes, zeros between them; a multiple of 64 bytes
//
// For Arrow, the body begins with our header: the offsets of the buffers count from there, and no
// buffer points at it.
//
//	header, version 2, h bytes, a multiple of 64
//	   0  4  magic "HRB1"
//	   4  2  version, 2
//	   6  2  zero
//	   8  4  h
//	  12  4  CRC-32C (Castagnoli) of the batch up to the end of the header, this field taken as zero
//	  16 16  UUID of the segment
//	  32  8  position of the batch in the file
//	  40  8  offset of the first row
//	  48  8  length of the buffers in bytes, padding included
//	  56  4  rows
//	  60  4  CRC of the header before it in the log; in the first batch that of the segment before,
//	         as that was written by appends; 0 for none
//	  64  4  CRC-32C of the schema message with its prefix and its padding
//	  68  4  b: number of buffers
//	  72  4  r: number of runs
//	  76  4  n: bytes of producers' names
//	  80  4  s: bytes of statistics; 0: there are none
//	  84 12  zero
//	  96 4b  CRC-32C of each buffer without padding; then zeros up to a multiple of 8
//	   … 64r the run table
//	   …  n  the names
//	   …  s  statistics of the columns, then zeros
//
// Version 1 has no statistics, and zeros where s is. It is read, and no longer written.
//
//	statistics, numbers as unsigned LEB128
//	   rows, number of columns; then for each column of the schema
//	   nulls + 1; 0: not known
//	   Min: a byte with its length + 1, 0: not known; its bytes
//	   Max: likewise
//
// Min and Max bound the values that are not null; see arrowipc.ColumnStatistics.
//
//	run, 64 bytes: rows that came in one request, in order, covering each row of the batch once
//	   0  4  first row, counted from the beginning of the batch
//	   4  4  rows; 0: the producer opened its epoch
//	   8  8  append time, µs since 1970 UTC; it never falls within a bucket
//	  16  8  epoch of the producer
//	  24  8  first sequence number
//	  32  8  last sequence number
//	  40  8  hash of the request
//	  48  4  position of the producer's name among the names
//	  52  4  length of the name; 0: no producer
//	  56  8  zero
//
// The metadata of the IPC schema holds the user's, where keys that begin with "headrace." stand behind
// "headrace.user.", and ours, from which the catalog can be rebuilt:
//
//	headrace.format           1
//	headrace.table_id         id of the table
//	headrace.table            its name, db.table
//	headrace.field_ids        numbers of the columns (JSON list)
//	headrace.schema_version   number
//	headrace.primary_key      columns (JSON list)
//	headrace.bucket_key       columns (JSON list)
//	headrace.bucket           number of the bucket
//	headrace.buckets          number of buckets
//	headrace.routing_version  number
//	headrace.segment          UUID of the segment, hexadecimal
//	headrace.base_offset      offset of the first row
//	headrace.previous         what the first batch names as the CRC before it
//	headrace.options          options of the table (JSON object)
//	headrace.comment          text
//	headrace.comments         texts of columns (JSON object)
//	headrace.defaults         defaults of columns (JSON object)
//	headrace.created          time (JSON string)
//	headrace.indexes          secondary indexes, where there are some (JSON list of name and columns)
//	headrace.nested_ids       numbers of nested fields, where there are some (JSON list): see model.SchemaVersion
//	headrace.versions         the earlier versions of the schema, where it was changed (JSON list of version,
//	                          schema, an IPC schema message in base64, field_ids and nested_ids)
//	headrace.initial          what rows show in fields that were added later, by number, where the schema
//	                          was changed (JSON object)
//	headrace.created_buckets  number of buckets before the table grew, where it did
//	headrace.splits           where the bucket and those that share history with it split, where they did
//	                          (JSON object of {"parent","at","retired"}, by bucket)
//	headrace.compression      of a rewritten segment that was to be compressed: {"codec","bytes"}, the
//	                          table's option log.compression and the length of the file before
//	headrace.rewrote          null, or {"end","chain","next"}: how far the segment counted, and the CRC
//	                          of its last header, before it was rewritten
//
// # Index, version 2
//
//	index, 64+36·n+t bytes
//	   0  4  magic "HRX1"
//	   4  2  version, 2
//	   6  2  zero
//	   8  4  CRC-32C of the file, this field taken as zero
//	  12  4  n: number of batches
//	  16 16  UUID of the segment
//	  32  8  length of the segment's file
//	  40  8  offset behind the last row
//	  48  4  CRC of the last header
//	  52  4  t: bytes of statistics
//	  56  8  length of the segment's file before it was compressed; 0: it was not
//
//	entry, 32 bytes
//	   0  8  offset of the first row
//	   8  8  position of the batch in the file
//	  16  8  append time of the last row
//	  24  4  rows
//	  28  4  m of the batch
//
// Behind the entries stand 4 bytes for each batch, where its statistics end, and then the statistics of
// all batches. Version 1 ends with the entries, and has zeros from byte 52 on. It is read, and no longer
// written.
//
// # Durability
//
// Write does not sync: Written names the files and folders to be synced, and sealed files that the
// caller closes after that. OpenBucket cuts off what lies behind the committed end, and never anything
// before it: missing or wrong bytes there are rot, rows in it give model.Corrupt, and all others stay
// readable. A header is checked when its batch is first read, each buffer the first time that it is
// asked for; VerifyExtent, Rewrite and CheckSegment check every byte.
//
// Rewrite may compress buffers, each on its own, as Arrow has it: its plain length, then a frame; −1 and
// the plain bytes where it shrinks by less than an eighth. A batch that shrinks by less than a sixteenth
// stays plain.
//
// Retain removes the oldest segment durably before the next one. Rewrite writes another file, syncs
// it, renames it over the old one and syncs the folder. A segment that was rewritten stands for every
// extent of the one before.
//
// All batches of a segment have one version of the table's schema: behind a change, a bucket begins a new
// segment with its next rows. One that has no rows yet is replaced, since the new one has its name: Renew
// does so as Rewrite does.
//
// # Reading
//
// A Cursor with Skip passes over batches by their statistics, of which a segment keeps as many bytes as it
// has been asked for, from its index file or from the heads of batches.
//
// A bucket that nobody uses rests: Rest closes the file that is written to, gives back the space that is
// reserved in it, and forgets mappings and indexes. It stays open, and makes all of that anew when it is
// used. A segment reserves as much space as it has bytes.
//
// A segment is mapped when it is first read, the one that is written to with room for what it will
// hold. Pages are brought into memory by a system call before they are touched, because a page fault
// would hold up other goroutines; a fault that happens nevertheless becomes an error. Readers hold a
// reference on the mapping, so that retiring, rewriting or closing takes nothing from under them.
//
// # Concurrency
//
// Next, Extent, Append, Write, Drop and Rollback are for one goroutine, the writer; Publish is for
// whoever syncs, in order. All else is for any goroutine. A Cursor is for one goroutine.
//
// Lock order: writing, upkeep, segment.mu, Bucket.mu.
package streams
