// Package flightsrv is the network edge: Arrow Flight over gRPC, health checks, and an admin
// listener over HTTP. It translates requests, decides who may call, and calls the engine; it keeps
// no state beyond calls and connections.
//
// # A batch on its way in
//
// codec leaves a received FlightData in the buffers that the network filled; the engine verifies
// and copies it from there once. Each DoPut has two goroutines: a receiver, and the handler, which
// sends acknowledgements. Between them stands ackQueue, in ≤ 1 MB a stream: acknowledgements that
// the client does not read are merged, so that a client that never reads cannot stop its own
// stream. Back-pressure comes from the engine's byte budget alone.
//
// # A batch on its way out
//
// The engine gives a message whose body lies in mapped segments. codec puts buffers over those
// slices that hold their segment (connection.hold), and grpc cuts them into frames. connection
// queues the frames by reference, takes a second hold on the segment, and writes all that is queued
// with one writev; the second hold goes when the kernel has the bytes. Slices that lie in no
// segment are copied before they are queued, because grpc reuses its buffers once Write returns.
// With TLS, everything is copied into chunks, which become TLS records.
//
// grpc forgets what is queued for a connection that dies, so that the buffers' own release would
// never be called: Close of the connection releases what is left.
//
// # Memory
//
// A stream that is read slowly has one message in grpc's queue and the connection 2 MB behind it;
// bodies in segments are pages of the file cache, not memory of the process. What a client sends
// before a handler looks at it is bounded by HTTP/2 windows and by one message of receiveBytesMax
// for each stream that is being received; gRPC has no place to ask for a budget before that, so
// the number of DoPut streams is bounded instead (Options.PutStreams), as are streams of a
// connection and connections.
//
// # Concurrency
//
// Server.Serve owns everything: it returns when all handlers, receivers and flushers have ended.
// Handlers hold no locks during calls of the engine or of the network.
package flightsrv
