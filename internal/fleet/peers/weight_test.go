package peers

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
)

// Whoever knows whom, and however many keys there are: who asks whom has no cycle.
func TestNobodyAsksInACircle(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 0))
	const gateways, views = 5, 100_000
	for n := range views / gateways {
		key := fmt.Sprint("key", n)
		asks := map[string][]string{}
		for i := range gateways {
			var known []*Member
			for j := range gateways {
				switch random.IntN(4) {
				case 0: // it does not know that one
				case 1: // it knows its predecessor, who answers nobody
					known = append(known, &Member{id: fmt.Sprint(n, "old", j)})
				default:
					known = append(known, &Member{id: fmt.Sprint(n, "id", j)})
				}
			}
			self := fmt.Sprint(n, "id", i)
			for _, m := range before(self, key, known) {
				asks[self] = append(asks[self], m.id)
			}
		}
		left := map[string]bool{}
		for id := range asks {
			left[id] = true
		}
		for len(left) > 0 {
			found := ""
			for id := range left {
				if !slices.ContainsFunc(asks[id], func(other string) bool { return left[other] }) {
					found = id
				}
			}
			if found == "" {
				t.Fatalf("%v ask each other for %s", left, key)
			}
			delete(left, found)
		}
	}
}

// All agree upon the owner, each owns about as much, and one that leaves moves only what
// was its own.
func TestOwnersAreFair(t *testing.T) {
	var all []*Member
	for n := range 5 {
		all = append(all, &Member{id: fmt.Sprint("gateway", n)})
	}
	owner := func(key string, among []*Member) string {
		found := ""
		for _, m := range among {
			if heavier := before(m.id, key, among); len(heavier) == 0 {
				if found != "" {
					t.Fatalf("%s and %s own %s", found, m.id, key)
				}
				found = m.id
			}
		}
		return found
	}
	owned := map[string]int{}
	for n := range 2000 {
		key := fmt.Sprint("key", n)
		first, without := owner(key, all), owner(key, all[1:])
		owned[first]++
		if first != all[0].id && first != without {
			t.Errorf("%s moves from %s to %s", key, first, without)
		}
	}
	for id, n := range owned {
		if n < 300 || n > 500 {
			t.Errorf("%s owns %d of 2000", id, n)
		}
	}
}
