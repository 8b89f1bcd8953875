package peers

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"testing"
)

// Whoever knows whom, and however many keys there are: who asks whom has no cycle.
func TestNobodyAsksInACircle(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(1, 0))
	const gateways, views = 5, 100_000
	var now, old [gateways]*Member
	for i := range gateways {
		now[i], old[i] = &Member{id: fmt.Sprint("id", i)}, &Member{id: fmt.Sprint("old", i)}
	}
	for n := range views / gateways {
		key := strconv.Itoa(n)
		var asks [gateways][]*Member
		for i := range gateways {
			var known []*Member
			for j := range gateways {
				switch random.IntN(4) {
				case 0: // it does not know that one
				case 1: // it knows its predecessor, who answers nobody
					known = append(known, old[j])
				default:
					known = append(known, now[j])
				}
			}
			asks[i] = before(now[i].id, key, known)
		}
		// Whoever asks nobody that is left leaves, until nobody is left.
		left := slices.Clone(now[:])
		for len(left) > 0 {
			next := slices.IndexFunc(left, func(m *Member) bool {
				return !slices.ContainsFunc(asks[slices.Index(now[:], m)], func(other *Member) bool { return slices.Contains(left, other) })
			})
			if next < 0 {
				t.Fatalf("%d gateways ask each other for %s", len(left), key)
			}
			left = slices.Delete(left, next, next+1)
		}
	}
}

// Of many gateways, each asks for content the parent in a tree first, and then its
// parents, up to the owner; nobody is asked first by more than eight, and nobody is left
// out. Of nine, all ask the owner.
func TestManyAskInATree(t *testing.T) {
	t.Parallel()
	for _, gateways := range []int{1, 9, 10, 100} {
		var all []*Member
		for n := range gateways {
			all = append(all, &Member{id: fmt.Sprint("gateway", n)})
		}
		byRank := make([]*Member, gateways)
		for _, m := range all {
			byRank[len(before(m.id, "key", all))] = m
		}
		first := map[*Member]int{}
		for rank, m := range byRank {
			heavier := before(m.id, "key", all)
			asked := spread(heavier)
			for n, parent := 0, rank; parent > 0; n++ {
				parent = (parent - 1) / 8
				if asked[n] != byRank[parent] {
					t.Errorf("of %d, rank %d asks %s as number %d, want %s", gateways, rank, asked[n].id, n, byRank[parent].id)
				}
			}
			if rank > 0 {
				first[asked[0]]++
			}
			for _, other := range heavier {
				if !slices.Contains(asked, other) {
					t.Errorf("of %d, rank %d leaves out %s", gateways, rank, other.id)
				}
			}
			if len(asked) != rank {
				t.Errorf("of %d, rank %d asks %d", gateways, rank, len(asked))
			}
		}
		for m, n := range first {
			if n > 8 {
				t.Errorf("of %d, %s is asked first by %d", gateways, m.id, n)
			}
		}
	}
}

// All agree upon the owner, each owns about as much, and one that leaves moves only what
// was its own.
func TestOwnersAreFair(t *testing.T) {
	t.Parallel()
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
