package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"os/exec"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

const (
	path     = "/v2/proxy-%s/bench/image"
	imageGB  = imageBlobs * imageBlobSize / 1e9
	herdPull = "one download of the image on that link"
)

// cold is what several cold pulls took.
type cold struct{ whole, manifest, first, cpu, bytes []float64 }

// coldPull pulls the image once through a server that is fresh.
func (b *bench) coldPull(ctx context.Context, c *cold, base string, start func() (*gateway, error)) error {
	g, err := start()
	if err != nil {
		return err
	}
	defer g.stop()
	if err := warmMemory(); err != nil {
		return err
	}
	if _, err := b.origin.stats(); err != nil {
		return err
	}
	before, err := g.cpu()
	if err != nil {
		return err
	}
	p, err := b.image.pull(ctx, "http://"+g.plain+base)
	if err != nil {
		return err
	}
	spent, err := g.cpu()
	if err != nil {
		return err
	}
	s, err := b.origin.stats()
	if err != nil {
		return err
	}
	c.add(p, spent-before, s)
	return nil
}

// warmMemory waits until nothing is being written any more, and touches the memory
// that the page cache is about to get. Where the host of a virtual machine takes back
// what is free, the first one to touch it waits until it is given again, 3 s for each
// GB; that would be whoever is measured first.
func warmMemory() error {
	unix.Sync()
	memory, err := unix.Mmap(-1, 0, 2<<30, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS|unix.MAP_POPULATE)
	if err != nil {
		return fmt.Errorf("touch memory: %w", err)
	}
	return unix.Munmap(memory)
}

func (c *cold) add(p pulled, cpu time.Duration, s originStats) {
	c.whole = append(c.whole, p.whole.Seconds())
	c.manifest = append(c.manifest, 1000*p.manifest.Seconds())
	c.first = append(c.first, 1000*p.firstByte.Seconds())
	c.cpu = append(c.cpu, cpu.Seconds()/imageGB)
	c.bytes = append(c.bytes, float64(s.Bytes)/(imageGB*1e9))
}

func measureCold(ctx context.Context, b *bench) error {
	type other struct {
		name  string
		start func() (*gateway, error)
		cold
	}
	others := make([]other, 0, len(b.peers)+1)
	for _, name := range slices.Sorted(maps.Keys(b.peers)) {
		others = append(others, other{name: name, start: func() (*gateway, error) { return b.startPeer(ctx, name, b.origin.fast) }})
	}
	others = append(others, other{name: "bare loop", start: func() (*gateway, error) { return b.startBare(ctx, b.origin.fast) }})
	var ours, direct, hashing cold
	for range b.rounds {
		hashing.cpu = append(hashing.cpu, hashAlone().Seconds()/imageGB)
		if err := b.coldPull(ctx, &ours, fmt.Sprintf(path, "fast.test"), func() (*gateway, error) { return b.startGateway(ctx) }); err != nil {
			return err
		}
		for k := range others {
			if err := b.coldPull(ctx, &others[k].cold, "/v2/bench/image", others[k].start); err != nil {
				return fmt.Errorf("%s: %w", others[k].name, err)
			}
		}
		p, err := b.image.pull(ctx, "http://"+b.origin.fast+"/v2/bench/image")
		if err != nil {
			return err
		}
		direct.add(p, 0, originStats{})
	}
	add := func(what, name string, ours, other []float64) {
		b.table.add("cold image, no limits: "+what, fmt.Sprintf("%.2f", median(ours)),
			fmt.Sprintf("%s %.2f", name, median(other)), fmt.Sprintf("%.2f", median(ratios(ours, other))))
	}
	for _, o := range others {
		add("s", o.name, ours.whole, o.whole)
		add("CPU s per GB", o.name, ours.cpu, o.cpu)
	}
	add("CPU s per GB", "hashing alone", ours.cpu, hashing.cpu)
	add("s", "no gateway", ours.whole, direct.whole)
	b.table.add("cold image, no limits: upstream bytes", fmt.Sprintf("%.3f×", median(ours.bytes)), "the image", "")
	return nil
}

// hashAlone returns how long it takes to hash as many bytes as the image has, from
// memory that is at hand.
func hashAlone() time.Duration {
	buffer, began := make([]byte, 1<<18), time.Now()
	h := sha256.New()
	for left := imageBlobs * imageBlobSize; left > 0; left -= len(buffer) {
		h.Write(buffer[:min(left, len(buffer))])
	}
	return time.Since(began)
}

func measureSlow(ctx context.Context, b *bench) error {
	var ours, direct cold
	for range b.rounds {
		if err := b.coldPull(ctx, &ours, fmt.Sprintf(path, "slow.test"), func() (*gateway, error) { return b.startGateway(ctx) }); err != nil {
			return err
		}
		p, err := b.image.pull(ctx, "http://"+b.origin.slow+"/v2/bench/image")
		if err != nil {
			return err
		}
		direct.add(p, 0, originStats{})
	}
	what := "cold image, 30 ms, 50 MB/s per connection"
	b.table.add(what+": s", fmt.Sprintf("%.2f", median(ours.whole)), fmt.Sprintf("no gateway %.2f", median(direct.whole)),
		fmt.Sprintf("%.2f× faster", median(ratios(direct.whole, ours.whole))))
	b.table.add(what+": first manifest, ms", fmt.Sprintf("%.0f", median(ours.manifest)), fmt.Sprintf("no gateway %.0f", median(direct.manifest)), "")
	b.table.add(what+": upstream bytes", fmt.Sprintf("%.3f×", median(ours.bytes)), "the image", "")
	return nil
}

func measureHerd(ctx context.Context, b *bench) error {
	for _, clients := range []int{16, 256} {
		var slowest, sent, one []float64
		for range b.rounds {
			p, err := b.image.pull(ctx, "http://"+b.origin.link+"/v2/bench/image")
			if err != nil {
				return err
			}
			one = append(one, p.whole.Seconds())
			worst, bytes, err := b.herd(ctx, clients)
			if err != nil {
				return err
			}
			slowest, sent = append(slowest, worst.Seconds()), append(sent, bytes)
		}
		what := fmt.Sprintf("%d clients at once, uplink of 1 Gbit/s", clients)
		b.table.add(what+": slowest, s", fmt.Sprintf("%.2f", median(slowest)), fmt.Sprintf("%s %.2f", herdPull, median(one)),
			fmt.Sprintf("%.2f", median(ratios(slowest, one))))
		b.table.add(what+": upstream bytes", fmt.Sprintf("%.3f×", median(sent)), "the image", "")
	}
	return nil
}

// herd has clients pull the image at once.
func (b *bench) herd(ctx context.Context, clients int) (worst time.Duration, bytes float64, err error) {
	g, err := b.startGateway(ctx)
	if err != nil {
		return 0, 0, err
	}
	defer g.stop()
	if _, err := b.origin.stats(); err != nil {
		return 0, 0, err
	}
	var mu sync.Mutex
	var wait sync.WaitGroup
	for range clients {
		wait.Go(func() {
			p, e := b.image.pull(ctx, "http://"+g.plain+fmt.Sprintf(path, "link.test"))
			mu.Lock()
			defer mu.Unlock()
			worst = max(worst, p.whole)
			if e != nil {
				err = e
			}
		})
	}
	wait.Wait()
	s, statsErr := b.origin.stats()
	if err == nil {
		err = statsErr
	}
	return worst, float64(s.Bytes) / (imageGB * 1e9), err
}

const streams = 100

func measureMemory(ctx context.Context, b *bench) error {
	g, err := b.startGateway(ctx)
	if err != nil {
		return err
	}
	defer g.stop()
	idle, err := g.resident("VmRSS")
	if err != nil {
		return err
	}
	b.table.add("resident memory after the start: MiB", fmt.Sprint(idle>>20), "", "")
	blob := fmt.Sprintf(path, "fast.test") + "/blobs/" + b.image.large.Digest.String()
	for _, name := range []string{"filling", "cached"} {
		var mu sync.Mutex
		var wait sync.WaitGroup
		for range streams {
			wait.Go(func() {
				w, e := newRawWorker(g.plain, "GET", blob, nil, false)
				if e == nil {
					defer w.Close()
					_, e = w.do()
				}
				mu.Lock()
				defer mu.Unlock()
				err = errors.Join(err, e)
			})
		}
		wait.Wait()
		if err != nil {
			return err
		}
		most, err := g.resident("VmHWM")
		if err != nil {
			return err
		}
		b.table.add(fmt.Sprintf("resident memory, %d streams of 1 GiB, %s: most, MiB", streams, name), fmt.Sprint(most>>20), "", "")
	}
	return nil
}

// measureStart sets the start beside that of a command which does nothing: Caddy's
// modules come to life in it too.
func measureStart(ctx context.Context, b *bench) error {
	var took, nothing []float64
	for range b.rounds {
		g, err := b.startGateway(ctx)
		if err != nil {
			return err
		}
		took = append(took, 1000*g.took.Seconds())
		g.stop()
		began := time.Now()
		if err := exec.CommandContext(ctx, b.binary, "version").Run(); err != nil {
			return fmt.Errorf("%s version: %w", b.binary, err)
		}
		nothing = append(nothing, 1000*time.Since(began).Seconds())
	}
	b.table.add("start to first answer: ms", fmt.Sprintf("%.0f", median(took)), fmt.Sprintf("its version command %.0f", median(nothing)),
		fmt.Sprintf("%+.0f", median(took)-median(nothing)))
	return nil
}
