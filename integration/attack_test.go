//go:build integration

package integration

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pullgate/pullgate/internal/registrytest"
)

// TestAttack serves Caddyfile.example, with another upstream, while some clients
// never finish a request and others never read an answer: an honest client hardly
// notices, and the others are cut off. By default there are few of them, and the
// patience of the gateway is shorter; PULLGATE_LONG takes the file as it is.
func TestAttack(t *testing.T) {
	unfinished, stalled, patience := 300, 30, 20*time.Second
	changes := []string{"read_header 10s", "read_header 3s", "read_body_idle 10s", "read_body_idle 3s", "write_idle 1m", "write_idle 3s"}
	if os.Getenv("PULLGATE_LONG") != "" {
		unfinished, stalled, patience, changes = 2000, 200, 100*time.Second, nil
	}
	u := registrytest.New(t, registrytest.Options{})
	image := u.PutImage("library/app", "1", 1, 64<<10)
	content := registrytest.Random(7, 64<<20)
	big := u.PutBlob("library/app", content)
	g := serveExample(t, u.URL(), changes)
	base := g.url + "/v2/proxy-docker.io/library/app"
	paths := []string{"/manifests/1", "/blobs/" + image.Platforms[0].Layers[0].Digest.String(), "/manifests/" + image.Index.Digest.String()}
	client := &http.Client{Transport: &http.Transport{}}
	defer client.CloseIdleConnections()
	if err := fetchDigest(client, base+"/blobs/"+big.String(), big.String()); err != nil {
		t.Fatal(err)
	}
	honest := func(n int) (p99 time.Duration) {
		times := make([]time.Duration, 0, n)
		for i := range n {
			began := time.Now()
			if err := answers(client, base+paths[i%len(paths)])(); err != nil {
				t.Fatal(err)
			}
			times = append(times, time.Since(began))
		}
		slices.Sort(times)
		return times[n*99/100]
	}
	honest(50)
	before := honest(1000)

	address := strings.TrimPrefix(g.url, "http://")
	over := make(chan struct{})
	var connected, attackers sync.WaitGroup
	attack := func(request string) {
		connected.Add(1)
		attackers.Go(func() {
			conn, err := net.Dial("tcp", address)
			if err == nil {
				defer conn.Close()
				_ = conn.(*net.TCPConn).SetReadBuffer(4 << 10)
				_, err = io.WriteString(conn, request)
			}
			if err != nil {
				t.Error(err)
			}
			connected.Done()
			<-over // what is not read fills buffers, and then nothing moves
		})
	}
	quiet := g.descriptors(t)
	began := time.Now()
	for i := range unfinished {
		attack([]string{
			"GET /v2/ HTTP/1.1\r\nHost: " + address + "\r\nX-A: ", "", "GET /v2/proxy-docker.io/library/app/manifests/1 HTTP/1.1\r\n",
			"POST /v2/proxy-docker.io/library/app/blobs/uploads/ HTTP/1.1\r\nHost: " + address + "\r\nContent-Length: 1000000\r\n\r\nx",
		}[i%4])
	}
	for range stalled {
		attack(fmt.Sprintf("GET /v2/proxy-docker.io/library/app/blobs/%s HTTP/1.1\r\nHost: %s\r\n\r\n", big, address))
	}
	connected.Wait()
	during := honest(1000)
	most := g.descriptors(t)
	left := g.descriptors(t)
	for left > quiet+10 && time.Since(began) < patience {
		time.Sleep(100 * time.Millisecond) // for the gateway's own clocks
		left = g.descriptors(t)
	}
	t.Logf("p99 of an honest client: %s alone, %s beside %d unfinished requests and %d stalled readers; descriptors: %d before, %d then, %d after %s",
		before, during, unfinished, stalled, quiet, most, left, time.Since(began).Round(time.Second))
	close(over)
	attackers.Wait()
	if during > 2*before+5*time.Millisecond {
		t.Errorf("p99 is %s, it was %s", during, before)
	}
	if most < quiet+unfinished/2 || left > quiet+10 {
		t.Error("the attackers have not come, or are still there")
	}
}

// example is a gateway that runs Caddyfile.example.
type example struct {
	*process

	url    string // of its first site
	secure string // of the one with TLS and a password
}

// descriptors counts the open files and sockets of the gateway.
func (g example) descriptors(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", g.server(t)))
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}

// serveExample runs Caddyfile.example with other ports and one upstream in place
// of the public ones.
func serveExample(t *testing.T, upstream string, changes []string) example {
	t.Helper()
	raw, err := os.ReadFile("../Caddyfile.example")
	if err != nil {
		t.Fatal(err)
	}
	dir, plainPort, securePort := shortDir(t), freePort(t), freePort(t)
	text := strings.NewReplacer(append(changes,
		"{$HOME:.}/.pullgate", dir,
		"\n:5000 {\n\tregistry_mirror docker.io registry.k8s.io", "\nhttp://127.0.0.1:"+plainPort+" {\n\tregistry_mirror registry.k8s.io",
		"ghcr.io gcr.io quay.io\n}", "ghcr.io gcr.io quay.io {\n\t\tupstream docker.io {\n\t\t\turl "+upstream+"\n\t\t}\n\t}\n}",
		":5443", ":"+securePort,
	)...).Replace(string(raw))
	config := writeFile(t, text, dir, "Caddyfile")
	home := []string{"XDG_DATA_HOME=" + t.TempDir(), "XDG_CONFIG_HOME=" + t.TempDir()}
	server := start(t, home, binary, "run", "--config", config)
	url := "http://127.0.0.1:" + plainPort
	server.await(t, answers(http.DefaultClient, url+"/v2/"))
	return example{server, url, "https://127.0.0.1:" + securePort}
}
