package caddymodule

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	"golang.org/x/crypto/bcrypt"

	"github.com/pullgate/pullgate/internal/registrytest"
)

// compartment is one upstream of the probes, and who may see what of it.
type compartment struct {
	name   string
	server *registrytest.Server
	images map[string]registrytest.Image // by repository
	// users may use it, on each of the two sites; nil = everybody.
	users [2][]string
	// denied are repositories that the second site does not mirror.
	denied string
}

// thing is a tag or a digest that exists in one repository of one upstream.
type thing struct {
	of         *compartment
	repository string
	kind, ref  string
	content    []byte // a piece that nobody else may see
}

func (c *compartment) things() (all []thing) {
	for repository, image := range c.images {
		platform := image.Platforms[0]
		all = append(all,
			thing{c, repository, "manifests", image.Tag, image.IndexBytes},
			thing{c, repository, "manifests", image.Index.Digest.String(), image.IndexBytes},
			thing{c, repository, "manifests", platform.Manifest.Digest.String(), platform.ManifestBytes},
			thing{c, repository, "blobs", platform.Config.Digest.String(), nil})
		for _, layer := range platform.Layers {
			all = append(all, thing{c, repository, "blobs", layer.Digest.String(), nil})
		}
	}
	return all
}

// admits reports whether a user may ask for a repository on a site.
func (c *compartment) admits(site int, user, repository string) bool {
	if site == 1 && c.denied == repository {
		return false
	}
	return c.users[site] == nil || slices.Contains(c.users[site], user)
}

// TestProbes asks two sites on one store, as several users, for everything that
// lies in the store, by each upstream and repository. What one may not see is
// answered as if it were not there, and costs the upstream nothing.
func TestProbes(t *testing.T) {
	n, seed := 2_000, rand.Uint64()
	if os.Getenv("PULLGATE_LONG") != "" {
		n = 10_000
	}
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	all := []*compartment{
		{name: "docker.io"},
		{name: "ghcr.io", users: [2][]string{{"alice"}, {"carol"}}},
		{name: "quay.io", users: [2][]string{{"bob"}, {"alice", "bob", "carol"}}, denied: "team/second"},
	}
	var things []thing
	var upstreams [2]string
	for i, c := range all {
		c.server = registrytest.New(t, registrytest.Options{})
		c.images = map[string]registrytest.Image{}
		for k, repository := range []string{"team/first", "team/second"} {
			c.images[repository] = c.server.PutImage(repository, fmt.Sprintf("v%d-%d", i, k), uint64(10*i+k), 3000, 5000)
		}
		things = append(things, c.things()...)
		for site := range upstreams {
			access := "public"
			if c.users[site] != nil {
				access = strings.Join(c.users[site], " ")
			}
			upstreams[site] += fmt.Sprintf("upstream %s {\nurl %s\naccess %s\ntag_ttl 1h\n", c.name, c.server.URL(), access)
			if site == 1 && c.denied != "" {
				upstreams[site] += "deny " + c.denied + "\n"
			}
			upstreams[site] += "}\n"
		}
	}
	hash, err := bcrypt.GenerateFromPassword([]byte("password"), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	// Who gives no password passes, to find out what nobody may see.
	login := "@named header Authorization *\nbasic_auth @named {\n"
	for _, user := range []string{"alice", "bob", "carol", "dave"} {
		login += user + " " + string(hash) + "\n"
	}
	login += "}\n"
	s := newSite(t)
	second := freeAddr(t)
	s.load(login + "registry_mirror {\n" + upstreams[0] + "}\n}\nhttp://" + second + " {\n" + login + "registry_mirror {\n" + upstreams[1] + "}")
	addresses := [2]string{s.addr, second}
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 4}}
	t.Cleanup(client.CloseIdleConnections)
	ask := func(site int, user, path string) (int, []byte) {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+addresses[site]+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		if user != "" {
			request.SetBasicAuth(user, "password")
		}
		response, err := client.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		body, err := io.ReadAll(response.Body)
		if err != nil {
			t.Fatal(err)
		}
		return response.StatusCode, body
	}
	for _, x := range things { // who may, pulls everything
		user := ""
		if x.of.users[0] != nil {
			user = x.of.users[0][0]
		}
		if status, body := ask(0, user, "/v2/proxy-"+x.of.name+"/"+x.repository+"/"+x.kind+"/"+x.ref); status != http.StatusOK {
			t.Fatalf("%+v: %d %s", x, status, body)
		}
	}
	filled(t)
	contacts := func() (n int) {
		for _, c := range all {
			n += len(c.server.Requests())
		}
		return n
	}
	outcomes := map[string]int{}
	var times [2][]time.Duration // of what may not be seen: what is stored, and what is nowhere
	for range n {
		x, at := things[random.IntN(len(things))], all[random.IntN(len(all))]
		site, user := random.IntN(2), []string{"", "alice", "bob", "carol", "dave"}[random.IntN(5)]
		repository := []string{"team/first", "team/second", "team/third"}[random.IntN(3)]
		base := "/v2/" + []string{"proxy-", ""}[random.IntN(2)] + at.name + "/" + repository + "/" + x.kind + "/"
		before := contacts()
		status, body := ask(site, user, base+x.ref)
		if before == contacts() {
			outcomes["without contact"]++
		}
		where := fmt.Sprintf("site %d, user %q, %s%s of %s/%s", site, user, base, x.ref, x.of.name, x.repository)
		exists := x.of == at && x.repository == repository
		switch {
		case !at.admits(site, user, repository):
			outcomes["refused"]++
			if before != contacts() {
				t.Errorf("%s: the upstream is asked", where)
			}
			// In turns, so that what else the machine does costs both the same.
			var never int
			var same []byte
			hidden := func() { status, body = ask(site, user, base+x.ref) }
			nowhere := func() { never, same = ask(site, user, base+digest.FromString(where).String()) }
			times[0] = append(times[0], timed(hidden))
			times[1] = append(times[1], timed(nowhere))
			if status != http.StatusForbidden || never != status || !bytes.Equal(same, body) {
				t.Errorf("%s: %d %s; what is nowhere is answered %d %s", where, status, body, never, same)
			}
		case exists:
			outcomes["served"]++
			if status != http.StatusOK || x.content != nil && !bytes.Equal(body, x.content) {
				t.Errorf("%s: %d, %d bytes", where, status, len(body))
			}
			continue
		default:
			outcomes["unknown"]++
			if status != http.StatusNotFound {
				t.Errorf("%s: %d", where, status)
			}
		}
		if len(body) > 400 || !bytes.HasPrefix(body, []byte(`{"errors":`)) || x.content != nil && bytes.Contains(body, x.content[:40]) {
			t.Errorf("%s: %d bytes: %.100q", where, len(body), body)
		}
	}
	t.Logf("%d probes: %v; what may not be seen is refused in %s if it is stored, in %s if it is nowhere",
		n, outcomes, median(times[0]), median(times[1]))
	if difference := (median(times[0]) - median(times[1])).Abs(); difference > 2*time.Millisecond {
		t.Errorf("the time of a refusal tells what is stored, by %s", difference)
	}
	for outcome, count := range outcomes {
		if count < n/50 {
			t.Errorf("%d probes were %s: the test proves too little", count, outcome)
		}
	}
}

func timed(fn func()) time.Duration {
	began := time.Now()
	fn()
	return time.Since(began)
}

func median(times []time.Duration) time.Duration {
	slices.Sort(times)
	return times[len(times)/2]
}
