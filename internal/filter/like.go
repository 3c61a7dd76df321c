package filter

import (
	"bytes"
	"unicode/utf8"

	"github.com/headrace/headrace/internal/model"
)

// likeItem is a byte of a LIKE pattern, or one of its two signs.
type likeItem int16

const (
	anyText likeItem = -1 - iota // %
	anyRune                      // _
)

// PatternMax is how many bytes a LIKE pattern may have that is more than a beginning, an end or a part: it
// may be tried at every character of a value.
const PatternMax = 1024

// readLike reads a pattern; % next to % counts once.
func readLike(pattern string, escape rune) ([]likeItem, error) {
	items := make([]likeItem, 0, len(pattern))
	for at := 0; at < len(pattern); {
		r, size := utf8.DecodeRuneInString(pattern[at:])
		switch {
		case escape != 0 && r == escape:
			at += size
			next, nextSize := utf8.DecodeRuneInString(pattern[at:])
			if nextSize == 0 || next != '%' && next != '_' && next != escape {
				return nil, model.Errorf(model.BadRequest, "the pattern %q has the escape %q before something else than %%, _ and itself",
					clip(pattern), string(escape)).WithRemedy("Write it twice to mean itself")
			}
			size = nextSize
			items = appendBytes(items, pattern[at:at+size])
		case r == '%':
			if n := len(items); n == 0 || items[n-1] != anyText {
				items = append(items, anyText)
			}
		case r == '_':
			items = append(items, anyRune)
		default:
			items = appendBytes(items, pattern[at:at+size])
		}
		at += size
	}
	return items, nil
}

func appendBytes(items []likeItem, text string) []likeItem {
	for i := range len(text) {
		items = append(items, likeItem(text[i]))
	}
	return items
}

// likePredicate gives the cheapest predicate for a pattern.
func likePredicate(pattern string, escape rune) (textPredicate, error) {
	items, err := readLike(pattern, escape)
	if err != nil {
		return nil, err
	}
	if simple := simplePattern(items); simple != nil {
		return simple, nil
	}
	if len(pattern) > PatternMax {
		return nil, model.Errorf(model.BadRequest, "the pattern of a LIKE has %d bytes, at most %d are allowed", len(pattern), PatternMax)
	}
	t := &textLike{items: items}
	for _, item := range items {
		if item < 0 {
			break
		}
		t.prefix = append(t.prefix, byte(item))
	}
	return t, nil
}

// simplePattern gives the predicate of a pattern that is a text, a beginning, an end or a part; nil for others.
func simplePattern(items []likeItem) textPredicate {
	plain := make([]byte, 0, len(items))
	for _, item := range items {
		if item >= 0 {
			plain = append(plain, byte(item))
		}
	}
	signs := len(items) - len(plain)
	if signs == 0 {
		return &textEqual{string(plain)}
	}
	first, last := items[0] == anyText, items[len(items)-1] == anyText
	switch {
	case signs == 1 && last: // also the pattern % alone
		return &textPart{StartsWith, plain}
	case signs == 1 && first:
		return &textPart{EndsWith, plain}
	case signs == 2 && first && last:
		return &textPart{Contains, plain}
	}
	return nil
}

// textLike is true for values that a pattern fits.
type textLike struct {
	items  []likeItem
	prefix []byte // up to the first sign
}

// has tries what is behind a % at every character behind it. Only the last % has to be tried again:
// what fits between two of them fits as early as it can.
func (t *textLike) has(value []byte) bool {
	if !bytes.HasPrefix(value, t.prefix) {
		return false
	}
	at, item := len(t.prefix), len(t.prefix)
	again, from := -1, 0
	for at < len(value) {
		switch {
		case item < len(t.items) && t.items[item] == anyText:
			again, from = item, at
			item++
			continue
		case item < len(t.items) && t.items[item] == anyRune:
			at += runeLength(value[at:])
			item++
			continue
		case item < len(t.items) && t.items[item] == likeItem(value[at]):
			at++
			item++
			continue
		case again < 0:
			return false
		}
		from += runeLength(value[from:])
		at, item = from, again+1
	}
	for item < len(t.items) && t.items[item] == anyText {
		item++
	}
	return item == len(t.items)
}

func runeLength(text []byte) int {
	_, size := utf8.DecodeRune(text)
	return size
}

func (t *textLike) mayHave(low, high []byte) bool { return mayBegin(t.prefix, low, high) }
func (t *textLike) mayLack(_, _ []byte) bool      { return true }
func (t *textLike) cost() int                     { return 40 }
