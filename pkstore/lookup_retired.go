package pkstore

// addRetired adds to what was found in the index what the rows below the log have of the other keys. It is
// for keys that nobody changes meanwhile.
func (b *Bucket) addRetired(s *bucketSchema, r *resolver, k *Keys) error {
	// Behind the index: a key that was retired has left that by now.
	rows := b.retired.Load()
	if rows == nil {
		return nil
	}
	r.findMissing()
	if len(r.missing) == 0 {
		return nil
	}
	var err error
	if r.retired, _, err = b.fetch(s, rows, k, r.missing, r.retired[:0]); err != nil {
		return err
	}
	r.adopt(rows)
	return nil
}

// adopt puts the retired rows that are live now among what was found. It gives false where the index has lost
// a key since missing was noted.
func (r *resolver) adopt(rows *retiredRows) bool {
	absent := 0
	for _, f := range r.found {
		if f.batch == nil {
			absent++
		}
	}
	for i, place := range r.missing {
		if r.found[place].batch != nil {
			continue
		}
		absent--
		if f := r.retired[i]; f.batch != nil && rows.live.has(f.offset()) {
			r.found[place] = f
		}
	}
	return absent == 0
}

// resolveSnapshot finds all keys as of one moment, and gives the end of the log then.
//
// Rows from below the log take long to read. They are read between two looks at the index: what the second one
// does not have, and the first one did not have, is what was read, if it is live still.
func (b *Bucket) resolveSnapshot(r *resolver, k *Keys) (asOf int64, err error) {
	for range lookupTries {
		log, rows, _ := b.glance(r, k, nil)
		if rows == nil {
			return log.end, nil
		}
		if r.findMissing(); len(r.missing) == 0 {
			return log.end, nil
		}
		seen := 0
		if r.retired, seen, err = b.fetch(log.schema, rows, k, r.missing, r.retired[:0]); err != nil {
			return 0, err
		}
		if seen == 0 {
			return log.end, nil
		}
		if now, again, whole := b.glance(r, k, rows); again == rows && whole && now.schema == log.schema {
			return now.end, nil
		}
	}
	b.publishing.Lock()
	defer b.publishing.Unlock()
	log := b.log.Load()
	r.resolve(b, log, k)
	return log.end, b.addRetired(log.schema, r, k)
}

// glance finds all keys in the index as of one moment, and adopts what was read of the others, if rows are the
// retired rows of that moment. It gives the log and the retired rows of that moment.
func (b *Bucket) glance(r *resolver, k *Keys, rows *retiredRows) (log *publishedLog, now *retiredRows, whole bool) {
	look := func() {
		log = b.log.Load()
		r.resolve(b, log, k)
		if now = b.retired.Load(); now == rows && rows != nil {
			whole = r.adopt(rows)
		}
	}
	for range lookupTries {
		before := b.sequence.Load()
		if before&1 == 1 {
			b.awaitPublish()
			continue
		}
		if look(); b.sequence.Load() == before {
			return log, now, whole
		}
	}
	b.publishing.Lock()
	defer b.publishing.Unlock()
	look()
	return log, now, whole
}

// awaitPublish waits for a Publish that is running. Who yields instead may wait for all that is runnable.
func (b *Bucket) awaitPublish() {
	b.publishing.Lock()
	defer b.publishing.Unlock()
}
