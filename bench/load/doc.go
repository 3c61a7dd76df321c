// Command load is the Go side of the benchmarks: producers, a follower and slow readers that talk to a
// server over Arrow Flight.
//
//	load put        producers send batches of a fixed number of rows, pipelined
//	load freshness  one producer at a fixed rate, and a follower in the same process
//	load slow       clients that read one batch an interval
//	load lookup     random keys of a keyed table over one stream, pipelined or one after the other
//	load redis      the same, and writes, of a Redis server
//
// Each command prints one JSON object to standard output. What goes wrong is printed as
// {"error": "…"}; the exit code is 0 then too, because only cmd/ ends processes in this repository.
//
// The client called raw encodes its messages before the clock starts and hands their bytes to gRPC
// as they are, so that a run measures the server and not the encoding of the load; the client called
// arrow is arrow-go's own, as a user would write it.
package main
