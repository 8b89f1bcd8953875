package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// parseSizes reads the sizes of stores to compare.
func parseSizes(list string) (sizes []int, err error) {
	for text := range strings.SplitSeq(list, ",") {
		n, err := strconv.Atoi(text)
		if err == nil && n < 1 {
			err = errors.New("less than one blob")
		}
		if err != nil {
			return nil, fmt.Errorf("number of blobs %q: %w", text, err)
		}
		sizes = append(sizes, n)
	}
	return sizes, nil
}

// measureMany has gateways on stores of different sizes take turns.
func measureMany(ctx context.Context, b *bench) error {
	var gateways []*gateway
	defer func() {
		for _, g := range gateways {
			g.stop()
		}
	}()
	for _, n := range b.many {
		g, err := b.startFilled(ctx, n)
		if err != nil {
			return err
		}
		gateways = append(gateways, g)
		if err := g.settle(ctx); err != nil {
			return err
		}
	}
	base := fmt.Sprintf(path, filled.Upstream)
	for _, of := range []struct {
		what  string
		paths func(n int) []string
	}{
		{"a manifest by digest", func(int) []string { return []string{base + "/manifests/" + b.image.digest.String()} }},
		{"a blob of 4 KiB", func(int) []string { return []string{base + "/blobs/" + filledDigest(0).String()} }},
		{fmt.Sprintf("blobs, %d at most", anyBlobs), func(n int) (paths []string) {
			for range min(n, anyBlobs) {
				paths = append(paths, base+"/blobs/"+filledDigest(rand.IntN(n)).String())
			}
			return paths
		}},
	} {
		var cs []contestant
		for k, g := range gateways {
			paths := of.paths(b.many[k])
			cs = append(cs, contestant{g.process, func() (worker, error) { return newAnyWorker(g.plain, paths) }, g.profiled()})
		}
		loads, err := b.compare(ctx, 32, cs...)
		if err != nil {
			return err
		}
		for k, n := range b.many[1:] {
			what := fmt.Sprintf("%d cached blobs, hits of %s, 32 connections", n, of.what)
			few, turns := fmt.Sprintf("%d blobs", b.many[0]), [][]load{loads[k+1], loads[0]}
			b.table.addPair(what+": requests/s", "%.0f", few, turns, load.perSecond)
			b.table.addPair(what+": CPU µs", "%.1f", few, turns, load.cpuPerRequest)
		}
	}
	return nil
}

// startFilled starts a gateway on a store of n blobs.
func (b *bench) startFilled(ctx context.Context, n int) (*gateway, error) {
	dir, err := os.MkdirTemp(b.dir, "filled-")
	if err != nil {
		return nil, err
	}
	began := time.Now()
	if err := fillStore(ctx, storeIn(dir), n, b.image.manifest); err != nil {
		return nil, err
	}
	files, err := filepath.Glob(filepath.Join(storeIn(dir), "blobs", "*", "*", "*"))
	if err == nil && len(files) != n {
		err = fmt.Errorf("the store has %d files of blobs, want %d", len(files), n)
	}
	if err != nil {
		return nil, err
	}
	say("  made a store of %d blobs in %s", n, time.Since(began).Round(time.Second/10))
	return b.startGatewayIn(ctx, dir)
}

// settle waits until the process has nothing to do: it counts its blobs when it
// has started.
func (p *process) settle(ctx context.Context) error {
	const look, idle = time.Second, 30 * time.Millisecond
	for {
		before, err := p.cpu()
		if err != nil {
			return err
		}
		select {
		case <-time.After(look):
		case <-ctx.Done():
			return ctx.Err()
		}
		if after, err := p.cpu(); err != nil || after-before < idle {
			return err
		}
	}
}

// anyBlobs is how many different blobs of a store are asked for.
const anyBlobs = 10_000

// anyWorker asks for any of some paths each time.
type anyWorker struct {
	*rawWorker
	address string
	paths   []string
}

func newAnyWorker(address string, paths []string) (worker, error) {
	w, err := newRawWorker(address, "GET", paths[0], nil, false)
	if err != nil {
		return nil, err
	}
	return &anyWorker{w.(*rawWorker), address, paths}, nil
}

func (w *anyWorker) do() (int64, error) {
	w.request = requestFor(w.address, "GET", w.paths[rand.IntN(len(w.paths))], nil)
	return w.rawWorker.do()
}
