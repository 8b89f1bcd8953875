package peers

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"slices"
)

// weight is that of a member for one key (rendezvous hashing). The weights of all members
// are in a total order that everybody agrees upon.
type weight struct {
	hash [sha256.Size]byte
	id   string
}

func weigh(id, key string) weight {
	return weight{sha256.Sum256([]byte(id + "\x00" + key)), id}
}

func (w weight) compare(other weight) int {
	return cmp.Or(bytes.Compare(w.hash[:], other.hash[:]), cmp.Compare(w.id, other.id))
}

// before returns those of the members that weigh more than self for a key, the heaviest
// first.
func before(self, key string, members []*Member) []*Member {
	own := weigh(self, key)
	type weighed struct {
		weight
		*Member
	}
	var heavier []weighed
	for _, m := range members {
		if w := weigh(m.id, key); w.compare(own) > 0 {
			heavier = append(heavier, weighed{w, m})
		}
	}
	slices.SortFunc(heavier, func(a, b weighed) int { return b.compare(a.weight) })
	found := make([]*Member, len(heavier))
	for i, w := range heavier {
		found[i] = w.Member
	}
	return found
}

// fanOut is how many others a gateway passes the same thing on to.
const fanOut = 8

// spread puts those first, of members that weigh more than a gateway, the heaviest first,
// whom it asks for what very many may want at a time: its parent in a tree by weight in
// which each has up to fanOut children, and that one's parents, up to the owner.
func spread(heavier []*Member) []*Member {
	if len(heavier) <= fanOut {
		return heavier // the owner's children
	}
	asked := make([]*Member, 0, len(heavier))
	for rank := len(heavier); rank > 0; {
		rank = (rank - 1) / fanOut
		asked = append(asked, heavier[rank])
	}
	parents := asked
	for _, m := range heavier {
		if !slices.Contains(parents, m) {
			asked = append(asked, m)
		}
	}
	return asked
}
