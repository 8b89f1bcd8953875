package command

import "strings"

// nearest returns the name that somebody may have meant with another one, which
// is none of names; empty = none is near. A slip of the fingers is likelier than
// the first part of a host left out, as in k8s.io for registry.k8s.io.
func nearest(name string, names []string) string {
	best, part, least := "", "", max(1, len(name)/3)+1
	meant, _, _ := strings.Cut(name, ":")
	for _, candidate := range names {
		if host, _, _ := strings.Cut(candidate, ":"); host == meant {
			return candidate
		}
		if d := edits(name, candidate); d < least {
			best, least = candidate, d
		}
		if strings.HasSuffix(candidate, "."+name) {
			part = candidate
		}
	}
	if best == "" {
		return part
	}
	return best
}

// edits returns how many letters have to be changed, put in or left out to make
// one word of the other.
func edits(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			change := diagonal
			if a[i] != b[j] {
				change++
			}
			diagonal = row[j+1]
			row[j+1] = min(change, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
