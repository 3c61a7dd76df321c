package pkstore

// Forget removes all rows and the states of buckets whose logs are gone for good. Nobody reads them, and none
// of these buckets is used again. What a crash has left is removed by calling it once more.
func (c *Cold) Forget(buckets ...ColdBucket) error {
	c.retiring.Lock()
	defer c.retiring.Unlock()
	if err := c.enter(); err != nil {
		return err
	}
	defer c.readers.Done()
	var prefixes [][]byte
	c.guard.Lock()
	for _, bucket := range buckets {
		if _, known := c.states[bucket]; known {
			prefixes = append(prefixes, bucket.appendPrefix(nil, coldRowKey), bucket.appendPrefix(nil, coldStateKey))
		}
	}
	c.guard.Unlock()
	if len(prefixes) == 0 {
		return nil
	}
	if err := c.protect("forgetting rows", func() error { return c.db.DropPrefix(prefixes...) }); err != nil {
		return err
	}
	c.guard.Lock()
	defer c.guard.Unlock()
	for _, bucket := range buckets {
		delete(c.states, bucket)
	}
	c.discard()
	return nil
}
