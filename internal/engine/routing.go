package engine

// routing stands for the way from rows to buckets as it is until the table grows: then it has another one.
type routing struct {
	// buckets is the number of buckets of the table, or of each of its partitions.
	buckets int32
}

// routing gives that of the table. While a primary-key table grows it waits: for as long as it takes to exchange
// some pointers.
func (t *table) routing() *routing {
	if r := t.routed.Load(); r != nil {
		return r
	}
	t.keyed.publishing.Lock() // whoever held it has set the routing
	defer t.keyed.publishing.Unlock()
	return t.routed.Load()
}

// reads runs look, which reads buckets of a primary-key table that it finds by their routing, again if the table
// has grown meanwhile: what it has seen may then be of before and behind that.
func (t *table) reads(look func(*routing) error) error {
	for {
		r := t.routing()
		if err := look(r); err != nil || t.routed.Load() == r {
			return err
		}
	}
}

// routedTo gives the buckets that rows of a bucket can go to by their bucket key, in routing order: those of the
// table, or of the partition.
func (t *table) routedTo(bucket int32) []int32 {
	if t.partitions == nil {
		return t.definition.Load().Routing()
	}
	if x := t.partitions.of(bucket); x != nil {
		return x.numbers()
	}
	return nil
}
