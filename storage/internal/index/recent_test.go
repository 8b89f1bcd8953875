package index

import "testing"

// What a reader found before a change must not be kept after it.
func TestRecentRefusesWhatIsOld(t *testing.T) {
	t.Parallel()
	r := newRecent(1)
	_, late := r.Look([]byte("a"))
	r.changed([]byte("a"))
	late.Keep([]byte("a"), "old")
	if value, _ := r.Look([]byte("a")); value != nil {
		t.Errorf("kept %v, which has changed", value)
	}
	_, now := r.Look([]byte("a"))
	now.Keep([]byte("a"), "new")
	if value, _ := r.Look([]byte("a")); value != "new" {
		t.Errorf("got %v, want what was kept", value)
	}
	if value, _ := r.Look([]byte("b")); value != nil {
		t.Errorf("another key got %v", value)
	}
	r.clear()
	if value, _ := r.Look([]byte("a")); value != nil {
		t.Errorf("cleared, and still has %v", value)
	}
}

// As many records as a set has room for do not push each other out; of one more, one
// goes.
func TestRecentKeepsAsManyAsThereIsRoomFor(t *testing.T) {
	t.Parallel()
	r := newRecent(1)
	keys := []string{"a", "b", "c", "d", "e"}
	keep := func(key string) {
		if value, place := r.Look([]byte(key)); value == nil {
			place.Keep([]byte(key), key)
		}
	}
	kept := func() (n int) {
		for _, key := range keys {
			if value, _ := r.Look([]byte(key)); value == key {
				n++
			} else if value != nil {
				t.Errorf("key %s got %v", key, value)
			}
		}
		return n
	}
	for range 3 { // each is there once
		for _, key := range keys[:recentWays] {
			keep(key)
		}
	}
	if n := kept(); n != recentWays {
		t.Errorf("kept %d of %d", n, recentWays)
	}
	keep(keys[recentWays])
	if value, _ := r.Look([]byte(keys[recentWays])); value != keys[recentWays] {
		t.Errorf("got %v of the one that came last", value)
	}
	if n := kept(); n != recentWays {
		t.Errorf("kept %d after one more, want %d", n, recentWays)
	}
	r.changed([]byte("a"))
	if n := kept(); n != 0 {
		t.Errorf("kept %d after a change in the set", n)
	}
}
