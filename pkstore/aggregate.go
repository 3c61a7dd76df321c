package pkstore

import (
	"slices"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/headrace/headrace/internal/arrowipc"
	"github.com/headrace/headrace/internal/model"
)

// AggregateFunction says how the values of one column are merged by the merge engine aggregation, as
// the options merge.aggregate.COLUMN spell it. All of them ignore nulls, and give null where there was
// nothing else, but for AggregateFirst and AggregateLast.
//
// A retraction, such as the old half of an update that is fed from another changelog, takes values back.
// Sum and product can do that. The others do not know what was there before: they keep the value.
type AggregateFunction string

// The aggregate functions.
const (
	// AggregateSum adds integers, floats, decimals and durations. Integers and durations wrap round as
	// those of the processor do. Decimals wrap round within their precision: one more than the largest
	// value is the smallest. So a sum does not depend on the order of its rows, and taking back is exact.
	AggregateSum AggregateFunction = "sum"
	// AggregateProduct multiplies integers, which wrap round, and floats. Taking back divides, and keeps
	// the product where that leaves a remainder or the divisor is zero: after a product has wrapped
	// round, what was taken in cannot always be taken back.
	AggregateProduct AggregateFunction = "product"
	// AggregateMin keeps the least value, in the order of the key encoding but that NaN is above
	// everything. Of two equal values it keeps the older.
	AggregateMin AggregateFunction = "min"
	// AggregateMax keeps the greatest value, in the order of AggregateMin.
	AggregateMax AggregateFunction = "max"
	// AggregateAnd says that all values of a bool column were true.
	AggregateAnd AggregateFunction = "bool_and"
	// AggregateOr says that a value of a bool column was true.
	AggregateOr AggregateFunction = "bool_or"
	// AggregateFirst keeps the first value, even null, of any type.
	AggregateFirst AggregateFunction = "first_value"
	// AggregateFirstNotNull keeps the first value that is not null.
	AggregateFirstNotNull AggregateFunction = "first_value_ignore_nulls"
	// AggregateLast takes the new value, even null, of any type.
	AggregateLast AggregateFunction = "last_value"
	// AggregateLastNotNull takes the new value unless it is null. It is the function of columns that
	// name none.
	AggregateLastNotNull AggregateFunction = "last_value_ignore_nulls"
	// AggregateList joins strings with a comma, or with the text behind a colon: listagg:; joins with a
	// semicolon. A list that would be longer than ListBytesMax stays as it is.
	AggregateList AggregateFunction = "listagg"
)

// ListBytesMax bounds the bytes of what AggregateList makes, so that a row stays far below what a
// message can hold.
const ListBytesMax = 64 << 10

// aggregates merges rows column by column. It is owned by one goroutine.
type aggregates struct {
	columns []aggregate
	picks   []arrowipc.Pick // what merge chose, for one call
	value   []byte          // what merge computed, for one row
}

// aggregate is how one column is merged: it chooses one of two values, or makes a new one of them.
type aggregate struct {
	choose chooseFunction
	// compute appends the merged value to dst; neither operand is null.
	compute computeFunction
	// takeBack is compute for rows that are taken back; nil: the old value stays.
	takeBack computeFunction
	// zero is what a row is taken back from where there is no value; nil: null stays.
	zero []byte
}

// chooseFunction says that the value of fresh is taken rather than that of old, which is of a row that
// is there.
type chooseFunction func(column int, old, fresh arrowipc.Pick) bool

type computeFunction func(dst, old, fresh []byte) []byte

// newAggregates checks the functions, by column, against the types of the layout. The error names
// every fault.
func newAggregates(l *arrowipc.Layout, functions map[int]AggregateFunction) (*aggregates, error) {
	fields := l.Schema().Fields()
	a := &aggregates{columns: make([]aggregate, len(fields))}
	var faults []error
	for column := range functions {
		if column < 0 || column >= len(fields) {
			faults = append(faults, model.Errorf(model.ColumnNotFound,
				"an aggregate function is for column %d, the table has %d", column, len(fields)))
		}
	}
	for i, field := range fields {
		function, named := functions[i]
		if !named {
			function = AggregateLastNotNull
		}
		one, fault := newAggregate(function, valueType(field.Type))
		if fault != "" {
			faults = append(faults, model.Errorf(model.BadRequest, "option merge.aggregate.%s: %s", field.Name, fault))
		}
		a.columns[i] = one
	}
	if len(faults) > 0 {
		return nil, model.JoinFaults(faults)
	}
	return a, nil
}

// valueType is the type that values are stored as.
func valueType(t arrow.DataType) arrow.DataType {
	for {
		extension, ok := t.(arrow.ExtensionType)
		if !ok {
			return t
		}
		t = extension.StorageType()
	}
}

// newAggregate gives how a function merges values of a type, or what is wrong with it.
func newAggregate(function AggregateFunction, t arrow.DataType) (one aggregate, fault string) {
	name, delimiter, hasDelimiter := strings.Cut(string(function), ":")
	if hasDelimiter && AggregateFunction(name) != AggregateList {
		return one, name + " takes no delimiter, only listagg does"
	}
	if choose, found := choosers[AggregateFunction(name)]; found {
		one.choose = choose
		return one, ""
	}
	ok := true
	switch AggregateFunction(name) {
	case AggregateMin:
		ok = one.extreme(t, -1)
	case AggregateMax:
		ok = one.extreme(t, 1)
	case AggregateAnd:
		ok = t.ID() == arrow.BOOL && one.extreme(t, -1)
	case AggregateOr:
		ok = t.ID() == arrow.BOOL && one.extreme(t, 1)
	case AggregateSum:
		ok = one.sum(t)
	case AggregateProduct:
		ok = one.product(t)
	case AggregateList:
		if !hasDelimiter {
			delimiter = ","
		}
		ok = one.list(t, delimiter)
	default:
		return one, "there is no function " + name
	}
	if !ok {
		return one, name + " does not take values of type " + model.FormatType(t)
	}
	return one, ""
}

// choosers are the functions that choose without looking at values, of any type.
var choosers = map[AggregateFunction]chooseFunction{
	AggregateFirst: func(int, arrowipc.Pick, arrowipc.Pick) bool { return false },
	AggregateFirstNotNull: func(column int, old, _ arrowipc.Pick) bool {
		return old.View.IsNull(column, old.Row)
	},
	AggregateLast: func(int, arrowipc.Pick, arrowipc.Pick) bool { return true },
	AggregateLastNotNull: func(column int, _, fresh arrowipc.Pick) bool {
		return !fresh.View.IsNull(column, fresh.Row)
	},
}

// extreme makes a choose the value on one side of the order: -1 the least, 1 the greatest.
func (a *aggregate) extreme(t arrow.DataType, side int) bool {
	compare := comparison(t)
	if compare == nil {
		return false
	}
	a.choose = func(column int, old, fresh arrowipc.Pick) bool {
		switch {
		case fresh.View.IsNull(column, fresh.Row):
			return false
		case old.View.IsNull(column, old.Row):
			return true
		}
		return compare(fresh.View.Value(column, fresh.Row), old.View.Value(column, old.Row)) == side
	}
	return true
}

// list makes a join strings.
func (a *aggregate) list(t arrow.DataType, delimiter string) bool {
	switch t.ID() {
	case arrow.STRING, arrow.LARGE_STRING, arrow.STRING_VIEW:
	default:
		return false
	}
	a.compute = func(dst, old, fresh []byte) []byte {
		if len(old)+len(delimiter)+len(fresh) > ListBytesMax {
			return append(dst, old...)
		}
		dst = append(dst, old...)
		dst = append(dst, delimiter...)
		return append(dst, fresh...)
	}
	return true
}

// merge appends to column column of b, for each i, the merged value of olds[i] and news[i], whose views
// have the column at the same index. An old pick with a nil view says that there was no row; a new pick
// always has a view. retract: the new values are taken back from the old ones.
func (a *aggregates) merge(b *arrowipc.Builder, column int, olds, news []arrowipc.Pick, retract bool) error {
	one := &a.columns[column]
	if one.choose == nil {
		return a.compute(b, column, olds, news, retract)
	}
	if retract {
		return b.AppendColumnPicks(column, column, olds)
	}
	a.picks = slices.Grow(a.picks[:0], len(olds))[:len(olds)]
	for i, old := range olds {
		a.picks[i] = old
		if old.View == nil || one.choose(column, old, news[i]) {
			a.picks[i] = news[i]
		}
	}
	err := b.AppendColumnPicks(column, column, a.picks)
	clear(a.picks) // views keep mapped segments
	return err
}

// compute is merge for a function that makes new values.
func (a *aggregates) compute(
	b *arrowipc.Builder, column int, olds, news []arrowipc.Pick, retract bool,
) error {
	one := &a.columns[column]
	compute := one.compute
	if retract {
		compute = one.takeBack
	}
	for i := range olds {
		old, hasOld := presentValue(olds[i], column)
		fresh, hasFresh := presentValue(news[i], column)
		if retract && !hasOld && one.zero != nil {
			old, hasOld = one.zero, hasFresh
		}
		value := old
		switch {
		case hasOld && hasFresh && compute != nil:
			a.value = compute(a.value[:0], old, fresh)
			value = a.value
		case hasOld:
		case hasFresh && !retract:
			value = fresh
		default:
			b.AppendNull(column)
			continue
		}
		if err := b.AppendValue(column, value); err != nil {
			return err
		}
	}
	return nil
}

// presentValue gives the value of a pick, unless it is null or there is no row.
func presentValue(p arrowipc.Pick, column int) ([]byte, bool) {
	if p.View == nil || p.View.IsNull(column, p.Row) {
		return nil, false
	}
	return p.View.Value(column, p.Row), true
}
