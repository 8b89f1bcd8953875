//go:build integration

package integration

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pullgate/pullgate/internal/registrytest"
)

// TestReloadUnderLoad reloads the configuration every 200 ms while a hundred
// clients download: none of them notices, and nothing of the old configurations
// stays behind.
func TestReloadUnderLoad(t *testing.T) {
	const clients, blobs, size, every = 100, 5, 16 << 20, 200 * time.Millisecond
	u := bearerRegistry{Server: registrytest.New(t, registrytest.Options{Auth: registrytest.AuthBearer, CDN: true})}
	u.lines = "url " + u.URL() + "\nparallel_download 1" // each of them is slow
	var urls []string
	var sums [][sha256.Size]byte
	for n := range uint64(blobs) {
		content := registrytest.Random(n, size)
		urls = append(urls, "/v2/proxy-docker.io/library/big/blobs/"+u.PutBlob("library/big", content).String())
		sums = append(sums, sha256.Sum256(content))
	}
	// A blob takes about three seconds: many reloads.
	u.Hook(func(w http.ResponseWriter, r *http.Request, next http.HandlerFunc) {
		next(&slowWriter{w, r.Context()}, r)
	})
	g := startGateway(t, plain, u)
	admin := filepath.Join(shortDir(t), "admin")
	config, err := os.ReadFile(g.config)
	if err != nil {
		t.Fatal(err)
	}
	// version makes each configuration another one, so that it is really loaded.
	configure := func(version int) string {
		return strings.Replace(strings.Replace(string(config), "admin off", "admin unix/"+admin, 1),
			"default docker.io", fmt.Sprintf("default docker.io\n\t\tupstream v%d.example {\n\t\t\toffline\n\t\t}", version), 1)
	}
	writeFile(t, configure(0), g.config)
	g.restart(t)
	before := measure(t, g, admin)

	var all sync.WaitGroup
	for n := range clients {
		all.Go(func() {
			if err := readAll(g.url()+urls[n%blobs], 1, sums[n%blobs], func() {}); err != nil {
				t.Errorf("client %d: %v", n, err)
			}
		})
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		all.Wait()
	}()
	reloads := 0
	for tick := time.NewTicker(every); ; {
		select {
		case <-tick.C:
			reloads++
			if out, err := reload(admin, configure(reloads)); err != nil {
				t.Errorf("reload %d: %v: %s", reloads, err, out)
			}
			continue
		case <-done:
			tick.Stop()
		}
		break
	}
	if reloads < 10 {
		t.Errorf("only %d reloads during the downloads: the test proves little", reloads)
	}
	assertCount(t, "GET of a blob", u.count("GET", "blobs"), blobs)

	// Connections to the upstream may stay for the next pull; they are no leak.
	u.Pause()()
	var after load
	for range 100 { // idle connections of clients and of old servers end by and by
		http.DefaultClient.CloseIdleConnections()
		if after = measure(t, g, admin); after.goroutines <= before.goroutines+10 && after.files <= before.files+10 {
			break
		}
		time.Sleep(100 * time.Millisecond)
	}
	t.Logf("%d reloads; before: %+v, after: %+v", reloads, before, after)
	if after.goroutines > before.goroutines+10 || after.files > before.files+10 {
		t.Errorf("something leaks: %+v before, %+v after %d reloads", before, after, reloads)
	}
	// The store has no reference left over: it closes, and the lock is free.
	g.stop()
	g.run(t)
}

// load is what a process uses.
type load struct{ goroutines, files int }

func measure(t *testing.T, g *gateway, admin string) (l load) {
	t.Helper()
	profile, err := adminRequest(admin, http.MethodGet, "/debug/pprof/goroutine?debug=1", "")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := fmt.Sscanf(string(profile), "goroutine profile: total %d", &l.goroutines); err != nil {
		t.Fatalf("goroutine profile begins with %.60q: %v", profile, err)
	}
	files, err := os.ReadDir("/proc/" + strconv.Itoa(g.server(t)) + "/fd")
	if err != nil {
		t.Fatal(err)
	}
	l.files = len(files)
	return l
}

func reload(admin, caddyfile string) ([]byte, error) {
	return adminRequest(admin, http.MethodPost, "/load", caddyfile)
}

// adminRequest talks to the admin API on a Unix socket.
func adminRequest(socket, method, path, caddyfile string) ([]byte, error) {
	client := http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext:       dialUnix(socket),
	}}
	request, err := http.NewRequestWithContext(context.Background(), method, "http://127.0.0.1"+path, bytes.NewBufferString(caddyfile))
	if err != nil {
		return nil, err
	}
	request.Header.Set("Content-Type", "text/caddyfile")
	response, err := client.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s %s: %s", method, path, response.Status)
	}
	return body, err
}

// slowWriter sends about 5 MB/s.
type slowWriter struct {
	http.ResponseWriter
	ctx context.Context
}

func (w *slowWriter) Write(p []byte) (int, error) {
	select {
	case <-time.After(time.Duration(len(p)) * time.Second / (5 << 20)):
	case <-w.ctx.Done():
		return 0, w.ctx.Err()
	}
	return w.ResponseWriter.Write(p)
}
