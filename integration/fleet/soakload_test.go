//go:build fleet

package fleet

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/internal/registrytest"
)

// load starts the clients.
func (k *soak) load() (stop func()) {
	ctx, cancel := context.WithCancel(k.t.Context())
	var all sync.WaitGroup
	for n, do := range []func(context.Context, *rand.Rand){
		k.warmPull, k.warmPull, k.warmPull, k.coldPull, k.coldPull, k.coldPull, k.part, k.leave, k.leave,
	} {
		random := rand.New(rand.NewPCG(k.seed, uint64(n)))
		all.Go(func() {
			for ctx.Err() == nil {
				do(ctx, random)
				select {
				case <-time.After(time.Duration(random.IntN(50)) * time.Millisecond):
				case <-ctx.Done():
				}
			}
		})
	}
	return func() {
		cancel()
		all.Wait()
	}
}

// now returns what is away.
func (k *soak) now() string {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.fault
}

func (k *soak) some(random *rand.Rand) *soakMember { return k.members[random.IntN(len(k.members))] }

// warmPull pulls what the bucket has: any gateway that lives has to serve that.
func (k *soak) warmPull(ctx context.Context, random *rand.Rand) {
	k.pull(ctx, "warm", k.some(random), k.hot[random.IntN(len(k.hot))])
}

// coldPull pulls what the gateways may have, or not.
func (k *soak) coldPull(ctx context.Context, random *rand.Rand) {
	k.pull(ctx, "cold", k.some(random), k.cold[random.IntN(len(k.cold))])
}

func (k *soak) pull(ctx context.Context, kind string, m *soakMember, image registrytest.Image) {
	turns, began, since := m.turns.Load(), time.Now(), k.now()
	what, err := k.fetch(ctx, m, image)
	if ctx.Err() != nil {
		return
	}
	outcome := kind
	away := turns%2 == 1 || m.turns.Load() != turns
	if away {
		outcome += ", gateway away"
	}
	switch {
	case err == nil:
		outcome += ": right"
	case kind == "warm" && !away:
		k.t.Errorf("warm pull of a gateway that lives: %s: %v, after %v", what, err, time.Since(began))
		fallthrough
	default:
		outcome += ": failed, " + since
		if now := k.now(); now != since {
			outcome += " and " + now
		}
		if answer, ok := errors.AsType[*refusal](err); ok {
			outcome += ": " + answer.head
		}
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.outcomes[outcome]++
}

// fetch pulls the first platform of an image, and returns what it failed at.
func (k *soak) fetch(ctx context.Context, m *soakMember, image registrytest.Image) (what string, err error) {
	p := image.Platforms[0]
	if err := k.get(ctx, m, image, "/manifests/"+image.Tag, image.Index.Digest); err != nil {
		return "tag", err
	}
	if err := k.get(ctx, m, image, "/manifests/"+p.Manifest.Digest.String(), p.Manifest.Digest); err != nil {
		return "manifest", err
	}
	for _, d := range append([]oci.Descriptor{p.Config}, p.Layers...) {
		if err := k.get(ctx, m, image, "/blobs/"+d.Digest.String(), d.Digest); err != nil {
			return "blob " + d.Digest.String(), err
		}
	}
	return "", nil
}

// get gets something. Whatever ends well has to be right.
func (k *soak) get(ctx context.Context, m *soakMember, image registrytest.Image, path string, want digest.Digest) error {
	body, err := k.ask(ctx, m, image, path, "")
	if err == nil && !oci.Verify(want, body) {
		k.t.Errorf("%s%s of %s: %d wrong bytes", image.Repository, path, m.host, len(body))
	}
	return err
}

func (k *soak) ask(ctx context.Context, m *soakMember, image registrytest.Image, path, part string) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+m.host+"/v2/proxy-docker.io/"+image.Repository+path, nil)
	if err != nil {
		return nil, err
	}
	if part != "" {
		request.Header.Set("Range", "bytes="+part)
	}
	response, err := k.client.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode/100 != 2 {
		err = &refusal{response.Status + ", " + response.Header.Get("Cache-Status"), body}
	}
	return body, err
}

// refusal is an answer that is none.
type refusal struct {
	head string
	body []byte
}

// Error implements error.
func (r *refusal) Error() string { return fmt.Sprintf("%s: %.300s", r.head, r.body) }

// part gets a part of a layer, which has to be that of the whole.
func (k *soak) part(ctx context.Context, random *rand.Rand) {
	n := random.IntN(len(k.cold))
	image := k.cold[n]
	layer := image.Platforms[0].Layers[2]
	start := random.Int64N(layer.Size)
	end := start + 1 + random.Int64N(layer.Size-start)
	m := k.some(random)
	got, err := k.ask(ctx, m, image, "/blobs/"+layer.Digest.String(), fmt.Sprintf("%d-%d", start, end-1))
	if err != nil {
		return
	}
	want := registrytest.Random(uint64(n)<<16+2, int(layer.Size))[start:end]
	if string(got) != string(want) {
		k.t.Errorf("bytes %d to %d of %s of %s: %d wrong bytes", start, end, layer.Digest, m.host, len(got))
	}
}

// leave leaves in the middle of a layer.
func (k *soak) leave(ctx context.Context, random *rand.Rand) {
	ctx, cancel := context.WithTimeout(ctx, time.Duration(random.IntN(20))*time.Millisecond)
	defer cancel()
	image := k.cold[random.IntN(len(k.cold))]
	layer := image.Platforms[0].Layers[2].Digest
	if err := k.get(ctx, k.some(random), image, "/blobs/"+layer.String(), layer); errors.Is(err, context.DeadlineExceeded) {
		k.mu.Lock()
		defer k.mu.Unlock()
		k.outcomes["left"]++
	}
}
