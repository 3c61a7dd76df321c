package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"
)

// printJSON writes a value as one line of JSON.
func printJSON(out io.Writer, value any) error {
	encoder := json.NewEncoder(out)
	encoder.SetEscapeHTML(false)
	return encoder.Encode(value)
}

// grid writes rows of cells as columns of equal width.
type grid struct{ writer *tabwriter.Writer }

func newGrid(out io.Writer, header ...string) *grid {
	g := &grid{tabwriter.NewWriter(out, 0, 8, 2, ' ', 0)}
	if len(header) > 0 {
		g.row(header...)
	}
	return g
}

func (g *grid) row(cells ...string) {
	for i, cell := range cells {
		cells[i] = strings.NewReplacer("\t", " ", "\n", " ").Replace(cell)
	}
	// An error shows in flush.
	_, _ = fmt.Fprintln(g.writer, strings.Join(cells, "\t"))
}

func (g *grid) flush() error { return g.writer.Flush() }

// formatCount writes a count with its thousands set off: 1,234,567.
func formatCount(n int64) string {
	digits := strconv.FormatInt(n, 10)
	sign := ""
	if n < 0 {
		sign, digits = "-", digits[1:]
	}
	for at := len(digits) - 3; at > 0; at -= 3 {
		digits = digits[:at] + "," + digits[at:]
	}
	return sign + digits
}

// formatBytes writes a number of bytes with three digits or so: 12.3 MB.
func formatBytes(n float64) string {
	units := []string{"B", "kB", "MB", "GB", "TB", "PB"}
	unit := 0
	for n >= 999.5 && unit < len(units)-1 {
		n /= 1000
		unit++
	}
	if unit == 0 || n >= 99.95 {
		return fmt.Sprintf("%.0f %s", n, units[unit])
	}
	return fmt.Sprintf("%.1f %s", n, units[unit])
}

// counted writes a count with what is counted: 1 table, 2 tables.
func counted(n int, singular string) string {
	if n == 1 {
		return "1 " + singular
	}
	return formatCount(int64(n)) + " " + singular + "s"
}
