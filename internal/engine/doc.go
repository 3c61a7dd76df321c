// Package engine holds the order of steps: it brings the stores together and says what happens
// when. The stores know nothing of one another.
//
// # Writing
//
// Put.Send validates a batch in the caller's goroutine and queues it. One goroutine, the committer,
// takes what is queued as a group and leads it through the steps that Engine.commit lists: apply
// (offsets, duplicates), write (segments, commit record), sync, publish and acknowledge. A second
// goroutine, the syncer, does the last two, so that the next group is written while one is synced.
//
// # Reading
//
// Engine.Plan fixes what one read sees: per bucket a range of offsets. Engine.Scan walks the plan
// and gives stored batches as Arrow messages whose bodies lie in mapped segments.
//
// # Locks
//
// catalog.mu, then table.mu, then plans.mu; none is held during a call to the disk except
// catalog.changes, which puts changes of the catalog one behind the other.
package engine
