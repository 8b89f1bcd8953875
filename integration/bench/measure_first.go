package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/pullgate/pullgate/internal/oci"
)

// joinAfter is how long a download lasts until another client asks for the blob. It
// takes a second.
const joinAfter = 300 * time.Millisecond

// waits is how long clients waited for the first byte of a blob, in milliseconds.
type waits struct {
	first   float64 // the one that came first
	after   float64 // of that, what passed after the upstream had sent the byte
	joining float64 // another one that came later
}

func measureFirst(ctx context.Context, b *bench) error {
	var ours, direct struct{ first, after, joining []float64 }
	for range b.rounds {
		g, err := b.startGateway(ctx)
		if err != nil {
			return err
		}
		for _, blob := range b.image.blobs[1:] {
			w, err := b.firstBytes(ctx, "http://"+g.plain+fmt.Sprintf(path, "single.test"), blob)
			if err != nil {
				g.stop()
				return err
			}
			ours.first, ours.after, ours.joining = append(ours.first, w.first), append(ours.after, w.after), append(ours.joining, w.joining)
			if w, err = b.firstBytes(ctx, "http://"+b.origin.slow+"/v2/bench/image", blob); err != nil {
				g.stop()
				return err
			}
			direct.first, direct.after = append(direct.first, w.first), append(direct.after, w.after)
		}
		g.stop()
	}
	const what = "first byte of a blob, 30 ms upstream, ms"
	b.table.add(what, fmt.Sprintf("%.1f", median(ours.first)), fmt.Sprintf("no gateway %.1f", median(direct.first)),
		fmt.Sprintf("%+.1f", median(ours.first)-median(direct.first)))
	b.table.add("first byte of a blob, after the upstream's, ms", fmt.Sprintf("%.2f", median(ours.after)), fmt.Sprintf("no gateway %.2f", median(direct.after)),
		fmt.Sprintf("%+.2f", median(ours.after)-median(direct.after)))
	b.table.add("first byte of a blob that is under way, ms", fmt.Sprintf("%.1f", median(ours.joining)), "", "")
	return nil
}

// firstBytes has one client, and another one that comes later, get a blob.
func (b *bench) firstBytes(ctx context.Context, base string, blob oci.Descriptor) (w waits, err error) {
	clients := [2]*http.Client{newClient(false), newClient(false)}
	url := base + "/blobs/" + blob.Digest.String()
	for _, c := range clients {
		defer c.CloseIdleConnections()
		// The connections are there already.
		if _, _, err := get(ctx, c, http.MethodHead, base+"/manifests/manifest"); err != nil {
			return w, err
		}
	}
	if _, err := b.origin.stats(); err != nil { // forgets what others have got
		return w, err
	}
	type result struct {
		asked, first time.Time
		err          error
	}
	one := make(chan result, 1)
	go func() {
		asked := time.Now()
		_, first, err := get(ctx, clients[0], http.MethodGet, url)
		one <- result{asked, first, err}
	}()
	time.Sleep(joinAfter)
	asked := time.Now()
	_, first, err := get(ctx, clients[1], http.MethodGet, url)
	w.joining = milliseconds(first.Sub(asked))
	earlier := <-one
	w.first = milliseconds(earlier.first.Sub(earlier.asked))
	s, statsErr := b.origin.stats()
	if err = errors.Join(err, earlier.err, statsErr); err != nil {
		return w, err
	}
	sent, ok := s.First[blob.Digest.Encoded()]
	if !ok {
		return w, fmt.Errorf("the upstream has not sent the first byte of %s", blob.Digest)
	}
	w.after = milliseconds(time.Duration(earlier.first.UnixNano() - sent))
	return w, nil
}

func milliseconds(d time.Duration) float64 { return d.Seconds() * 1000 }
