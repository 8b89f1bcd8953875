//go:build fleet

package fleet

import (
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"sort"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pullgate/pullgate/internal/registrytest"
	"github.com/pullgate/pullgate/internal/testenv"
)

// maxGrown is how many goroutines more than at first a gateway may have at rest:
// connections to the others, the bucket and the upstream stay for a while.
const maxGrown = 30

// TestSoak serves a mixed load on three gateways for the time that SOAK says (5 minutes in the
// long version, and else not at all), while by turns one of them is killed, started again or
// paused, and the bucket or the upstream refuses or hangs. Whatever ends well is right, and who
// asks a gateway that lives for what the bucket has gets it. In the end, every gateway serves
// all images, and has no more goroutines than at first.
func TestSoak(t *testing.T) {
	lasts := time.Duration(testenv.Rounds(0, 300)) * time.Second
	if text := os.Getenv("SOAK"); text != "" {
		var err error
		if lasts, err = time.ParseDuration(text); err != nil {
			t.Fatalf("SOAK=%s: %v", text, err)
		}
	}
	if lasts == 0 {
		return
	}
	k := newSoak(t, lasts)
	if warm := lasts / 5; warm > 10*time.Second {
		k.serve(warm)
		lasts -= warm
	}
	before := k.rest(nil)
	k.serve(lasts)
	for _, g := range k.members {
		for _, image := range append(k.cold, k.hot...) {
			g.pull(image)
		}
	}
	k.report(before, k.rest(before))
}

// soak is gateways under load.
type soak struct {
	t         *testing.T
	from      *registrytest.Server
	shared    *s3
	members   []*soakMember
	hot, cold []registrytest.Image // the bucket has the hot ones from the start
	seed      uint64
	span      time.Duration // how long something is away at most
	client    *http.Client

	mu       sync.Mutex
	outcomes map[string]int
	faults   map[string]int
	fault    string // what is away
}

// soakMember is one of the gateways.
type soakMember struct {
	*gatewayProcess

	// turns counts when it went away, and came back: odd = it is away.
	turns atomic.Int64
}

// away has the gateway be away as long as something is done.
func (m *soakMember) away(do func()) {
	m.turns.Add(1)
	defer m.turns.Add(1)
	do()
}

func newSoak(t *testing.T, lasts time.Duration) *soak {
	t.Helper()
	k := &soak{
		t: t, from: registrytest.New(t, registrytest.Options{}), shared: newS3(t).run(), seed: testenv.Seed(t), span: min(lasts/8, 8*time.Second),
		client: &http.Client{Timeout: patience, Transport: &http.Transport{MaxIdleConnsPerHost: 20}}, outcomes: map[string]int{}, faults: map[string]int{},
	}
	t.Cleanup(k.client.CloseIdleConnections)
	for n := range 60 {
		k.cold = append(k.cold, k.from.PutImage(fmt.Sprint("library/cold-", n), "1", uint64(n), 10, 100<<10, 1<<20))
	}
	for n := range 6 {
		k.hot = append(k.hot, k.from.PutImage(fmt.Sprint("library/hot-", n), "1", uint64(1000+n), 10, 100<<10, 1<<20))
	}
	for _, g := range newPeers(t, k.from, k.shared, 3, "tag_ttl 2s", "max_size 24MiB") {
		k.members = append(k.members, &soakMember{gatewayProcess: g})
	}
	for _, image := range k.hot {
		for _, g := range k.members {
			g.pull(image)
		}
	}
	uploaded(t, k.shared.open(), k.hot...)
	return k
}

// serve has clients at work for a time, in which everything is away for a while by turns.
func (k *soak) serve(lasts time.Duration) {
	k.t.Helper()
	stop := k.load()
	defer stop()
	random := rand.New(rand.NewPCG(k.seed, uint64(lasts)))
	all, until := k.allFaults(random), time.Now().Add(lasts)
	for n := 0; time.Now().Before(until) && !k.t.Failed(); n++ {
		f := all[n%len(all)]
		k.begin(f.name)
		f.do(k.span/4 + rand.N(3*k.span/4+1))
		k.faults[f.name]++
		k.begin("recovery")
		k.recover()
		k.from.Reset() // it keeps a list of all requests
	}
}

// begin notes what is away from now on.
func (k *soak) begin(fault string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.fault = fault
}

// recover waits until the gateways know each other and the bucket again.
func (k *soak) recover() {
	k.t.Helper()
	for _, g := range k.members {
		await(k.t, "recovery", func() bool {
			s := g.status()
			return len(g.peerStatus().alive()) == len(k.members)-1 && s.ReadError == "" && s.WriteError == ""
		})
	}
}

// usage is what the process of a gateway uses.
type usage struct {
	goroutines      int
	anonymous, live int64 // bytes of memory that is no file, and of the heap that are in use
}

// rest returns what the gateways use when nobody wants anything, once that is what they used
// before, goroutines aside that may be more; nil = at once.
func (k *soak) rest(before []usage) (all []usage) {
	k.t.Helper()
	k.client.CloseIdleConnections()
	for n, g := range k.members {
		await(k.t, "rest", func() bool { return g.peerStatus().Fills == 0 && g.status().Waiting == 0 })
		u := g.usage()
		for late := time.Now().Add(patience); before != nil && u.goroutines > before[n].goroutines+maxGrown && time.Now().Before(late); u = g.usage() {
			time.Sleep(100 * time.Millisecond)
		}
		all = append(all, u)
	}
	return all
}

// usage asks the kernel and the admin API.
func (g *gatewayProcess) usage() (u usage) {
	g.t.Helper()
	goroutines := g.profile("goroutine?debug=1")
	if _, err := fmt.Sscanf(goroutines, "goroutine profile: total %d", &u.goroutines); err != nil {
		g.t.Fatalf("goroutine profile begins with %.60q: %v", goroutines, err)
	}
	for range 3 { // what is pooled goes the third time
		for line := range strings.Lines(g.profile("heap?gc=1&debug=1")) {
			_, _ = fmt.Sscanf(line, "# HeapAlloc = %d", &u.live)
		}
	}
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", g.process.Pid))
	if err != nil {
		g.t.Fatal(err)
	}
	for line := range strings.Lines(string(status)) {
		if n, _ := fmt.Sscanf(line, "RssAnon: %d kB", &u.anonymous); n == 1 {
			u.anonymous <<= 10
		}
	}
	return u
}

func (g *gatewayProcess) profile(name string) string {
	g.t.Helper()
	client := http.Client{Timeout: patience, Transport: &http.Transport{DisableKeepAlives: true, Dial: func(_, _ string) (net.Conn, error) {
		return net.Dial("unix", g.admin)
	}}}
	response, err := client.Get("http://127.0.0.1/debug/pprof/" + name)
	if err != nil {
		g.t.Fatal(err)
	}
	defer response.Body.Close()
	raw, err := io.ReadAll(response.Body)
	if err != nil {
		g.t.Fatal(err)
	}
	return string(raw)
}

func (k *soak) report(before, after []usage) {
	k.t.Helper()
	var lines []string
	for name, n := range k.outcomes {
		lines = append(lines, fmt.Sprintf("%s: %d", name, n))
	}
	sort.Strings(lines)
	k.t.Logf("result: %v\n%s", k.faults, strings.Join(lines, "\n"))
	const mib = 1 << 20
	for n, g := range k.members {
		a, b := before[n], after[n]
		k.t.Logf("result: gateway %d: goroutines %d, then %d; anonymous MiB %.1f, then %.1f; heap in use MiB %.1f, then %.1f", n, a.goroutines, b.goroutines,
			float64(a.anonymous)/mib, float64(b.anonymous)/mib, float64(a.live)/mib, float64(b.live)/mib)
		if b.goroutines > a.goroutines+maxGrown {
			k.t.Errorf("gateway %d has %d goroutines at rest, and had %d:\n%s", n, b.goroutines, a.goroutines, g.profile("goroutine?debug=1"))
		}
	}
}
