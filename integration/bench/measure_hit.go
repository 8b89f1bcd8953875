package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
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
		if err := b.takeTurns(ctx, round, connections, loads, cs...); err != nil {
			return nil, err
		}
	}
	return loads, nil
}

// takeTurns is a round of it: every other one goes the other way round.
func (b *bench) takeTurns(ctx context.Context, round, connections int, loads [][]load, cs ...contestant) error {
	for turn := range cs {
		k := turn
		if round%2 == 1 {
			k = len(cs) - 1 - turn
		}
		c := cs[k]
		if c.profile != "" && round == 0 {
			go b.profile(c.profile)
		}
		l, err := drive(ctx, c.process, connections, b.span, c.connect)
		if err != nil {
			return err
		}
		loads[k] = append(loads[k], l)
	}
	return nil
}

// pair returns the medians of two contestants, and the median of the ratios of each
// round: the machine may have been another one in the next.
func pair(ours, others []load, of func(load) float64) (our, other, ratio float64) {
	ourValues, otherValues := valuesOf(ours, of), valuesOf(others, of)
	return median(ourValues), median(otherValues), median(ratios(ourValues, otherValues))
}

func valuesOf(loads []load, of func(load) float64) []float64 {
	values := make([]float64, 0, len(loads))
	for _, l := range loads {
		values = append(values, of(l))
	}
	return values
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
	if err := awaitFile(ctx, storedIn(g.dir, blob.Digest)); err != nil {
		g.stop()
		return nil, err
	}
	return g, nil
}

// awaitFile waits until a blob that was pulled is stored: nobody else does.
func awaitFile(ctx context.Context, file string) error {
	ctx, cancel := context.WithTimeout(ctx, startPatience)
	defer cancel()
	for {
		_, err := os.Stat(file)
		if err == nil {
			return nil
		}
		select {
		case <-time.After(10 * time.Millisecond):
		case <-ctx.Done():
			return fmt.Errorf("the blob is not stored: %w", err)
		}
	}
}

// transfer is one way to take a cached blob.
type transfer struct {
	what        string
	connections int
	connect     func(ctx context.Context, g *gateway, path string) (worker, error)
}

func measureHits(ctx context.Context, b *bench) error {
	plain := func(_ context.Context, g *gateway, path string) (worker, error) {
		return newRawWorker(g.plain, "GET", path, nil, false)
	}
	return b.againstFiles(ctx, "large", b.image.large, []transfer{
		{"cached blob, HTTP/1.1, 1 connection", 1, plain},
		{"cached blob, HTTP/1.1, 8 connections", 8, plain},
		{"cached blob, HTTP/1.1, 32 connections", 32, plain},
	})
}

// measureTLS takes a blob of the image: a round of the large one would last half a
// minute.
func measureTLS(ctx context.Context, b *bench) error {
	return b.againstFiles(ctx, "manifest", b.image.blobs[1], []transfer{
		{"cached blob, TLS, HTTP/1.1, 8 connections", 8, func(_ context.Context, g *gateway, path string) (worker, error) {
			return newRawWorker(g.secure, "GET", path, nil, true)
		}},
		{"cached blob, TLS, HTTP/2, 8 connections", 8, func(ctx context.Context, g *gateway, path string) (worker, error) {
			return newHTTP2Worker(ctx, "https://"+g.secure+path), nil
		}},
	})
}

// againstFiles compares with a plain net/http server of the very file that the gateway
// has stored. Both begin anew each round: where the memory of a process, or a file,
// happens to lie makes a tenth of a difference, for as long as it lasts.
func (b *bench) againstFiles(ctx context.Context, tag string, blob oci.Descriptor, transfers []transfer) error {
	loads := make([][][]load, len(transfers))
	for k := range loads {
		loads[k] = make([][]load, 2)
	}
	for round := range b.rounds {
		if err := b.roundAgainstFiles(ctx, round, tag, blob, transfers, loads); err != nil {
			return err
		}
	}
	for k, t := range transfers {
		b.table.addPair(t.what+": GB/s", "%.1f", "net/http", loads[k], load.throughput)
		b.table.addPair(t.what+": CPU s per GB", "%.3f", "net/http", loads[k], load.cpuPerGB)
	}
	return nil
}

func (b *bench) roundAgainstFiles(ctx context.Context, round int, tag string, blob oci.Descriptor, transfers []transfer, loads [][][]load) error {
	g, err := b.cached(ctx, tag, blob)
	if err != nil {
		return err
	}
	defer g.stop()
	f, err := b.startFiles(ctx, filepath.Dir(storedIn(g.dir, blob.Digest)))
	if err != nil {
		return err
	}
	defer f.stop()
	if _, err := b.origin.stats(); err != nil {
		return err
	}
	ours, files := "/v2/proxy-fast.test/bench/image/blobs/"+blob.Digest.String(), "/blobs/"+blob.Digest.Encoded()
	for k, t := range transfers {
		err := b.takeTurns(ctx, round, t.connections, loads[k],
			contestant{g.process, func() (worker, error) { return t.connect(ctx, g, ours) }, g.profiled()},
			contestant{f.process, func() (worker, error) { return t.connect(ctx, f, files) }, ""})
		if err != nil {
			return err
		}
	}
	if s, err := b.origin.stats(); err != nil || s.Requests > 0 {
		return errors.Join(fmt.Errorf("hits made %d upstream requests", s.Requests), err)
	}
	return nil
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
		b.table.addPair(what+": requests/s", "%.0f", "respond", loads, load.perSecond)
		b.table.addPair(what+": CPU µs", "%.1f", "respond", loads, load.cpuPerRequest)
		b.table.addPair(what+": p99 ms", "%.2f", "respond", loads, load.p99)
	}
	if s, err := b.origin.stats(); err != nil || s.Requests > 0 {
		return errors.Join(fmt.Errorf("hits made %d upstream requests", s.Requests), err)
	}
	return nil
}
