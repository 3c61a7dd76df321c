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
// catalog.changes, then keyedTable.upkeep, then producers.mu, then keyedTable.publishing, then table.mu, then
// catalog.mu or plans.mu. All but the last two may be held during calls to the disk: catalog.changes puts changes of
// the catalog one behind the other, keyedTable.upkeep keeps rows from being retired while a table grows,
// producers.mu is held while the producers of a table are read from the log for the first time, and
// table.mu while a bucket is opened. The committer takes no lock that is held while somebody waits
// for the committer, but for those of a change that it was asked to make itself.
//
// tableGroups.mu is held by itself. Calls of groups are run without it, one round at a time; a drop, in the
// committer, waits for the round that is under way, so no call may wait for the committer inside a round.
package engine
