package caddymodule

import (
	"crypto/tls"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/pullgate/pullgate/internal/history"
	"github.com/pullgate/pullgate/internal/operate"
	"github.com/pullgate/pullgate/internal/registrytest"
)

// What was served and evicted is in the history, after reloads and restarts, and whoever
// asks for it.
func TestHistoryOfAGateway(t *testing.T) {
	upstream := registrytest.New(t, registrytest.Options{})
	image := upstream.PutImage("library/alpine", "3", 7, 30_000)
	s := newSite(t)
	load := func(options string) {
		t.Helper()
		s.load("registry_mirror {\nupstream docker.io {\nurl " + upstream.URL() + "\nlook_ahead off\n" + options + "}\n}")
	}
	load("")
	c := s.client()
	c.pull("/v2/proxy-docker.io", image)
	c.pull("/v2/proxy-docker.io", image)
	c.CloseIdleConnections()
	filled(t)
	load("tag_ttl 1h\n")
	if err := caddy.Stop(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the storage closes", func() bool { return !locked(s.storage) })
	load("")
	base, _ := adminServer(t)
	since := time.Now().Add(-2 * time.Hour).Truncate(time.Second)
	for _, g := range []operate.Gateway{gateway(), httpClient(base)} {
		for _, step := range []time.Duration{history.Fine, history.Coarse} {
			found, err := g.History(t.Context(), operate.HistoryRequest{Since: since, Step: step})
			if err != nil || found.Step != step.Seconds() {
				t.Fatalf("%T: %+v, %v", g, found, err)
			}
			var sum operate.HistoryPoint
			for _, p := range found.Points {
				sum.Sent, sum.Received, sum.Misses, sum.Hits, sum.Blobs = sum.Sent+p.Sent, sum.Received+p.Received, sum.Misses+p.Misses, sum.Hits+p.Hits, p.Blobs
			}
			if sum.Received < 30_000 || sum.Sent < 60_000 || sum.Sent > 70_000 || sum.Misses == 0 || sum.Hits == 0 || sum.Blobs < 30_000 {
				t.Errorf("%T: steps of %v: %+v", g, step, found.Points)
			}
		}
		if found, err := g.History(t.Context(), operate.HistoryRequest{Since: time.Now().Add(time.Hour)}); err != nil || found.Points == nil || len(found.Points) > 0 {
			t.Errorf("%T: in an hour: %+v, %v", g, found, err)
		}
	}
}

// A probe finds everything in order, and pulls nothing.
func TestProbeOfAGateway(t *testing.T) {
	upstream := registrytest.New(t, registrytest.Options{})
	image := upstream.PutImage("library/alpine", "3", 7, 3000)
	s := newSite(t)
	s.load("registry_mirror {\nupstream docker.io {\nurl " + upstream.URL() + "\nlook_ahead off\n}\nupstream ghcr.io {\noffline\n}\n}")
	c := s.client()
	c.pull("/v2/proxy-docker.io", image)
	c.CloseIdleConnections()
	filled(t)
	base, _ := adminServer(t)
	for _, g := range []operate.Gateway{gateway(), httpClient(base)} {
		before := upstream.Count("", "")
		found := map[string]operate.ProbeLine{}
		err := g.Probe(t.Context(), operate.ProbeRequest{}, func(l operate.ProbeLine) {
			if !l.OK || l.Done {
				t.Errorf("%T: %+v", g, l)
			}
			found[l.What+" "+l.Name] = l
		})
		if err != nil {
			t.Fatal(err)
		}
		for name, state := range map[string]string{
			"server pullgate " + version(): operate.StateOK, "storage " + canonical(t, s.storage): operate.StateOK, "clock ": operate.StateOK,
			"upstream docker.io": operate.StateOK, "upstream ghcr.io": operate.StateOffline, "site http://" + s.addr: operate.StateOK,
		} {
			if found[name].State != state {
				t.Errorf("%T: %s is %+v, want %s", g, name, found[name], state)
			}
		}
		if text := found["site http://"+s.addr].Text; text != "it answers, and serves docker.io/library/alpine:3" {
			t.Errorf("%T: site: %s", g, text)
		}
		if n := upstream.Count("", "") - before; n != 1 {
			t.Errorf("%T: the upstream saw %d requests, want 1", g, n)
		}
		lines := 0
		if err := g.Probe(t.Context(), operate.ProbeRequest{Upstream: "index.docker.io"}, func(operate.ProbeLine) { lines++ }); err != nil || lines != 1 {
			t.Errorf("%T: one upstream: %d lines, %v", g, lines, err)
		}
		if err := g.Probe(t.Context(), operate.ProbeRequest{Upstream: "ghcr.oi"}, func(operate.ProbeLine) {}); err == nil {
			t.Errorf("%T: a misspelt upstream is probed", g)
		}
	}
}

// Several names and addresses lead to a site; each that this machine has is told with its
// certificate.
func TestEndpointsOfASite(t *testing.T) {
	s := newSite(t)
	port := s.addr[len("127.0.0.1:"):]
	text, ok := adapted(t, `{
	admin off
	persist_config off
	skip_install_trust
	log {
		level ERROR
	}
	registry_mirror {
		storage `+s.storage+`
	}
}
https://gate.test:`+port+`, https://127.0.0.1:`+port+`, https://192.0.2.5:`+port+` {
	bind 127.0.0.1
	tls internal
	handle /v2/* {
		registry_mirror {
			upstream docker.io {
				offline
			}
		}
	}
}
`)
	if !ok {
		t.Fatal(text)
	}
	if err := caddy.Load([]byte(text), true); err != nil {
		t.Fatal(err)
	}
	_, sites := liveSites("")
	got := sites[0].Endpoints()
	want := map[string]bool{"https://gate.test:" + port: true, "https://127.0.0.1:" + port: true}
	for _, e := range got {
		if !want[e.URL] || e.Address != "127.0.0.1:"+port || e.Network != "tcp" {
			t.Errorf("%+v", e)
		}
		delete(want, e.URL)
	}
	if len(want) > 0 {
		t.Errorf("%v is missing of %+v", want, got)
	}
	eventually(t, "there are certificates", func() bool {
		for _, name := range []string{"gate.test", ""} {
			dialer := tls.Dialer{Config: &tls.Config{ServerName: name, InsecureSkipVerify: true}}
			c, err := dialer.DialContext(t.Context(), "tcp", s.addr)
			if err != nil {
				return false
			}
			_ = c.Close()
		}
		return true
	})
	certificates := 0
	err := gateway().Probe(t.Context(), operate.ProbeRequest{}, func(l operate.ProbeLine) {
		if l.What != operate.ProbeSite {
			return
		}
		if !l.OK {
			t.Errorf("%+v", l)
		}
		if len(l.Text) > 16 && l.Text[:16] == "its certificate " {
			certificates++
		}
	})
	if err != nil || certificates != 2 {
		t.Errorf("%d certificates, %v", certificates, err)
	}
}
