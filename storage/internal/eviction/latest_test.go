package eviction

import (
	"fmt"
	"testing"
	"time"

	"github.com/pullgate/pullgate/storage/internal/volume"
)

func TestLatest(t *testing.T) {
	var l Latest
	at := time.Unix(1_800_000_000, 0)
	if got := l.At("a"); !got.IsZero() {
		t.Errorf("of nothing it knows %v", got)
	}
	l.Note("a", at)
	l.Note("a", at.Add(50*time.Minute+10*time.Second))
	l.Note("a", at) // the clock went back
	if got := l.At("a"); !got.Equal(at.Add(50 * time.Minute)) {
		t.Errorf("used at %v", got)
	}
	// What was used within the hour stays, whatever is new.
	for n := range MaxUses + 100 {
		l.Note(volume.ID(fmt.Sprint("b", n)), at.Add(time.Hour))
	}
	if n := len(l.minutes); n != MaxUses || l.At("a").IsZero() || !l.At(volume.ID(fmt.Sprint("b", MaxUses))).IsZero() {
		t.Errorf("%d are known, a was used at %v", n, l.At("a"))
	}
	l.Note("c", at.Add(2*time.Hour-time.Minute))
	if !l.At("a").IsZero() || l.At("c").IsZero() || l.At("b0").IsZero() {
		t.Error("it has kept an older one in place of a new one")
	}
}
