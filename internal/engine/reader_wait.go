package engine

import "context"

// await waits for rows.
func (r *Reader) await(ctx context.Context, published <-chan struct{}) error {
	if err := r.table.err(); err != nil {
		return err
	}
	select {
	case <-published:
	case <-r.engine.draining:
	case <-ctx.Done():
		return ctx.Err()
	}
	return nil
}
