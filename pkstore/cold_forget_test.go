package pkstore

import (
	"errors"
	"fmt"
	"testing"
)

// TestColdForgetsBuckets removes buckets, some of whose rows are in files and some in memory; others stay as they
// are, also behind a reopening, and readers of others that are open.
func TestColdForgetsBuckets(t *testing.T) {
	o := ColdOptions{Dir: t.TempDir()}
	c := openCold(t, o)
	for bucket := range uint32(20) {
		retire(t, c, bucket, 3, map[string]string{"a": fmt.Sprint(bucket), "b": "2"})
	}
	closeCold(t, c)
	c = openCold(t, o)
	retire(t, c, 7, 4, map[string]string{"c": "new"})
	retire(t, c, 8, 4, map[string]string{"c": "new"})
	before := pin(t, c, 8)
	if err := c.Forget(ColdBucket{Bucket: 7}, ColdBucket{Bucket: 9}, ColdBucket{Bucket: 99}); err != nil {
		t.Fatal(err)
	}
	retire(t, c, 8, 5, map[string]string{"d": "newer"})
	wantContent(t, before, map[string]string{"a": "8", "b": "2", "c": "new"})
	before.Release()
	for range 2 {
		for bucket := range uint32(20) {
			want := map[string]string{"a": fmt.Sprint(bucket), "b": "2"}
			switch bucket {
			case 7, 9:
				want = map[string]string{}
			case 8:
				want["c"], want["d"] = "new", "newer"
			}
			s := pin(t, c, bucket)
			wantContent(t, s, want)
			s.Release()
			if got := c.State(ColdBucket{Bucket: bucket}); (got == ColdState{}) != (len(want) == 0) {
				t.Errorf("bucket %d has the state %+v", bucket, got)
			}
		}
		closeCold(t, c)
		if err := c.Forget(ColdBucket{Bucket: 1}); !errors.Is(err, ErrColdClosed) {
			t.Errorf("a closed store says %v", err)
		}
		c = openCold(t, o)
	}
	closeCold(t, c)
}
