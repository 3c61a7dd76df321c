// Package filter reads predicates on rows, and finds the rows for which they are true.
//
// # Forms
//
// An Expression comes from JSON (ParseJSON), from SQL text (ParseSQL) or from a Substrait extended
// expression (ParseSubstrait); the same predicate gives the same tree. AppendJSON writes the JSON form,
// which has everything that the others have. Parsers take bytes from strangers: text, depth, number of
// nodes and lengths of lists are bounded, and errors name the bound.
//
// # Meaning
//
// A row is kept where the predicate is true: not where it is false, and not where it is null.
//
//	null rules      those of SQL: a comparison with null is null; NOT null is null; AND and OR of Kleene;
//	                IN is null where nothing matches and the list or the value is null
//	literals        are taken for what the column's type makes of their text. What the type cannot hold
//	                exactly is compared all the same as if it could: an int column is > 3.5 where it is >= 4,
//	                and never equal to 3.5 or 10^30. Floats are the exception: a literal is rounded to the
//	                nearest value of the column's type
//	order           numbers, times by value; strings and binaries by bytes; false before true; NaN equals
//	                NaN and is above every other float, −0 equals 0, as in SQL engines
//	nested types    know IS NULL alone; a field of a struct is null where the struct is
//
// # Evaluation
//
// Bind casts the literals, pushes NOT down to the comparisons (which changes nothing in Kleene's logic), so
// that only rows for which something is true have to be followed, and orders the parts of an AND by
// cost. Filter.Select keeps one bit a row: comparisons of numbers set 64 of them at a time without
// branches, everything behind them looks only at rows that are still set. Filter.MayMatch answers from
// minima, maxima and counts of nulls, and is never wrong when it says no.
//
// Filter.Select reads values of verified batches, and checks the offsets of strings again. Nothing here
// does I/O or starts a goroutine. An Expression is immutable; a Filter belongs to one goroutine.
package filter
