package registrytest

import (
	"strconv"
	"testing"
	"time"
)

// TestGrants issues tokens that differ, and knows them until they end.
func TestGrants(t *testing.T) {
	t.Parallel()
	g := grants{tokens: map[string]grant{}}
	good := g.add(grant{all: true, end: time.Now().Add(time.Hour)}, strconv.Itoa)
	old := g.add(grant{end: time.Now().Add(-time.Hour)}, strconv.Itoa)
	if found, ok := g.of(good); good == old || !ok || !found.covers("a") {
		t.Errorf("%s and %s: %+v, %t", good, old, found, ok)
	}
	for _, token := range []string{old, "none"} {
		if _, ok := g.of(token); ok {
			t.Errorf("%s is good", token)
		}
	}
	if g.clear(); len(g.tokens) != 0 {
		t.Error("it is not cleared")
	}
}
