package caddymodule

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/pullgate/pullgate/internal/fleet/peers"
	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/internal/registrytest"
)

// TestPeersOutliveReloads: another gateway is answered, what it is being sent goes on
// through reloads, and it loses nobody; without peers, nobody listens any more.
func TestPeersOutliveReloads(t *testing.T) {
	t.Setenv("FLEET_SECRET", fleetSecret)
	upstream := registrytest.New(t, registrytest.Options{})
	const size = 4 << 20
	d := upstream.PutRandom("library/alpine", 1, size)
	going := make(chan struct{})
	upstream.On(registrytest.Rule{Method: "GET", Kind: "blobs", Hook: func(w http.ResponseWriter, r *http.Request, next http.HandlerFunc) {
		next(&waitingWriter{ResponseWriter: w, going: going}, r)
	}})
	s := newSite(t)
	at := freeAddr(t)
	configured := fmt.Sprintf("fleet {\npeers %s\nlisten %[1]s\nsecret {env.FLEET_SECRET}\n}", at)
	load := func(n int, app string) {
		s.app = app
		s.load(fmt.Sprintf("registry_mirror {\nupstream docker.io {\nurl %s\nallow_address 10.0.0.%d\n}\n}", upstream.URL(), n))
	}
	load(1, configured)

	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	other, err := peers.New(peers.Options{Peers: []string{at}, Secret: fleetSecret, Every: 5 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	other.Start(l)
	defer other.Close()
	eventually(t, "it is found", func() bool { return other.Status().Alive() == 1 })
	instance := other.Status().Members[0].Instance
	var peer peers.Peer
	for n := 0; peer.Member == nil; n++ { // whichever key it owns
		for _, m := range other.Before(fmt.Sprint(n)) {
			peer = other.At(m, identityOf(t))
		}
	}
	if _, err := other.At(peer.Member, "ghcr.io").HeadBlob(t.Context(), "library/alpine", d); err == nil || peers.IsAnswer(err) {
		t.Errorf("an upstream that it has not: %v", err)
	}
	body, err := peer.Blob(t.Context(), "library/alpine", d, 0, -1)
	if err != nil {
		t.Fatal(err)
	}
	defer body.Close()
	start := make([]byte, 1000)
	if _, err := io.ReadFull(body, start); err != nil {
		t.Fatal(err)
	}
	for n := range 3 {
		load(n+2, configured)
	}
	close(going)
	rest, err := io.ReadAll(body)
	if err != nil || !oci.Verify(d, append(start, rest...)) {
		t.Errorf("%d bytes: %v", len(rest), err)
	}
	if now := other.Status().Members[0].Instance; now != instance {
		t.Errorf("another instance: %s, %s", instance, now)
	}
	eventually(t, "it is counted what was sent", func() bool { return storeStatuses()[0].Peers.Sent >= size })
	if status := storeStatuses()[0].Peers; status.Instance != instance || status.Answered == 0 {
		t.Errorf("%+v", status)
	}
	load(9, "")
	if status := storeStatuses()[0].Peers; status != nil {
		t.Errorf("%+v", status)
	}
	if c, err := net.DialTimeout("tcp", at, time.Second); err == nil {
		_ = c.Close()
		t.Error("somebody listens yet")
	}
}

// identityOf returns that of the upstream docker.io.
func identityOf(t *testing.T) string {
	t.Helper()
	_, sites := liveSites("")
	for _, u := range sites[0].Upstreams {
		if u.Name == "docker.io" {
			return u.Identity
		}
	}
	t.Fatal("no such upstream")
	return ""
}

// waitingWriter waits once a part is written.
type waitingWriter struct {
	http.ResponseWriter

	written int
	going   chan struct{}
}

func (w *waitingWriter) Write(p []byte) (int, error) {
	if w.written += len(p); w.written > 1<<20 {
		<-w.going
	}
	return w.ResponseWriter.Write(p)
}

// TestPeersAddressIsTaken: where others are to reach the gateway, nobody else listens.
func TestPeersAddressIsTaken(t *testing.T) {
	t.Setenv("FLEET_SECRET", fleetSecret)
	s := newSite(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	s.app = fmt.Sprintf("fleet {\npeers %s\nlisten %[1]s\nsecret {env.FLEET_SECRET}\n}", l.Addr())
	if err := s.tryLoad("registry_mirror docker.io"); err == nil {
		t.Error("it loads")
	}
}
