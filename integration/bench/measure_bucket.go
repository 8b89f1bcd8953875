package main

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"github.com/pullgate/pullgate/internal/bucket/buckettest"
	"github.com/pullgate/pullgate/internal/freeport"
)

const (
	// bucketLatency is how far away the bucket is, and bucketRate what one connection to it
	// carries.
	bucketLatency = 20 * time.Millisecond
	bucketRate    = 90_000_000
	uploadsTake   = time.Minute
)

// serveBucket is an S3 server, from which a client without gateway can pull as from a
// registry, too.
func serveBucket(manifest, address string) {
	s := buckettest.New()
	s.Hook(func(w http.ResponseWriter, r *http.Request, next http.HandlerFunc) {
		time.Sleep(bucketLatency)
		if what, ok := strings.CutPrefix(r.URL.Path, "/direct/"); ok {
			what = strings.Replace(what, "manifests/manifest", "manifests/"+manifest, 1)
			r.URL.Path = "/cache/v1/" + strings.NewReplacer("blobs/", "b/", "manifests/", "m/", ":", "/").Replace(what)
		}
		next(w, r)
	})
	l, err := net.Listen("tcp", address)
	if err != nil {
		fatal(err)
	}
	var sent atomic.Int64
	paced := func(c net.Conn) net.Conn {
		return &pacedConn{Conn: c, sent: &sent, pace: &pace{rate: bucketRate}, wait: bucketLatency}
	}
	fatal((&http.Server{Handler: s}).Serve(&wrappedListener{l, paced}))
}

// measureBucket sets an empty gateway, which reads an image from the bucket of its fleet,
// beside a client that reads it from there.
func measureBucket(ctx context.Context, b *bench) error {
	address, err := freeport.Address()
	if err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	server, err := b.start(ctx, "http://"+address+"/", self, "bucket", b.image.digest.String(), address)
	if err != nil {
		return err
	}
	defer server.stop()
	secret := filepath.Join(b.dir, "secret")
	if err := os.WriteFile(secret, []byte("secret"), 0o600); err != nil {
		return err
	}
	b.fleet = fmt.Sprintf("fleet http://%s/cache {\n\t\t\tcredentials bench {file.%s}\n\t\t}", address, secret)
	defer func() { b.fleet = "" }()
	if err := b.fillBucket(ctx, "http://"+address+"/direct"); err != nil {
		return err
	}
	var ours, direct cold
	for range b.rounds {
		if err := b.coldPull(ctx, &ours, fmt.Sprintf(path, "fast.test"), func() (*gateway, error) { return b.startGateway(ctx) }); err != nil {
			return err
		}
		p, err := b.image.pull(ctx, "http://"+address+"/direct")
		if err != nil {
			return err
		}
		direct.add(p, 0, originStats{})
	}
	b.table.add("image from a bucket 20 ms away, empty gateway: s", fmt.Sprintf("%.2f", median(ours.whole)),
		fmt.Sprintf("no gateway %.2f", median(direct.whole)), fmt.Sprintf("%.2f", median(ratios(ours.whole, direct.whole))))
	b.table.add("image from a bucket: upstream bytes", fmt.Sprintf("%.3f×", median(ours.bytes)), "the image", "")
	return nil
}

// fillBucket has one gateway pull the image, and waits until all of it is in the bucket.
func (b *bench) fillBucket(ctx context.Context, direct string) error {
	g, err := b.startGateway(ctx)
	if err != nil {
		return err
	}
	defer g.stop()
	if _, err := b.image.pull(ctx, "http://"+g.plain+fmt.Sprintf(path, "fast.test")); err != nil {
		return err
	}
	for began := time.Now(); ; time.Sleep(100 * time.Millisecond) {
		if _, err = b.image.pull(ctx, direct); err == nil || time.Since(began) > uploadsTake {
			break
		}
	}
	time.Sleep(time.Second) // the proofs are there a moment later
	return err
}
