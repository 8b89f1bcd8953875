package fleet_test

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/internal/registrytest"
)

// Whatever three gateways are asked for that share a bucket, or answer each other, or both,
// in whichever order, and whether or not the upstream answers: each repository gets what it
// has there, and nothing else.
func TestNothingIsReleasedUnconfirmed(t *testing.T) {
	t.Parallel()
	for seed := range uint64(5) {
		random := rand.New(rand.NewPCG(seed, 0))
		from, m := registrytest.New(t, registrytest.Options{}), newMemory()
		var gateways []*gateway
		switch seed {
		case 3:
			gateways = newHerd(t, from, 3, nil).gateways
		case 4:
			gateways = newHerd(t, from, 3, m).gateways
		default:
			gateways = []*gateway{newGateway(t, from, m), newGateway(t, from, m), newGateway(t, from, m)}
		}
		repositories := []string{"library/a", "library/a/b", "team/c"}
		has, digests := map[string]bool{}, []digest.Digest{}
		for n := range 8 {
			content := registrytest.Random(seed<<8+uint64(n), 10+random.IntN(2<<20))
			d := oci.Sum(content)
			digests = append(digests, d)
			for _, name := range repositories {
				if random.IntN(2) == 0 {
					from.PutBlob(name, content)
					has[name+"@"+d.String()] = true
				}
			}
		}
		down := false
		for step := range 150 {
			if random.IntN(20) == 0 {
				if down = !down; down {
					from.Refuse()
				} else if err := from.Accept(); err != nil {
					t.Fatal(err)
				}
			}
			g, name, d := gateways[random.IntN(3)], repositories[random.IntN(3)], digests[random.IntN(len(digests))]
			what := fmt.Sprintf("seed %d, step %d: %s@%s", seed, step, name, d)
			raw, _, err := g.blob(name, d)
			switch {
			case err == nil && !has[name+"@"+d.String()]:
				t.Errorf("%s: %d bytes that its upstream has not confirmed", what, len(raw))
			case err == nil && !oci.Verify(d, raw):
				t.Errorf("%s: wrong bytes", what)
			case err != nil && oci.IsNotFound(err) && has[name+"@"+d.String()]:
				t.Errorf("%s: %v", what, err)
			}
		}
	}
}
