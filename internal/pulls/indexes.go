package pulls

import (
	"slices"
	"time"

	"github.com/opencontainers/go-digest"
)

const (
	maxIndexes = 64
	indexTime  = time.Minute
)

// indexes are those that pulls have come from which ended a moment ago: who wants several
// platforms pulls one after the other, each by its digest. The oldest is first.
type indexes []index

type index struct {
	party     party
	tag       string
	digest    digest.Digest
	platforms map[digest.Digest]string
	used      time.Time
}

// add remembers the index of a pull that has ended, if that has other platforms.
func (all *indexes) add(p *pull) {
	if len(p.plan.platforms) < 2 {
		return
	}
	if len(*all) == maxIndexes {
		*all = slices.Delete(*all, 0, 1)
	}
	*all = append(*all, index{p.party, p.tag, p.digest, p.plan.platforms, p.last})
}

// lead makes a pull that begins with a digest one of the tag that leads there.
func (all indexes) lead(p *pull) {
	for _, i := range slices.Backward(all) {
		_, child := i.platforms[p.digest]
		if child && p.tag == "" && i.party == p.party && p.began.Sub(i.used) < indexTime {
			p.tag, p.digest, p.plan.platforms = i.tag, i.digest, i.platforms
			return
		}
	}
}
