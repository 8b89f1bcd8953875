package mirror

import (
	"testing"
	"time"

	"github.com/pullgate/pullgate/internal/fill"
)

// Who looks for a blob keeps only those waiting who want the same one.
func TestReservedPlace(t *testing.T) {
	t.Parallel()
	var s fills
	one, two := fillKey{digest: "one"}, fillKey{digest: "two"}
	anybody := func(*sharedFill) bool { return true }
	mine, _, _ := s.reserve(one, anybody)
	if mine == nil {
		t.Fatal("the place is taken")
	}
	if other, _, _ := s.reserve(two, anybody); other == nil {
		t.Error("the place of another blob is taken")
	}
	_, running, again := s.reserve(one, anybody)
	if running != nil || again == nil || s.get(one) != nil || len(s.all()) != 0 {
		t.Error("there is a fill where a place is merely reserved")
	}
	s.release(one)
	<-again
	if mine, _, _ = s.reserve(one, anybody); mine == nil {
		t.Fatal("the place that was given up is taken")
	}
	f := &sharedFill{Fill: fill.New(t.Context(), fill.Options{Downloads: &fill.Downloads{Now: time.Now}})}
	s.put(one, f)
	<-mine.free
	if _, running, _ := s.reserve(one, anybody); running != f || s.get(one) != f || len(s.all()) != 1 {
		t.Error("the fill is not found")
	}
	if mine, running, again := s.reserve(one, func(*sharedFill) bool { return false }); mine != nil || running != nil || again != nil {
		t.Error("who may not follow the fill got something")
	}
	s.release(one)
	if s.get(one) != nil {
		t.Error("the fill is still there")
	}
}
