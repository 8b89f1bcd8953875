package caddymodule

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/certmagic"
	"github.com/opencontainers/go-digest"

	"github.com/pullgate/pullgate/internal/freeport"
	"github.com/pullgate/pullgate/internal/registrytest"
)

// home keeps Caddy's folders inside the test.
func home(t testing.TB) {
	t.Helper()
	t.Setenv("XDG_DATA_HOME", t.TempDir())
	t.Setenv("XDG_CONFIG_HOME", t.TempDir())
	// Caddy reads the environment for these when the process starts.
	storage, autosave := caddy.DefaultStorage, caddy.ConfigAutosavePath
	t.Cleanup(func() { caddy.DefaultStorage, caddy.ConfigAutosavePath = storage, autosave })
	caddy.DefaultStorage = &certmagic.FileStorage{Path: caddy.AppDataDir()}
	caddy.ConfigAutosavePath = filepath.Join(caddy.AppConfigDir(), "autosave.json")
}

// site is Caddy in this process, with one site on one address.
type site struct {
	t       testing.TB
	addr    string
	storage string
	global  string // more global options
	app     string // more of the option registry_mirror
	log     string // options of the log
	anyHost bool   // whatever Host says
	loads   int    // how often a configuration was loaded
}

// newSite prepares a site. It is stopped at the end of the test.
func newSite(t testing.TB) *site {
	t.Helper()
	home(t)
	s := &site{t: t, addr: freeAddr(t), storage: t.TempDir(), global: "admin off\npersist_config off", log: "level ERROR"}
	t.Cleanup(func() {
		if err := caddy.Stop(); err != nil {
			t.Error(err)
		}
		eventually(t, "the storage closes", func() bool { return !locked(s.storage) })
	})
	return s
}

// locked reports whether a store has a folder open. The last request that leaves closes
// it, which may be after Caddy has stopped.
func locked(folder string) bool {
	f, err := os.Open(filepath.Join(folder, "LOCK"))
	if err != nil {
		return false
	}
	defer f.Close()
	return syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) != nil
}

// freeAddr returns an address that nobody listens at, nor will.
func freeAddr(t testing.TB) string {
	t.Helper()
	addr, err := freeport.Address()
	if err != nil {
		t.Fatal(err)
	}
	return addr
}

// listeners returns how many sockets listen at an address; 0 = none, or that is not known.
func listeners(t testing.TB, addr string) int {
	t.Helper()
	_, text, _ := net.SplitHostPort(addr)
	port, err := strconv.Atoi(text)
	if err != nil {
		t.Fatal(err)
	}
	table, _ := os.ReadFile("/proc/self/net/tcp")
	return strings.Count(string(table), fmt.Sprintf(":%04X 00000000:0000 0A ", port))
}

// load makes Caddy run the directives.
func (s *site) load(directives string) {
	s.t.Helper()
	if err := s.tryLoad(directives); err != nil {
		s.t.Fatal(err)
	}
}

func (s *site) tryLoad(directives string) error {
	address := "http://" + s.addr
	if s.anyHost {
		host, port, _ := net.SplitHostPort(s.addr)
		address = "http://:" + port
		directives = "bind " + host + "\n" + directives
	}
	config := fmt.Sprintf("{\n%s\nlog {\n%s\n}\nregistry_mirror {\nstorage %s\n%s\n}\n}\n%s {\nrespond /done %d\nmetrics /metrics\n%s\n}\n",
		s.global, s.log, s.storage, s.app, address, s.loads+1, directives)
	text, ok := adapted(s.t, string(caddyfile.Format([]byte(config))))
	if !ok {
		return fmt.Errorf("adapt: %s", text)
	}
	err := caddy.Load([]byte(text), true)
	if err == nil {
		s.loads++
	}
	return err
}

// puller is one client with one connection: when it gets an answer, the handler
// has returned from all requests before.
type puller struct {
	*http.Client
	s              *site
	user, password string
	follows        int // the load whose configuration answers its connection
}

func (s *site) client() *puller {
	transport := &http.Transport{MaxConnsPerHost: 1}
	s.t.Cleanup(transport.CloseIdleConnections)
	return &puller{Client: &http.Client{Transport: transport, Timeout: processTime}, s: s}
}

// follow returns once the newest configuration answers. Caddy returns from a load before
// the servers of the earlier configuration have closed their listeners and connections.
func (c *puller) follow() {
	c.s.t.Helper()
	if c.follows == c.s.loads || c.s.loads == 1 {
		return
	}
	eventually(c.s.t, "the newest configuration answers", func() bool {
		response, err := c.try(http.MethodGet, "/done")
		if err != nil {
			c.s.t.Fatal(err)
		}
		if string(c.rest(response)) == strconv.Itoa(c.s.loads) {
			return true
		}
		c.CloseIdleConnections()
		return false
	})
	c.follows = c.s.loads
}

// do sends one request, without reading the body of its answer.
func (c *puller) do(method, path string) *http.Response {
	c.s.t.Helper()
	c.follow()
	response, err := c.try(method, path)
	if err != nil {
		c.s.t.Fatal(err)
	}
	return response
}

// try sends a request again if its connection is closed before any answer: that
// happens to connections that arrive while a reload hands the listener over,
// whatever the handler, and every client of registries copes with it. On a busy
// machine, where one reload follows the other, it may happen several times.
func (c *puller) try(method, path string) (*http.Response, error) {
	for attempt := 1; ; attempt++ {
		request, err := http.NewRequestWithContext(c.s.t.Context(), method, "http://"+c.s.addr+path, nil)
		if err != nil {
			return nil, err
		}
		if c.user != "" {
			request.SetBasicAuth(c.user, c.password)
		}
		response, err := c.Do(request)
		if err == nil || attempt == 10 {
			return response, err
		}
	}
}

// get reads one answer to its end, and waits for the handler to return.
func (c *puller) get(path string) (*http.Response, []byte) {
	c.s.t.Helper()
	response := c.do(http.MethodGet, path)
	body := c.rest(response)
	return response, body
}

func (c *puller) rest(response *http.Response) []byte {
	c.s.t.Helper()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		c.s.t.Fatal(err)
	}
	if err := response.Body.Close(); err != nil {
		c.s.t.Fatal(err)
	}
	return body
}

// settle returns once the handler is done with what this client has asked.
func (c *puller) settle() {
	c.s.t.Helper()
	c.rest(c.do(http.MethodGet, "/done"))
}

// pull pulls an image as a container runtime does, by the path prefix, and
// returns the Cache-Status of each answer.
func (c *puller) pull(prefix string, image registrytest.Image) (statuses []string) {
	c.s.t.Helper()
	base := prefix + "/" + image.Repository
	want := func(path string, d digest.Digest) {
		c.s.t.Helper()
		response, body := c.get(path)
		if response.StatusCode != http.StatusOK || digest.FromBytes(body) != d {
			c.s.t.Fatalf("GET %s: %s, %d bytes, Cache-Status %q: %.200s", path, response.Status, len(body), response.Header.Get("Cache-Status"), body)
		}
		statuses = append(statuses, response.Header.Get("Cache-Status"))
	}
	platform := image.Platforms[0]
	want(base+"/manifests/"+image.Tag, image.Index.Digest)
	want(base+"/manifests/"+platform.Manifest.Digest.String(), platform.Manifest.Digest)
	want(base+"/blobs/"+platform.Config.Digest.String(), platform.Config.Digest)
	for _, layer := range platform.Layers {
		want(base+"/blobs/"+layer.Digest.String(), layer.Digest)
	}
	c.settle()
	filled(c.s.t)
	return statuses
}

// samples are the values of a scrape by name and labels.
type samples map[string]float64

// scrape returns the metrics of this module.
func (s *site) scrape() samples {
	s.t.Helper()
	response, body := s.client().get("/metrics")
	if response.StatusCode != http.StatusOK {
		s.t.Fatalf("GET /metrics: %s", response.Status)
	}
	values := samples{}
	lines := bufio.NewScanner(bytes.NewReader(body))
	for lines.Scan() {
		name, ours := strings.CutPrefix(lines.Text(), "caddy_registry_mirror_")
		i := strings.LastIndex(name, " ")
		if !ours || i < 0 {
			continue
		}
		value, err := strconv.ParseFloat(name[i+1:], 64)
		if err != nil {
			s.t.Fatalf("scrape: %q: %v", lines.Text(), err)
		}
		values[name[:i]] = value
	}
	return values
}

// ownName returns the name of an upstream that no test before has used: its pulls end, and
// are counted, when their clients have wanted nothing for a while.
func ownName() string { return strings.ToLower(rand.Text()) + ".example" }

// of returns the samples of one upstream, as of docker.io, and those of none.
func (all samples) of(upstream string) samples {
	own := samples{}
	for name, value := range all {
		_, of, labelled := strings.Cut(name, `upstream="`)
		if !labelled || of[0] == '"' || strings.HasPrefix(of, upstream) {
			own[strings.Replace(name, upstream, "docker.io", 1)] = value
		}
	}
	return own
}

// since returns what has changed, without histograms of times and the sizes that
// depend on the machine.
func (all samples) since(before samples) samples {
	changed := samples{}
	for name, value := range all {
		if strings.Contains(name, "_seconds") || strings.HasPrefix(name, "cache_free") || strings.HasPrefix(name, "cache_index") {
			continue
		}
		if d := value - before[name]; d != 0 {
			changed[name] = d
		}
	}
	return changed
}

// unixTransport speaks HTTP over a socket.
func unixTransport(t *testing.T, path string) *http.Transport {
	t.Helper()
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", path)
	}}
	t.Cleanup(transport.CloseIdleConnections)
	return transport
}

// eventually waits until what has no event to wait for has happened.
func eventually(t testing.TB, what string, done func() bool) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for deadline := time.After(processTime); !done(); {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("not within %v: %s", processTime, what)
		}
	}
}

// filled waits for the ends of fills: they come after those of the answers, when
// the blob lies safely on the disk.
func filled(t testing.TB) {
	t.Helper()
	eventually(t, "the fills end", func() bool {
		for _, c := range storeStatuses() {
			if c.Stats.Fills > 0 {
				return false
			}
		}
		return true
	})
}
