// Package arrowipc handles Arrow IPC messages as bytes: it verifies those that come from the wire,
// chooses and joins the buffers of those that are stored, and writes their metadata.
//
// # Ways of a batch
//
// In: a Decoder takes the messages of one stream from a client that may be hostile. It checks
// everything that Arrow libraries take for granted before anything is interpreted, and copies the
// buffers to batches of the table's schema. Arrow-go never sees a byte that a client sent before it
// has been checked; its IPC reader is not used at all.
//
// Kept: a Batch is one record batch as buffers in a contiguous body. Batch.Message and ParseMessage
// turn it into a message and back; what stands before the body in a file, such as a header of the
// owner's, is skipped by the offsets of the buffers. A Builder concatenates rows of batches, for
// coalescing, slicing and rewriting. A View reads single rows of a batch; a Builder takes picks of
// rows of many views, and KeyColumns compare their keys.
//
// Out: a Projection chooses columns of stored batches, compressed or not, by writing new metadata
// that points at the bytes that are there.
//
// # Format
//
// Bodies and messages are those of the Arrow IPC format, version V5, little-endian, with these
// choices:
//
//	buffers     begin at multiples of 64 bytes; the bytes between them and behind the last are zero
//	validity    is left out (length 0) where there is no null
//	views       are zero for nulls and in bytes that they do not use
//	types       dictionaries, unions, run-end encoding and list-views are never stored
//	metadata    a record batch's message begins with fixed offsets:
//	              0  root offset    4  vtable of Message        20  Message
//	             40  vtable of RecordBatch     60  RecordBatch (length at 64)
//	             88  where compressed: vtable of BodyCompression, 96 BodyCompression
//	            then the vectors of nodes, buffers and, where there are views, variadic counts
//
// ParseMessage accepts any valid message of the layout, not only this form.
//
// The key encoding behind RowHasher is a stored format too; see there.
//
// # Memory
//
// Bodies that this package makes come from pools and go back with Batch.Release. Between the two,
// nothing here reads them unless it is asked to. Everything else is left to the garbage collector.
//
// The package does no I/O and starts no goroutine. Layout, Projection, View and KeyColumns are immutable
// and may be shared; Decoder, Builder and RowHasher are owned by one goroutine each; a Batch may be read by
// many. It works on little-endian machines only.
package arrowipc
