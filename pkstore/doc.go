// Package pkstore keeps the state of primary-key tables: which row of a bucket's log is the newest of
// a key.
//
// The log of a bucket (package streams) is the changelog and the truth: one row a change, the table's
// columns and model.ChangeColumn behind them. A Bucket stands in front of it with a hash index from
// keys to the offsets of their newest rows, and a bitmap of these rows. It holds no values: they are
// read where the log has them. Both can be made anew from the log by Replay, which reads the key and
// change columns only.
//
// # Writes
//
// One goroutine, the writer, calls Apply: it finds the old row of each key, lets the merge engine
// decide, and gives the rows of the changelog. They are pending until the caller has them in the log
// and calls Publish, from any goroutine, or takes them back with Abandon. Apply sees what is pending,
// readers do not. Several changes may be pending at once; a pending change of a key has an entry of
// its own in front of the index. The bodies of batches that Apply gives belong to the bucket.
//
// A change with several rows of one key does to it what they do one after the other. The rows of the
// changelog stand in the order of the change's rows:
//
//	              full image   new image
//	new key       +I           +I
//	update        -U +U        +U
//	deletion      -D           -D           with the row as it was
//
// Nothing is added for a deletion of a key that is not there, and for rows that the merge engine
// does not accept: under first-row those whose key is there; under versioned those with a version
// below that of the old row or with none. Deletions look at no version: after one, any version
// inserts. A partial update gives a new row defaults, or null, in what it does not name, and
// numbers in Options.AutoIncrement; in a row that is there, that stays as it is.
//
// # Index
//
// The index is extendible hashing. The first bits of a key's hash (xxh3-64 over key encoding 1 of
// package arrowipc) choose an entry of a directory, and that a shard: an open-addressed table of
// 8-byte slots. A slot has the top 27 bits of the hash and the low 36 bits of the offset; the key
// itself is compared in the log. A shard that is four fifths full is replaced by a larger one or split
// in two, at a cost that does not depend on the number of keys. A key takes 10 to 13 bytes; rows that
// live at the same time may be 2^36 offsets apart.
//
// # Rows that were looked up
//
// The log has each column of a row somewhere else, so that a lookup waits for memory once a column. A RowCache, which
// any number of buckets share, keeps rows that were looked up in one piece, by bucket, version of the schema and
// offset. The index is asked first in any case and says which offset is the newest one; the cache is only another
// place to read what is there, and has nothing that must be kept up to date.
//
// # Index file, version 2
//
// AppendIndex writes the index and the live rows of one moment; LoadIndex and Attach take them, so that
// only the log behind it is replayed. Integers are little-endian.
//
//	head, 96 bytes
//	   0  4  magic "HRKI"
//	   4  4  version, 2
//	   8  4  CRC-32C (Castagnoli) of the file, this field taken as zero
//	  12  4  number of shards
//	  16  8  offset of the first row of the log
//	  24  8  offset behind the last row that is included
//	  32  8  number of keys in the index
//	  40  8  number of chunks
//	  48  8  length of the file
//	  56  8  xxh3-64 of the key columns: of each the name and the type, each behind its length as varint
//	  64  8  commit of the store of retired rows that the file was made with; 0: none
//	  72  8  number of live rows, retired ones included
//	  80  4  the share of the keys that it has, Share.Index
//	  84  4  Share.Of; 0: all keys
//	  88  8  zero
//
//	shard, 16+8n bytes, in the order of the hashes; together they cover all of them
//	   0  4  depth: how many first bits of the hash all its keys share
//	   4  4  n: number of slots, 64 or more
//	   8  4  slots with a key
//	  12  4  slots that are not 0
//	  16 8n  the slots
//
//	slot: 0: empty; 1: a key was deleted; else, from the top bit: 1 bit that is 1, 27 bits of the hash,
//	36 bits of the offset. A key lies at the first free slot from (r*n)>>27 on, circularly, where r are
//	the 27 bits shifted left by depth, without what is shifted out.
//
//	chunk of live rows, 4112 bytes, ascending, only those with live rows
//	   0  8  number: its first offset by 32768
//	   8  8  live rows
//	  16 4096  a bit for each offset, the lowest bit of the lowest byte first
//
// The file has no durability of its own: one that is missing, damaged or does not fit is refused, and
// the log replayed.
//
// # Below the log
//
// Retire moves the live rows below an offset, and deletions, to a ColdStore: Cold, which is Badger; see there
// for its durability and formats. A row stands there under
//
//	0  4  the top 32 bits of the hash of its key, big-endian
//	4     the key, encoded (KeyEncoding)
//
// and is, little-endian,
//
//	 0  8  the offset that it had in the log
//	 8  8  its append time, µs since 1970 UTC
//	16     the row, encoded (RowEncoder), the change column included
//
// The bitmap of live rows goes on below the log, and is the truth about the rows there too: one whose bit is
// clear does not count, whatever the store has. So updates and deletions of a retired key write nothing to the
// store; a later Retire replaces the row, or deletes it.
//
// The order is: what was published is made durable; the rows go to the store, which makes them durable, with
// the boundary, in the end; the bucket reads from the store; the keys leave the index, some thousands at a time; the
// batches leave the published log. After that the files may go. A key that is both in the index and in the
// store is read by the index.
//
// At start without an index file, UseCold makes the rows in the store live, and Replay of the log from the
// boundary on takes from them what was changed since.
//
// # Division
//
// Divide makes several buckets of one, each with a Share of its keys: what a bucket has by the hash of the bucket
// key. The history up to then is that of all of them. Each has batches of it in its published log, and of its rows
// those that are its own; so offsets stay what they are. Replay passes over keys of others. An index file is of one
// share.
//
// In the store of retired rows, NewColdLineage shows a bucket what is its own: under its own name, and beneath that
// what its ancestors had when it split from them. A deletion of a key that an ancestor has is stored as a
// gravestone: the 16 bytes that stand before a row, with the offset of the deletion, and no row.
//
// # Concurrency
//
// Apply, Abandon, Replay, LoadIndex and Attach are for the writer; Publish is for whoever syncs, in
// order; all else is for any goroutine. Lookup takes no lock: a counter tells that Publish ran
// meanwhile, and it looks again; after four times in vain it holds Publish up once. Publish holds
// lookups up for nothing but that. A Snapshot is taken between two Publishes; what it holds is copied
// when it changes.
//
// Lock order: cold.moving, publishing, mu.
package pkstore
