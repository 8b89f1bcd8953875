package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"

	"github.com/pullgate/pullgate/internal/oci"
)

// clientDownloads is how many blobs a client asks for at a time: containerd's
// and Docker's default.
const clientDownloads = 3

// pulled is how one client's pull went.
type pulled struct{ manifest, whole, firstByte time.Duration }

// pull pulls the image the way that clients do. base is what comes before
// /manifests and /blobs.
func (i *image) pull(ctx context.Context, base string) (p pulled, err error) {
	client := newDroppingClient()
	defer client.CloseIdleConnections()
	began := time.Now()
	if _, _, err := get(ctx, client, http.MethodHead, base+"/manifests/manifest"); err != nil {
		return p, err
	}
	if n, _, err := get(ctx, client, http.MethodGet, base+"/manifests/"+i.digest.String()); err != nil || n != int64(len(i.manifest)) {
		return p, fmt.Errorf("manifest: %d bytes: %w", n, err)
	}
	p.manifest = time.Since(began)
	todo := make(chan oci.Descriptor, len(i.blobs))
	for _, b := range i.blobs {
		todo <- b
	}
	close(todo)
	var mu sync.Mutex
	var wait sync.WaitGroup
	for range clientDownloads {
		wait.Go(func() {
			for b := range todo {
				asked := time.Now()
				n, first, e := get(ctx, client, http.MethodGet, base+"/blobs/"+b.Digest.String())
				if e == nil && n != b.Size {
					e = fmt.Errorf("blob %s: %d bytes of %d", b.Digest, n, b.Size)
				}
				mu.Lock()
				err = errors.Join(err, e)
				p.firstByte = max(p.firstByte, first.Sub(asked))
				mu.Unlock()
			}
		})
	}
	wait.Wait()
	p.whole = time.Since(began)
	return p, err
}

var discards = sync.Pool{New: func() any { return new([256 << 10]byte) }}

// get makes a request, and returns the length of the body, and when its first
// byte came.
func get(ctx context.Context, client *http.Client, method, url string) (n int64, first time.Time, err error) {
	request, err := http.NewRequestWithContext(ctx, method, url, nil)
	if err != nil {
		return 0, first, err
	}
	request.Header.Set("Accept", manifestType)
	answer, err := client.Do(request)
	if err != nil {
		return 0, first, err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(answer.Body, 1000))
		return 0, first, fmt.Errorf("%s %s: %s: %s", method, url, answer.Status, text)
	}
	buffer := discards.Get().(*[256 << 10]byte)
	defer discards.Put(buffer)
	for {
		k, err := answer.Body.Read(buffer[:])
		if n == 0 && k > 0 {
			first = time.Now()
		}
		n += int64(k)
		if err == io.EOF {
			return n, first, nil
		}
		if err != nil {
			return n, first, err
		}
	}
}
