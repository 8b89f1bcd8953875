//go:build fleet

package fleet

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/pullgate/pullgate/internal/bucket"
	"github.com/pullgate/pullgate/internal/bucket/s3client"
	"github.com/pullgate/pullgate/internal/freeport"
	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/internal/registrytest"
)

const (
	accessKey, secretKey = "fleet", "fleet-secret"
	patience             = 60 * time.Second
)

// start starts a process that ends with the test, or with stop. alive reports whether it
// has not ended yet.
func start(t *testing.T, name string, args ...string) (p *os.Process, stop func(), alive func() bool) {
	t.Helper()
	logged, err := os.Create(filepath.Join(t.TempDir(), "log"))
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(name, args...)
	cmd.Env = append(os.Environ(), "S3_SECRET="+secretKey, "ROOT_ACCESS_KEY_ID="+accessKey, "ROOT_SECRET_ACCESS_KEY="+secretKey, "FLEET_SECRET="+fleetSecret, "XDG_DATA_HOME="+t.TempDir())
	cmd.Stdout, cmd.Stderr = logged, logged
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatalf("start %s: %v", name, err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = cmd.Wait()
	}()
	alive = func() bool {
		select {
		case <-ended:
			return false
		default:
			return true
		}
	}
	stop = sync.OnceFunc(func() {
		late := time.AfterFunc(patience, func() { _ = cmd.Process.Kill() })
		_ = cmd.Process.Signal(syscall.SIGTERM)
		<-ended
		late.Stop()
		_ = logged.Close()
	})
	t.Cleanup(func() {
		stop()
		if raw, err := os.ReadFile(logged.Name()); err == nil && t.Failed() {
			t.Logf("the log of %s ends with:\n%s", filepath.Base(name), raw[max(0, len(raw)-8<<10):])
		}
	})
	return cmd.Process, stop, alive
}

func await(t *testing.T, what string, so func() bool) {
	t.Helper()
	late := time.After(patience)
	for !so() {
		select {
		case <-late:
			t.Fatalf("%s: not within %v", what, patience)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// s3 is an S3 server with a bucket.
type s3 struct {
	t            *testing.T
	dir, address string
	process      *os.Process
	stop         func()
}

// newS3 returns a server that does not run yet.
func newS3(t *testing.T) *s3 {
	t.Helper()
	port, err := freeport.Port()
	if err != nil {
		t.Fatal(err)
	}
	s := &s3{t: t, dir: t.TempDir(), address: net.JoinHostPort("127.0.0.1", port)}
	if err := os.Mkdir(filepath.Join(s.dir, "cache"), 0o700); err != nil {
		t.Fatal(err)
	}
	return s
}

func (s *s3) run() *s3 {
	s.t.Helper()
	var alive func() bool
	s.process, s.stop, alive = start(s.t, server, "--port", s.address, "--quiet", "posix", s.dir)
	await(s.t, "the S3 server listens", func() bool {
		if !alive() {
			s.t.Fatal("the S3 server has ended")
		}
		c, err := net.Dial("tcp", s.address)
		if err == nil {
			_ = c.Close()
		}
		return err == nil
	})
	return s
}

func (s *s3) url() string { return "http://" + s.address + "/cache/some/prefix" }

// open returns a client of the bucket.
func (s *s3) open() *s3client.Client {
	s.t.Helper()
	b, err := s3client.Open(bucket.Options{URL: s.url(), AccessKey: accessKey, SecretKey: secretKey})
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(b.Close)
	return b
}

// gatewayProcess is a gateway with a storage of its own.
type gatewayProcess struct {
	t                   *testing.T
	host, admin, config string
	option              string // of its upstream
	peers               string // options of a fleet
	shares              bool   // it has a bucket
	process             *os.Process
	stop                func()
	alive               func() bool
}

// newGateway starts a gateway; nil = without a fleet.
func newGateway(t *testing.T, from *registrytest.Server, shared *s3, option ...string) *gatewayProcess {
	t.Helper()
	return newPeer(t, from, shared, "", option...)
}

// newPeer starts a gateway with more options of a fleet.
func newPeer(t *testing.T, from *registrytest.Server, shared *s3, options string, option ...string) *gatewayProcess {
	t.Helper()
	dir := t.TempDir()
	port, err := freeport.Port()
	if err != nil {
		t.Fatal(err)
	}
	g := &gatewayProcess{
		t: t, host: net.JoinHostPort("127.0.0.1", port), admin: filepath.Join(dir, "admin.sock"), config: filepath.Join(dir, "Caddyfile"),
		peers:  options,
		option: strings.Join(option, "\n"),
	}
	g.configure(from, shared)
	g.launch()
	return g
}

// launch starts the gateway's process, over the storage that is there.
func (g *gatewayProcess) launch() {
	g.t.Helper()
	g.process, g.stop, g.alive = start(g.t, binary, "run", "--config", g.config)
	await(g.t, "the gateway answers", func() bool {
		if !g.alive() {
			g.t.Fatal("the gateway has ended")
		}
		response, err := http.Get("http://" + g.host + "/v2/")
		if err == nil {
			_ = response.Body.Close()
		}
		return err == nil && response.StatusCode == http.StatusOK
	})
	if g.shares { // what is pulled before that is uploaded a minute later
		await(g.t, "the bucket is used", func() bool { return g.status() != nil })
	}
}

func (g *gatewayProcess) configure(from *registrytest.Server, shared *s3) {
	g.t.Helper()
	fleet := ""
	g.shares = shared != nil
	switch {
	case shared != nil:
		fleet = fmt.Sprintf("fleet %s {\n\t\t\tcredentials %s {env.S3_SECRET}\n\t\t%s\n\t\t}", shared.url(), accessKey, g.peers)
	case g.peers != "":
		fleet = "fleet {\n\t\t" + g.peers + "\n\t\t}"
	}
	text := fmt.Sprintf(`{
	admin unix/%s
	persist_config off
	registry_mirror {
		storage %s
		%s
	}
}

http://%s {
	bind 127.0.0.1
	registry_mirror {
		upstream docker.io {
			url %s
			%s
		}
	}
}
`, g.admin, filepath.Join(filepath.Dir(g.config), "cache"), fleet, g.host, from.URL(), g.option)
	if err := os.WriteFile(g.config, []byte(text), 0o600); err != nil {
		g.t.Fatal(err)
	}
}

// get gets something, and returns its status, body and Cache-Status.
func (g *gatewayProcess) get(repository, path string) (status int, body []byte, cached string) {
	g.t.Helper()
	response, err := http.Get("http://" + g.host + "/v2/proxy-docker.io/" + repository + path)
	if err != nil {
		g.t.Fatal(err)
	}
	defer response.Body.Close()
	body, err = io.ReadAll(response.Body)
	if err != nil {
		g.t.Fatalf("get %s: %v", path, err)
	}
	return response.StatusCode, body, response.Header.Get("Cache-Status")
}

// pull pulls the first platform of an image, by tag and by digest.
func (g *gatewayProcess) pull(image registrytest.Image) {
	g.t.Helper()
	p := image.Platforms[0]
	want := map[string]digest.Digest{"/manifests/" + image.Tag: image.Index.Digest}
	for _, d := range []oci.Descriptor{image.Index, p.Manifest} {
		want["/manifests/"+d.Digest.String()] = d.Digest
	}
	for _, d := range append([]oci.Descriptor{p.Config}, p.Layers...) {
		want["/blobs/"+d.Digest.String()] = d.Digest
	}
	for path, d := range want {
		// A slow machine may take longer than the bucket is given.
		await(g.t, path, func() bool {
			status, body, cached := g.get(image.Repository, path)
			if status == http.StatusOK && !oci.Verify(d, body) {
				g.t.Errorf("%s: wrong bytes, %s", path, cached)
			}
			return status == http.StatusOK
		})
	}
}

// command runs a command about the gateway.
func (g *gatewayProcess) command(args ...string) ([]byte, error) {
	g.t.Helper()
	ctx, cancel := context.WithTimeout(g.t.Context(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, binary, args...)
	cmd.Env = append(os.Environ(), "S3_SECRET="+secretKey)
	return cmd.CombinedOutput()
}

// bucketStatus is what the status tells of the bucket.
type bucketStatus struct {
	ReadError, WriteError string
	Waiting               int
	Received              int64 `json:"received_bytes"`
}

// status returns what the gateway tells of its bucket; nil = there is none.
func (g *gatewayProcess) status() *bucketStatus {
	g.t.Helper()
	out, err := g.command("mirror", "status", "--address", "unix/"+g.admin, "--json")
	if _, finding := errors.AsType[*exec.ExitError](err); err != nil && !finding { // such as that the upstream is down
		g.t.Fatalf("status: %v\n%s", err, out)
	}
	var status struct {
		Storage []struct {
			Bucket *bucketStatus `json:"bucket"`
		} `json:"storage"`
	}
	if err := json.Unmarshal(out, &status); err != nil || len(status.Storage) != 1 {
		g.t.Fatalf("status: %v\n%s", err, out)
	}
	return status.Storage[0].Bucket
}

// uploaded waits until everything of images that share nothing is in the bucket.
func uploaded(t *testing.T, b *s3client.Client, images ...registrytest.Image) {
	t.Helper()
	want := map[string]int{}
	for _, image := range images {
		layers := len(image.Platforms[0].Layers)
		for prefix, n := range map[string]int{"v1/b/": 1 + layers, "v1/m/": 2, "v1/l/docker.io": 3 + layers, "v1/t/": 1} {
			want[prefix] += n
		}
	}
	await(t, "uploads", func() bool {
		for prefix, least := range want {
			n := 0
			for _, err := range b.List(t.Context(), prefix, "") {
				if err != nil {
					t.Fatal(err)
				}
				n++
			}
			if n < least {
				return false
			}
		}
		return true
	})
}
