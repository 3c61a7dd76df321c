package streams

import (
	"reflect"
	"testing"
)

func TestAppendRuns(t *testing.T) {
	plain := func(start, rows, time int64) Run { return Run{RowStart: start, Rows: rows, Time: time} }
	named := func(start, rows, sequence int64) Run {
		return Run{RowStart: start, Rows: rows, Time: 5, Producer: "p", Epoch: 1, FirstSequence: sequence, LastSequence: sequence}
	}
	for _, tc := range []struct {
		name   string
		before []Run
		rows   int64
		added  []Run
		want   []Run
	}{
		{"first", nil, 0, []Run{plain(0, 3, 5)}, []Run{plain(0, 3, 5)}},
		{"equal times", []Run{plain(0, 3, 5)}, 3, []Run{plain(0, 2, 5)}, []Run{plain(0, 5, 5)}},
		{"later", []Run{plain(0, 3, 5)}, 3, []Run{plain(0, 2, 6)}, []Run{plain(0, 3, 5), plain(3, 2, 6)}},
		{"of a producer", []Run{named(0, 3, 1)}, 3, []Run{named(0, 2, 2)}, []Run{named(0, 3, 1), named(3, 2, 2)}},
		{"the same request twice", []Run{named(0, 3, 1)}, 3, []Run{named(0, 2, 1)}, []Run{named(0, 3, 1), named(3, 2, 1)}},
		{"of one and of nobody", []Run{named(0, 3, 1)}, 3, []Run{plain(0, 2, 5)}, []Run{named(0, 3, 1), plain(3, 2, 5)}},
		{"several", []Run{plain(0, 1, 5)}, 1, []Run{plain(0, 1, 5), plain(1, 1, 6)}, []Run{plain(0, 2, 5), plain(2, 1, 6)}},
		{"without rows", []Run{plain(0, 1, 5)}, 1, []Run{named(0, 0, -1)}, []Run{plain(0, 1, 5), named(1, 0, -1)}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got := appendRuns(tc.before, tc.rows, tc.added)
			if !reflect.DeepEqual(got, tc.want) {
				t.Errorf("%+v, want %+v", got, tc.want)
			}
			rows := int64(0)
			for _, r := range got {
				rows += r.Rows
			}
			table, names := encodeRuns(got)
			back, err := decodeRuns(table, names, rows)
			if err != nil || !reflect.DeepEqual(back, got) {
				t.Errorf("read back %+v, error %v", back, err)
			}
		})
	}
}

func TestDecodeRunsRefuses(t *testing.T) {
	for name, runs := range map[string][]Run{
		"a gap":          {{Rows: 1}, {RowStart: 2, Rows: 1}},
		"too few rows":   {{Rows: 1}},
		"a falling time": {{Rows: 1, Time: 2}, {RowStart: 1, Rows: 2, Time: 1}},
		"no run":         {},
	} {
		table, names := encodeRuns(runs)
		if _, err := decodeRuns(table, names, 3); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	table, _ := encodeRuns([]Run{{Rows: 3, Producer: "p"}})
	if _, err := decodeRuns(table, nil, 3); err == nil {
		t.Error("a name that is not there: no error")
	}
}

func TestParseBase(t *testing.T) {
	for name, want := range map[string]int64{
		"00000000000000000007.arrow": 7, "09223372036854775807.arrow": noLimit,
		"0000000000000000007.arrow": -1, "00000000000000000007.index": -1, "-0000000000000000007.arrow": -1,
		"09223372036854775808.arrow": -1, "+0000000000000000007.arrow": -1, ".arrow": -1, "x.arrow": -1,
	} {
		got, ok := parseBase(name, segmentSuffix)
		if !ok {
			got = -1
		}
		if got != want {
			t.Errorf("%s is %d, want %d", name, got, want)
		}
	}
}
