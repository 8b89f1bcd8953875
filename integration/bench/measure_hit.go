package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/pullgate/pullgate/internal/oci"
)

// contestant is one side of a comparison.
type contestant struct {
	process *process
	connect func() (worker, error)
	profile string // where its CPU profile can be had; empty = nowhere
}

// compare has contestants take turns, and returns the loads of each.
func (b *bench) compare(ctx context.Context, connections int, cs ...contestant) ([][]load, error) {
	loads := make([][]load, len(cs))
	for round := range b.rounds {
		for k, c := range cs {
			if c.profile != "" && round == 0 {
				go b.profile(c.profile)
			}
			l, err := drive(ctx, c.process, connections, b.span, c.connect)
			if err != nil {
				return nil, err
			}
			loads[k] = append(loads[k], l)
		}
	}
	return loads, nil
}

func medianOf(loads []load, of func(load) float64) float64 {
	values := make([]float64, 0, len(loads))
	for _, l := range loads {
		values = append(values, of(l))
	}
	return median(values)
}

// cached starts a gateway that has a blob of the image with this tag.
func (b *bench) cached(ctx context.Context, tag string, blob oci.Descriptor) (*gateway, error) {
	g, err := b.startGateway(ctx)
	if err != nil {
		return nil, err
	}
	client := newClient(false)
	defer client.CloseIdleConnections()
	for _, path := range []string{"/manifests/" + tag, "/blobs/" + blob.Digest.String()} {
		if _, _, err := get(ctx, client, http.MethodGet, "http://"+g.plain+"/v2/proxy-fast.test/bench/image"+path); err != nil {
			g.stop()
			return nil, err
		}
	}
	return g, nil
}

func measureHits(ctx context.Context, b *bench) error {
	return b.againstFiles(ctx, "large", b.image.large, func(g, f *gateway, ours, files string) error {
		for _, n := range []int{1, 8, 32} {
			loads, err := b.compare(ctx, n,
				contestant{g.process, func() (worker, error) { return newRawWorker(g.plain, "GET", ours, nil, false) }, g.profiled()},
				contestant{f.process, func() (worker, error) { return newRawWorker(f.plain, "GET", files, nil, false) }, ""})
			if err != nil {
				return err
			}
			b.addThroughput(fmt.Sprintf("cached blob, HTTP/1.1, %d connections", n), loads)
		}
		return nil
	})
}

// measureTLS takes a blob of the image: a round of the large one would last half a
// minute.
func measureTLS(ctx context.Context, b *bench) error {
	return b.againstFiles(ctx, "manifest", b.image.blobs[1], func(g, f *gateway, ours, files string) error {
		loads, err := b.compare(ctx, 8,
			contestant{g.process, func() (worker, error) { return newRawWorker(g.secure, "GET", ours, nil, true) }, g.profiled()},
			contestant{f.process, func() (worker, error) { return newRawWorker(f.secure, "GET", files, nil, true) }, ""})
		if err != nil {
			return err
		}
		b.addThroughput("cached blob, TLS, HTTP/1.1, 8 connections", loads)
		loads, err = b.compare(ctx, 8,
			contestant{g.process, func() (worker, error) { return newHTTP2Worker(ctx, "https://"+g.secure+ours), nil }, g.profiled()},
			contestant{f.process, func() (worker, error) { return newHTTP2Worker(ctx, "https://"+f.secure+files), nil }, ""})
		if err != nil {
			return err
		}
		b.addThroughput("cached blob, TLS, HTTP/2, 8 connections", loads)
		return nil
	})
}

func (b *bench) againstFiles(ctx context.Context, tag string, blob oci.Descriptor, run func(g, f *gateway, ours, files string) error) error {
	g, err := b.cached(ctx, tag, blob)
	if err != nil {
		return err
	}
	defer g.stop()
	f, err := b.startFiles(ctx)
	if err != nil {
		return err
	}
	defer f.stop()
	if _, err := b.origin.stats(); err != nil {
		return err
	}
	if err := run(g, f, "/v2/proxy-fast.test/bench/image/blobs/"+blob.Digest.String(), "/blobs/"+blob.Digest.Encoded()); err != nil {
		return err
	}
	if s, err := b.origin.stats(); err != nil || s.Requests > 0 {
		return errors.Join(fmt.Errorf("hits made %d upstream requests", s.Requests), err)
	}
	return nil
}

func (b *bench) addThroughput(what string, loads [][]load) {
	ours, other := medianOf(loads[0], load.throughput), medianOf(loads[1], load.throughput)
	b.table.add(what+": GB/s", fmt.Sprintf("%.1f", ours), fmt.Sprintf("net/http %.1f", other), fmt.Sprintf("%.2f", ours/other))
	ours, other = medianOf(loads[0], load.cpuPerGB), medianOf(loads[1], load.cpuPerGB)
	b.table.add(what+": CPU s per GB", fmt.Sprintf("%.3f", ours), fmt.Sprintf("net/http %.3f", other), fmt.Sprintf("%.2f", ours/other))
}

// http2Worker has a connection of its own.
type http2Worker struct {
	client *http.Client
	url    string
	ctx    context.Context
}

func newHTTP2Worker(ctx context.Context, url string) worker {
	return &http2Worker{newClient(true), url, ctx}
}

func (w *http2Worker) do() (int64, error) {
	n, _, err := get(w.ctx, w.client, http.MethodGet, w.url)
	return n, err
}

func (w *http2Worker) Close() error {
	w.client.CloseIdleConnections()
	return nil
}

func measureManifests(ctx context.Context, b *bench) error {
	g, err := b.startGateway(ctx)
	if err != nil {
		return err
	}
	defer g.stop()
	const repository = "/v2/proxy-fast.test/bench/image/manifests/"
	open, guarded := map[string]string{"Accept": manifestType}, map[string]string{"Accept": manifestType, "Authorization": authorization()}
	of := func(address, method, path string, header map[string]string) contestant {
		return contestant{g.process, func() (worker, error) { return newRawWorker(address, method, path, header, false) }, g.profiled()}
	}
	for _, path := range []string{"manifest", b.image.digest.String()} {
		if _, err := drive(ctx, g.process, 1, time.Millisecond, of(g.plain, "GET", repository+path, open).connect); err != nil {
			return err
		}
	}
	if _, err := b.origin.stats(); err != nil {
		return err
	}
	for _, c := range []struct {
		name, address, method, path string
		header                      map[string]string
	}{
		{"GET by tag", g.plain, "GET", "manifest", open},
		{"GET by digest", g.plain, "GET", b.image.digest.String(), open},
		{"HEAD by tag", g.plain, "HEAD", "manifest", open},
		{"HEAD by digest", g.plain, "HEAD", b.image.digest.String(), open},
		{"GET by tag, basic auth", g.guarded, "GET", "manifest", guarded},
	} {
		loads, err := b.compare(ctx, 32, of(c.address, c.method, repository+c.path, c.header), of(c.address, c.method, "/respond", c.header))
		if err != nil {
			return err
		}
		what := "cached manifest, " + c.name + ", 32 connections"
		ours, other := medianOf(loads[0], load.perSecond), medianOf(loads[1], load.perSecond)
		b.table.add(what+": requests/s", fmt.Sprintf("%.0f", ours), fmt.Sprintf("respond %.0f", other), fmt.Sprintf("%.2f", ours/other))
		ours, other = 1e6*medianOf(loads[0], load.cpuPerRequest), 1e6*medianOf(loads[1], load.cpuPerRequest)
		b.table.add(what+": CPU µs", fmt.Sprintf("%.1f", ours), fmt.Sprintf("respond %.1f", other), fmt.Sprintf("%.2f", ours/other))
		p99 := func(l load) float64 { return 1000 * percentile(l.waits, 0.99) }
		ours, other = medianOf(loads[0], p99), medianOf(loads[1], p99)
		b.table.add(what+": p99 ms", fmt.Sprintf("%.2f", ours), fmt.Sprintf("respond %.2f", other), fmt.Sprintf("%.2f", ours/other))
	}
	if s, err := b.origin.stats(); err != nil || s.Requests > 0 {
		return errors.Join(fmt.Errorf("hits made %d upstream requests", s.Requests), err)
	}
	return nil
}
