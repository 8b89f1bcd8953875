package fleet_test

import (
	"net/http"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/pullgate/pullgate/internal/mirror"
	"github.com/pullgate/pullgate/internal/registrytest"
)

// Two gateways whose places are taken by downloads that each of them asks the other one for
// do not wait for each other: the owner begins, however many downloads it has.
func TestFullGatewaysDoNotWaitForEachOther(t *testing.T) {
	t.Parallel()
	from := registrytest.New(t, registrytest.Options{})
	h := newHerd(t, from, 2, nil, func(u *mirror.Upstream) { u.MaxFills = 1 })
	owned := map[*gateway][]digest.Digest{} // one to take the place of its owner, and one to be asked for
	for seed := uint64(0); len(owned[h.gateways[0]]) < 2 || len(owned[h.gateways[1]]) < 2; seed++ {
		d := from.PutRandom(repository, seed, 300<<10)
		owner, _ := h.owner(d.String())
		owned[owner] = append(owned[owner], d)
	}
	gate, open := registrytest.Hold(t)
	defer open()
	begun := make(chan struct{}, 2)
	for _, all := range owned {
		from.On(registrytest.Rule{Method: "GET", Kind: "blobs", Reference: all[0].String(), Times: 1, Hook: func(w http.ResponseWriter, r *http.Request, next http.HandlerFunc) {
			begun <- struct{}{}
			<-gate
			next(w, r)
		}})
	}
	done := make(chan error, 6)
	for _, g := range h.gateways {
		go func() { done <- g.verify(owned[g][0]) }()
		<-begun
	}
	for n, g := range h.gateways {
		for queued, owner := range []*gateway{h.gateways[1-n], g} { // the first one gets the place
			go func() { done <- g.verify(owned[owner][1]) }()
			await(t, "it waits", func() bool { return g.cache.Stats().Queued == 1+queued })
		}
	}
	open()
	for range cap(done) {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	if n := from.Count("GET", "blobs"); n != 4 {
		t.Errorf("%d downloads of 4 blobs", n)
	}
}
