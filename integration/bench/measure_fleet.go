package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/pullgate/pullgate/internal/freeport"
)

const (
	// fleetConnections are those of all gateways together, as many to each.
	fleetConnections = 6
	maxFleet         = 3
)

// measureFleet sets gateways that ask each other beside a single one: what cached blobs cost
// them, and when the first byte of a blob comes that another one of them downloads.
func measureFleet(ctx context.Context, b *bench) error {
	loads := make([][]load, maxFleet)
	var owner, follower firstWaits
	for round := range b.rounds {
		for turn := range maxFleet {
			n := turn
			if round%2 == 1 {
				n = maxFleet - 1 - turn
			}
			gateways, err := b.startFleet(ctx, n+1)
			if err != nil {
				return err
			}
			l, err := b.fleetHits(ctx, gateways)
			if n == 1 && err == nil {
				err = b.fleetFirstBytes(ctx, gateways, &owner, &follower)
			}
			stopAll(gateways)
			if err != nil {
				return err
			}
			loads[n] = append(loads[n], l)
		}
	}
	for n := range loads[1:] {
		b.table.addPair(fmt.Sprintf("cached blob, %d gateways, %d connections: CPU s per GB", n+2, fleetConnections), "%.3f", "1 gateway",
			[][]load{loads[n+1], loads[0]}, load.cpuPerGB)
	}
	for _, line := range []struct {
		what            string
		follower, owner []float64
	}{
		{"first byte of a blob through another gateway, 30 ms upstream, ms", follower.first, owner.first},
		{"first byte of a blob through another gateway, after the upstream's, ms", follower.after, owner.after},
	} {
		b.table.add(line.what, fmt.Sprintf("%.2f", median(line.follower)), fmt.Sprintf("at its owner %.2f", median(line.owner)),
			fmt.Sprintf("%+.2f", median(line.follower)-median(line.owner)))
	}
	say("    of %d blobs, and %d", len(follower.first), len(owner.first))
	return nil
}

// firstWaits are waits of several blobs.
type firstWaits struct{ first, after []float64 }

func (f *firstWaits) add(w waits) {
	f.first, f.after = append(f.first, w.first), append(f.after, w.after)
}

// startFleet starts gateways that know each other.
func (b *bench) startFleet(ctx context.Context, n int) (gateways []*gateway, err error) {
	secret := filepath.Join(b.dir, "fleet-secret")
	if err := os.WriteFile(secret, []byte("0123456789abcdef0123456789abcdef"), 0o600); err != nil {
		return nil, err
	}
	var all []string
	for range n {
		address, err := freeport.Address()
		if err != nil {
			return nil, err
		}
		all = append(all, address)
	}
	defer func() { b.fleet = "" }()
	for _, address := range all {
		b.fleet = fmt.Sprintf("fleet {\n\t\t\tpeers %s\n\t\t\tlisten %s\n\t\t\tsecret {file.%s}\n\t\t}", strings.Join(all, " "), address, secret)
		g, err := b.startGateway(ctx)
		if err != nil {
			stopAll(gateways)
			return nil, err
		}
		gateways = append(gateways, g)
	}
	time.Sleep(3 * time.Second) // they ask each other every second
	return gateways, nil
}

func stopAll(gateways []*gateway) {
	for _, g := range gateways {
		g.stop()
	}
}

// fleetHits has clients of all gateways take a blob that each of them has.
func (b *bench) fleetHits(ctx context.Context, gateways []*gateway) (all load, err error) {
	blob := b.image.blobs[1].Digest
	at := fmt.Sprintf(path, "fast.test") + "/blobs/" + blob.String()
	client := newClient(false)
	defer client.CloseIdleConnections()
	for _, g := range gateways {
		if _, _, err := get(ctx, client, http.MethodGet, "http://"+g.plain+at); err != nil {
			return all, err
		}
		if err := awaitFile(ctx, storedIn(g.dir, blob)); err != nil {
			return all, err
		}
	}
	var mu sync.Mutex
	var wait sync.WaitGroup
	for _, g := range gateways {
		wait.Go(func() {
			l, e := drive(ctx, g.process, fleetConnections/len(gateways), b.span, func() (worker, error) {
				return newRawWorker(g.plain, http.MethodGet, at, nil, false)
			})
			mu.Lock()
			defer mu.Unlock()
			err = errors.Join(err, e)
			all.bytes, all.cpu, all.took = all.bytes+l.bytes, all.cpu+l.cpu, max(all.took, l.took)
		})
	}
	wait.Wait()
	return all, err
}

// fleetFirstBytes asks the first of two gateways for blobs that neither has, and adds when
// their first bytes came: to those of an owner where the other one has not got the blob, too.
func (b *bench) fleetFirstBytes(ctx context.Context, gateways []*gateway, owner, follower *firstWaits) error {
	for _, blob := range b.image.blobs[2:] {
		w, err := b.firstBytes(ctx, "http://"+gateways[0].plain+fmt.Sprintf(path, "single.test"), blob)
		if err != nil {
			return err
		}
		time.Sleep(joinAfter) // the other one stores it a moment later
		if _, err := os.Stat(storedIn(gateways[1].dir, blob.Digest)); err == nil {
			follower.add(w)
		} else {
			owner.add(w)
		}
	}
	return nil
}
