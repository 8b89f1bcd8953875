//go:build integration

package integration

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/crane"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"

	"github.com/pullgate/pullgate/internal/registrytest"
)

// shown is a gateway with a dashboard, and its upstreams.
type shown struct {
	*process
	host, page string // where clients pull, and the URL of the dashboard
	hub        *registrytest.Server
	upstreams  []*registrytest.Server
}

// startShown starts a gateway whose upstreams are well, limited, and refuse credentials.
func startShown(t *testing.T) *shown {
	t.Helper()
	dir := t.TempDir()
	s := &shown{host: "127.0.0.1:" + freePort(t)}
	port := freePort(t)
	s.page = "http://127.0.0.1:" + port + "/some/where/"
	var lines strings.Builder
	for _, name := range []string{"docker.io", "registry.k8s.io", "ghcr.io", "quay.io"} {
		o := registrytest.Options{}
		more := ""
		if name == "quay.io" {
			o = registrytest.Options{Auth: registrytest.AuthBearer, Username: "robot", Password: "secret"}
			more = "credentials robot {file." + writeFile(t, "wrong", dir, "password") + "}\naccess public\n"
		}
		u := registrytest.New(t, o)
		if more != "" {
			more += "auth_origin " + strings.TrimSuffix(u.TokenURL(), "/token") + "\n"
		}
		s.upstreams = append(s.upstreams, u)
		fmt.Fprintf(&lines, "upstream %s {\nurl %s\n%s}\n", name, u.URL(), more)
	}
	s.hub = s.upstreams[0]
	for i, image := range []struct {
		upstream        int
		repository, tag string
		layers          []int
	}{
		{0, "library/nginx", "1.29", []int{3 << 20, 700 << 10, 2000, 900}},
		{0, "library/nginx", "1.28", []int{2900 << 10, 690 << 10, 2000}},
		{0, "library/postgres", "18", []int{9 << 20, 4 << 20, 30 << 10}},
		{0, "library/alpine", "3.22", []int{1600 << 10}},
		{1, "kube-apiserver", "v1.34.2", []int{2 << 20, 8 << 20}},
		{1, "coredns/coredns", "v1.12.4", []int{5 << 20}},
		{2, "siderolabs/flannel", "v0.27.4", []int{4 << 20, 1 << 20}},
	} {
		s.upstreams[image.upstream].PutImage(image.repository, image.tag, uint64(i+1), image.layers...)
	}
	limit := http.Header{"Ratelimit-Limit": {"100;w=21600"}, "Ratelimit-Remaining": {"37;w=21600"}}
	s.hub.On(registrytest.Rule{Kind: "manifests", Hook: func(w http.ResponseWriter, r *http.Request, next http.HandlerFunc) {
		maps.Copy(w.Header(), limit)
		next(w, r)
	}})
	remember(t, filepath.Join(dir, "cache"))
	config := writeFile(t, fmt.Sprintf(`{
	admin off
	persist_config off
	registry_mirror {
		storage %s {
			max_size 128MiB
			pin docker.io/library/alpine
		}
	}
}

http://%s {
	bind 127.0.0.1
	registry_mirror {
		%s
	}
}

http://127.0.0.1:%s {
	bind 127.0.0.1
	registry_mirror_dashboard /some/where/* {
		actions
	}
}
`, filepath.Join(dir, "cache"), s.host, lines.String(), port), dir, "Caddyfile")
	s.process = start(t, []string{"XDG_DATA_HOME=" + dir}, binary, "run", "--config", config)
	s.await(t, answers(http.DefaultClient, "http://"+s.host+"/v2/"))
	return s
}

// remember gives a storage that is not there yet a history of two weeks.
func remember(t *testing.T, storage string) {
	t.Helper()
	type point struct {
		Time     time.Time `json:"time"`
		Sent     int64     `json:"sent_bytes"`
		Received int64     `json:"received_bytes"`
		Bucket   int64     `json:"bucket_bytes"`
		Peers    int64     `json:"peer_bytes"`
		Evicted  int64     `json:"evicted_bytes"`
	}
	series := func(n int, step time.Duration) (points []point) {
		for i := range n {
			p := point{Time: time.Now().UTC().Truncate(step).Add(time.Duration(i-n) * step)}
			day := math.Sin(float64(p.Time.Unix()%86400) / 86400 * math.Pi) // the most at noon
			work := day * day * (1 + .35*math.Sin(float64(i)/17) + .25*math.Sin(float64(i)/41) + .2*math.Sin(float64(i)*1.7))
			p.Sent = int64(max(work, .02) * 40e6 * step.Seconds() / 60)
			p.Received = int64(float64(p.Sent) * (.12 + .1*max(math.Sin(float64(i)/29), 0)))
			p.Bucket, p.Peers = p.Received*2/3, p.Received/3
			if i%97 < 3 {
				p.Evicted = p.Received
			}
			points = append(points, p)
		}
		return points
	}
	var packed bytes.Buffer
	w := gzip.NewWriter(&packed)
	err := errors.Join(json.NewEncoder(w).Encode(map[string][]point{
		"minutes": series(24*60-1, time.Minute), "hours": series(14*24-1, time.Hour),
	}), w.Close(), os.Mkdir(storage, 0o700),
		os.WriteFile(filepath.Join(storage, "VERSION"), []byte(`{"layout":1}`+"\n"), 0o600),
		os.WriteFile(filepath.Join(storage, "history.json.gz"), packed.Bytes(), 0o600))
	if err != nil {
		t.Fatal(err)
	}
}

// pull pulls an image with all its layers.
func (s *shown) pull(t *testing.T, image string) error {
	t.Helper()
	d, err := crane.Get(s.host+"/proxy-"+image, crane.Insecure, crane.WithContext(t.Context()))
	if err != nil {
		return err
	}
	i, err := d.Image()
	if err != nil {
		return err
	}
	to, err := layout.Write(t.TempDir(), empty.Index)
	if err != nil {
		return err
	}
	return to.AppendImage(i)
}

// dashboardViews are the views, with what each shows once it has all that it asks for.
var dashboardViews = map[string]string{
	"overview": "Bytes saved", "live": "Recent", "upstreams": "Settings in force", "images": "registry.k8s.io",
	"images?in=docker.io": "library/postgres", "images?in=docker.io/library/nginx": "1.28", "images?q=nginx": "docker.io/library/nginx:1.28",
	"storage": "Next to go", "clients": "Last seen", "setup": "The same by command",
}

// TestDashboard looks at every view of the dashboard of a gateway with real pulls, in both
// schemes and at the width of a phone.
func TestDashboard(t *testing.T) {
	s := startShown(t)
	for _, image := range []string{
		"docker.io/library/nginx:1.29", "docker.io/library/nginx:1.28", "docker.io/library/postgres:18", "docker.io/library/alpine:3.22", "registry.k8s.io/kube-apiserver:v1.34.2",
		"registry.k8s.io/coredns/coredns:v1.12.4", "docker.io/library/nginx:1.29", "registry.k8s.io/kube-apiserver:v1.34.2",
	} {
		if err := s.pull(t, image); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.pull(t, "quay.io/cilium/cilium:v1.18.4"); err == nil {
		t.Fatal("an upstream that refuses its credentials has answered")
	}
	if err := s.pull(t, "docker.io/library/nginx:1.30"); err == nil {
		t.Fatal("there is an image that nobody has")
	}
	b := newBrowser(t)
	for _, at := range []struct {
		scheme string
		width  int64
	}{{"light", 1280}, {"dark", 1280}, {"light", 390}} {
		for view, text := range dashboardViews {
			name := fmt.Sprintf("%s-%s-%d", view, at.scheme, at.width)
			t.Run(name, func(t *testing.T) {
				b.look(t, at.scheme, at.width)
				b.open(t, s.page+"#/"+view)
				b.has(t, text)
				b.awaits(t, `!document.querySelector('main').innerText.includes('Asking') && !document.querySelector('main').innerText.includes('Looking')`)
				if found := b.barriers(t); len(found) > 0 {
					t.Errorf("axe finds\n%s", strings.Join(found, "\n"))
				}
				if wide := evaluate[int64](t, b, "document.documentElement.scrollWidth"); wide > at.width {
					t.Errorf("the page is %d pixels wide", wide)
				}
				if heard := b.heard(); len(heard) > 0 {
					t.Errorf("the page complains: %q", heard)
				}
				b.keep(t, name)
			})
		}
	}
}

// TestDashboardLive shows a pull while it goes on, and the first pull of a client.
func TestDashboardLive(t *testing.T) {
	s := startShown(t)
	b := newBrowser(t)
	b.open(t, s.page+"#/setup")
	b.has(t, "Waiting for a pull.")
	live := b.tab(t)
	live.open(t, s.page+"#/live")
	live.has(t, "Nothing is being pulled.")
	// As many pages as a browser has connections to a server, and more, share one stream.
	for range 7 {
		page := b.tab(t)
		page.open(t, s.page+"#/clients")
		page.has(t, "Nobody has pulled")
	}
	held := newGate(1 << 20)
	s.hub.On(registrytest.Rule{Kind: "blobs", Hook: held.hook})
	pulled := make(chan error, 1)
	go func() { pulled <- s.pull(t, "docker.io/library/postgres:18") }()
	live.has(t, "docker.io/library/postgres:18")
	live.has(t, "127.0.0.1")
	live.has(t, " of 13.0 MiB")
	live.keep(t, "running")
	held.lift()
	if err := <-pulled; err != nil {
		t.Fatal(err)
	}
	live.has(t, "Nothing is being pulled.")
	b.has(t, "It works: 127.0.0.1 pulls here.")
	b.keep(t, "works")
	for _, page := range []*browser{b, live} {
		if heard := page.heard(); len(heard) > 0 {
			t.Errorf("the page complains: %q", heard)
		}
	}
}

// TestDashboardActs pins, removes and tests by the page, and by keyboard.
func TestDashboardActs(t *testing.T) {
	s := startShown(t)
	if err := s.pull(t, "docker.io/library/nginx:1.29"); err != nil {
		t.Fatal(err)
	}
	b := newBrowser(t)
	b.open(t, s.page+"#/images?in=docker.io/library/nginx")
	b.has(t, "1.29")
	b.click(t, "1.29")
	b.has(t, "linux/amd64")
	b.click(t, "Pin")
	b.has(t, "pinned")
	b.has(t, "Unpin")
	b.keep(t, "image")
	b.click(t, "Unpin")
	b.has(t, "Pin")
	b.click(t, "Remove …")
	b.has(t, "That frees")
	b.keep(t, "remove")
	b.click(t, "Remove")
	b.has(t, "is removed")
	b.has(t, "Nothing is cached yet.")
	// A gateway that is alone has no view of others, and says so to who asks for it.
	if evaluate[bool](t, b, `!!document.querySelector('nav a[href="#/fleet"]')`) {
		t.Error("there is a view of a fleet")
	}
	b.open(t, s.page+"#/fleet")
	b.has(t, "This gateway works alone.")
	b.open(t, s.page+"#/upstreams")
	b.has(t, "p95")
	b.has(t, "Test now")
	b.click(t, "Test now")
	b.awaits(t, "!!document.querySelector('main li .badge')")
	evaluate[bool](t, b, "(document.querySelectorAll('summary').forEach(s => s.click()), true)")
	if found := b.barriers(t); len(found) > 0 {
		t.Errorf("axe finds\n%s", strings.Join(found, "\n"))
	}
	b.keep(t, "tested")
	if heard := b.heard(); len(heard) > 0 {
		t.Errorf("the page complains: %q", heard)
	}
}

// TestWelcome looks at what a browser gets at the root of a gateway.
func TestWelcome(t *testing.T) {
	s := startShown(t)
	b := newBrowser(t)
	for _, scheme := range []string{"light", "dark"} {
		b.look(t, scheme, 390)
		b.open(t, "http://"+s.host+"/")
		b.has(t, "Point a client here")
		if found := b.barriers(t); len(found) > 0 {
			t.Errorf("%s: axe finds\n%s", scheme, strings.Join(found, "\n"))
		}
		if wide := evaluate[int64](t, b, "document.documentElement.scrollWidth"); wide > 390 {
			t.Errorf("the page is %d pixels wide", wide)
		}
		b.keep(t, "welcome-"+scheme)
	}
	// A browser asks for an icon, which there is none of.
	for _, heard := range b.heard() {
		if !strings.Contains(heard, "favicon.ico") {
			t.Errorf("the page complains: %s", heard)
		}
	}
}

// TestDashboardIdles leaves 20 pages open: that costs less than 1 % of a processor.
func TestDashboardIdles(t *testing.T) {
	s := startShown(t)
	if err := s.pull(t, "docker.io/library/alpine:3.22"); err != nil {
		t.Fatal(err)
	}
	pid := s.server(t)
	const span = 10 * time.Second
	used := func() time.Duration {
		time.Sleep(3 * time.Second) // what has begun comes to an end
		before := processorTime(t, pid)
		time.Sleep(span)
		return processorTime(t, pid) - before
	}
	without := used()
	for range 20 {
		response, err := http.Get(s.page + "api/events")
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		go func() { _, _ = io.Copy(io.Discard, response.Body) }()
	}
	with := used()
	t.Logf("in %v: %v of processor time, with 20 pages %v", span, without, with)
	if with-without > span/100 {
		t.Errorf("20 pages cost %v in %v", with-without, span)
	}
}

// processorTime returns how much a process has used.
func processorTime(t *testing.T, pid int) time.Duration {
	t.Helper()
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		t.Fatal(err)
	}
	var user, system int64
	_, rest, _ := strings.Cut(string(raw), ") ")
	fields := strings.Fields(rest)
	if _, err := fmt.Sscan(fields[11]+" "+fields[12], &user, &system); err != nil {
		t.Fatal(err)
	}
	return time.Duration(user+system) * 10 * time.Millisecond
}
