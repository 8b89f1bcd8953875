package main

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/pullgate/pullgate/internal/oci"
)

// joinAfter is how long a download lasts until another client asks for the blob. It
// takes a second.
const joinAfter = 300 * time.Millisecond

func measureFirst(ctx context.Context, b *bench) error {
	var ours, direct, joined []float64
	for range b.rounds {
		g, err := b.startGateway(ctx)
		if err != nil {
			return err
		}
		for _, blob := range b.image.blobs[1:] {
			first, joiner, err := firstBytes(ctx, "http://"+g.plain+fmt.Sprintf(path, "single.test"), blob)
			if err != nil {
				g.stop()
				return err
			}
			ours, joined = append(ours, first), append(joined, joiner)
			if first, _, err = firstBytes(ctx, "http://"+b.origin.slow+"/v2/bench/image", blob); err != nil {
				g.stop()
				return err
			}
			direct = append(direct, first)
		}
		g.stop()
	}
	const what = "first byte of a blob, 30 ms upstream, ms"
	b.table.add(what, fmt.Sprintf("%.1f", median(ours)), fmt.Sprintf("no gateway %.1f", median(direct)),
		fmt.Sprintf("%+.1f", median(ours)-median(direct)))
	b.table.add("first byte of a blob that is under way, ms", fmt.Sprintf("%.1f", median(joined)), "", "")
	return nil
}

// firstBytes returns after how many milliseconds one client, and another one that
// comes later, have the first byte of a blob.
func firstBytes(ctx context.Context, base string, blob oci.Descriptor) (first, joined float64, err error) {
	clients := [2]*http.Client{newClient(false), newClient(false)}
	url := base + "/blobs/" + blob.Digest.String()
	for _, c := range clients {
		defer c.CloseIdleConnections()
		// The connections are there already.
		if _, _, err := get(ctx, c, http.MethodHead, base+"/manifests/manifest"); err != nil {
			return 0, 0, err
		}
	}
	type result struct {
		first time.Duration
		err   error
	}
	one := make(chan result, 1)
	go func() {
		_, first, err := get(ctx, clients[0], http.MethodGet, url)
		one <- result{first, err}
	}()
	time.Sleep(joinAfter)
	_, later, err := get(ctx, clients[1], http.MethodGet, url)
	earlier := <-one
	if err == nil {
		err = earlier.err
	}
	return earlier.first.Seconds() * 1000, later.Seconds() * 1000, err
}
