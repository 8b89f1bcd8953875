// Package nearest finds what somebody meant who has misspelt a name.
package nearest

import "strings"

const (
	// maxEdits is how many slips of the fingers a name may have.
	maxEdits = 2
	// maxLength is the longest name that is looked at: what clients send is compared, too.
	maxLength = 64
)

// Name returns the one of names that was meant with a name that is none of them;
// empty = none is near. Case makes no difference, nor does a port. A slip of the
// fingers is likelier than the first part of a host left out, as in k8s.io for
// registry.k8s.io.
func Name(name string, names []string) string {
	if name == "" || len(name) > maxLength {
		return ""
	}
	name = strings.ToLower(name)
	host, _, _ := strings.Cut(name, ":")
	best, part, least := "", "", min(len(name)/2, maxEdits)
	for _, candidate := range names {
		lower := strings.ToLower(candidate)
		d := edits(name, lower)
		if other, _, _ := strings.Cut(lower, ":"); other == host {
			d = 0
		}
		if d < least || d == least && (best == "" || candidate < best) {
			best, least = candidate, d
		}
		if strings.HasSuffix(lower, "."+name) && (part == "" || candidate < part) {
			part = candidate
		}
	}
	if best == "" {
		return part
	}
	return best
}

// Hint returns " (did you mean X?)", or nothing if no name is near.
func Hint(name string, names []string) string {
	if near := Name(name, names); near != "" {
		return " (did you mean " + near + "?)"
	}
	return ""
}

// edits returns how many letters have to be put in, taken out, changed or swapped with
// the next one to make b of a.
func edits(a, b string) int {
	before, above, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		before, above, row = above, row, before
		row[0] = i + 1
		for j := range len(b) {
			change, swap := above[j], row[j]+1
			if a[i] != b[j] {
				change++
			}
			if i > 0 && j > 0 && a[i] == b[j-1] && a[i-1] == b[j] {
				swap = before[j-1] + 1
			}
			row[j+1] = min(above[j+1]+1, row[j]+1, change, swap)
		}
	}
	return row[len(b)]
}
