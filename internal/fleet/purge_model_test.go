package fleet_test

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/internal/registrytest"
)

// removals is what the oracle knows: what the upstream has, and what each gateway could
// still be right to have from before it had not any more.
type removals struct {
	from *registrytest.Server
	has  map[string]bool // repository@digest
	old  map[string]bool // it had it, and that was not removed since
}

func (r *removals) put(name string, content []byte) {
	r.from.PutBlob(name, content)
	r.has[name+"@"+oci.Sum(content).String()] = true
}

// drop has the upstream lose a blob. Gateways may go on to serve it.
func (r *removals) drop(name string, d digest.Digest) {
	r.from.DeleteBlob(name, d)
	key := name + "@" + d.String()
	r.old[key] = r.old[key] || r.has[key]
	r.has[key] = false
}

// removed is for a removal on whichever gateway.
func (r *removals) removed(name string, d digest.Digest) {
	for key := range r.old {
		if key == name+"@"+d.String() || d == "" && len(key) > len(name) && key[:len(name)+1] == name+"@" {
			delete(r.old, key)
		}
	}
}

// Whatever is pulled, removed, compared, paused, uploaded late and restarted on three
// gateways with one bucket, which answer each other or do not: no gateway serves what its upstream has not, once that was
// removed on any of them.
func TestNothingPurgedComesBack(t *testing.T) {
	t.Parallel()
	for seed := range uint64(5) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			random := rand.New(rand.NewPCG(seed, 16))
			from, m := registrytest.New(t, registrytest.Options{}), newMemory()
			oracle := &removals{from: from, has: map[string]bool{}, old: map[string]bool{}}
			var gateways []*gateway
			if seed > 2 {
				gateways = newHerd(t, from, 3, m).gateways
			} else {
				gateways = []*gateway{newGateway(t, from, m), newGateway(t, from, m), newGateway(t, from, m)}
			}
			repositories := []string{"library/a", "library/a/b"}
			var contents [][]byte
			for n := range 5 {
				contents = append(contents, registrytest.Random(seed<<8+uint64(n), 10+random.IntN(100<<10)))
			}
			release := func() {}
			served := 0
			for step := range 400 {
				g, name, content := gateways[random.IntN(3)], repositories[random.IntN(2)], contents[random.IntN(len(contents))]
				d := oci.Sum(content)
				switch random.IntN(20) {
				case 0, 7, 8:
					oracle.put(name, content)
				case 1:
					oracle.drop(name, d)
				case 2, 3: // what runs at that moment may end as it would
					for _, g := range gateways {
						g.settled(1 << 10)
					}
					sel := name
					if random.IntN(3) > 0 {
						sel += "@" + d.String()
						oracle.removed(name, d)
					} else {
						oracle.removed(name, "")
					}
					g.rm("docker.io/" + sel)
				case 4:
					release()
					release = m.hold([]string{"v1/l/", "v1/b/"}[random.IntN(2)])
				case 5:
					release()
					if _, err := g.fleet.Sync(t.Context(), nil); err != nil {
						t.Error(err)
					}
				case 6:
					g.fleet.Use("", nil) // and is told of nothing until
					g.fleet.Use("memory", m)
				default:
					g.fleet.Pause()
					raw, status, err := g.blob(name, d)
					key := name + "@" + d.String()
					switch {
					case err == nil && !oracle.has[key] && !oracle.old[key]:
						t.Errorf("step %d: gateway %d serves %d bytes of %s: %v", step, g.number(gateways), len(raw), key, status)
					case err == nil:
						served++
					}
				}
			}
			release()
			if served < 20 {
				t.Errorf("only %d blobs were served", served)
			}
		})
	}
}

func (g *gateway) number(all []*gateway) int {
	for n, other := range all {
		if other == g {
			return n
		}
	}
	return -1
}
