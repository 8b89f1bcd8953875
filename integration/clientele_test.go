//go:build integration

package integration

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// clientele is a mix of clients of two upstreams: a steady one, of which every pull
// has to succeed, and a faulty one, of which only what is answered has to be right.
type clientele struct {
	steady, faulty *recorder
	images, rough  *catalog // of the two upstreams
	seed           uint64
	// hot is how many images all want again and again.
	hot int

	// round is after how many images the first is next again; 0 = never.
	round int

	newest atomic.Int64 // images that were wanted so far
	all    sync.WaitGroup
	cancel context.CancelFunc
}

// clients are what is done again and again, each by a client of its own.
func (c *clientele) clients() []func(context.Context, *rand.Rand) {
	return []func(context.Context, *rand.Rand){
		c.cold, c.cold, c.warm, c.warm, c.warm, c.crowd, c.crowd, c.ranges, c.ranges,
		c.heads, c.tags, c.leaver, c.leaver, c.slow, c.slow, c.roughly, c.roughly, c.roughly, c.roughly,
	}
}

// begin starts the clients. They stop by end, or when ctx is done.
func (c *clientele) begin(ctx context.Context) {
	ctx, c.cancel = context.WithCancel(ctx)
	for n, client := range c.clients() {
		random := rand.New(rand.NewPCG(c.seed, uint64(n)))
		c.all.Go(func() {
			for ctx.Err() == nil {
				client(ctx, random)
				select {
				case <-time.After(time.Duration(random.Int64N(int64(100 * time.Millisecond)))):
				case <-ctx.Done():
				}
			}
		})
	}
}

// end stops the clients and closes their connections.
func (c *clientele) end() {
	c.cancel()
	c.all.Wait()
	c.steady.client.CloseIdleConnections()
	c.faulty.client.CloseIdleConnections()
}

// want fails the test unless an answer of the steady upstream is right.
func (c *clientele) want(ctx context.Context, doing string, a answer) {
	if !a.right() && ctx.Err() == nil {
		c.steady.fail("%s: %s: %v", doing, a.outcome, a.err)
	}
}

// turn is the image that comes n-th.
func (c *clientele) turn(n int64) int {
	if c.round > 0 {
		n %= int64(c.round)
	}
	return int(n)
}

// cold pulls an image that nobody has wanted yet, or not for long.
func (c *clientele) cold(ctx context.Context, _ *rand.Rand) {
	c.want(ctx, "cold pull", c.steady.pull(ctx, c.images.image(c.hot+c.turn(c.newest.Add(1)))))
}

// warm pulls an image that all want.
func (c *clientele) warm(ctx context.Context, random *rand.Rand) {
	c.want(ctx, "warm pull", c.steady.pull(ctx, c.images.image(random.IntN(c.hot))))
}

// crowd pulls what others are about to pull.
func (c *clientele) crowd(ctx context.Context, _ *rand.Rand) {
	c.want(ctx, "pull in a crowd", c.steady.pull(ctx, c.images.image(c.hot+c.turn(c.newest.Load()))))
}

// ranges asks for parts of layers, known and unknown ones.
func (c *clientele) ranges(ctx context.Context, random *rand.Rand) {
	layer := c.some(random)
	start := random.Int64N(layer.size)
	c.want(ctx, "range", c.steady.getRange(ctx, layer, start, start+1+random.Int64N(layer.size-start)))
}

func (c *clientele) heads(ctx context.Context, random *rand.Rand) {
	image := c.images.image(random.IntN(c.hot + c.turn(c.newest.Load()) + 2))
	c.want(ctx, "HEAD", c.steady.head(ctx, image[random.IntN(len(image))]))
}

// tags lists the tags of a repository.
func (c *clientele) tags(ctx context.Context, random *rand.Rand) {
	n := random.IntN(c.hot)
	c.images.image(n)
	url := fmt.Sprintf("%s/v2/proxy-%s/%s/tags/list", c.steady.base, c.images.upstream, c.images.repository(n))
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		c.steady.fail("tags: %v", err)
		return
	}
	response, err := c.steady.client.Do(request)
	if err == nil {
		defer response.Body.Close()
		var list struct{ Tags []string }
		if err = json.NewDecoder(response.Body).Decode(&list); err == nil && !slices.Equal(list.Tags, []string{imageTag}) {
			err = fmt.Errorf("%s %q", response.Status, list.Tags)
		}
	}
	if err != nil && ctx.Err() == nil {
		c.steady.fail("tags: %v", err)
	}
}

// leaver leaves in the middle of a layer.
func (c *clientele) leaver(ctx context.Context, random *rand.Rand) {
	ctx, leave := context.WithCancel(ctx)
	defer leave()
	c.read(ctx, c.some(random), func(body io.Reader, size int64) error {
		_, err := io.CopyN(io.Discard, body, random.Int64N(size))
		return err
	})
}

// slow reads a layer at 256 KiB a second, for ten seconds at most.
func (c *clientele) slow(ctx context.Context, random *rand.Rand) {
	layer := c.some(random)
	until := time.Now().Add(10 * time.Second)
	c.read(ctx, layer, func(body io.Reader, _ int64) error {
		for time.Now().Before(until) {
			if _, err := io.CopyN(io.Discard, body, 64<<10); err != nil {
				if err == io.EOF {
					err = nil
				}
				return err
			}
			select {
			case <-time.After(250 * time.Millisecond):
			case <-ctx.Done():
				return nil
			}
		}
		return nil
	})
}

// read opens a layer of the steady upstream for one who does not want all of it.
func (c *clientele) read(ctx context.Context, o object, do func(body io.Reader, size int64) error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, c.steady.base+o.path, nil)
	if err != nil {
		c.steady.fail("read: %v", err)
		return
	}
	response, err := c.steady.client.Do(request)
	if err == nil {
		defer response.Body.Close()
		if response.StatusCode != http.StatusOK {
			err = fmt.Errorf("%s", response.Status)
		} else {
			err = do(response.Body, o.size)
		}
	}
	if err != nil && ctx.Err() == nil {
		c.steady.fail("read a part of %s: %v", o.path, err)
	}
}

// roughly pulls from the faulty upstream, what is known there and what is not.
func (c *clientele) roughly(ctx context.Context, random *rand.Rand) {
	image := c.turn(c.newest.Load()) / 4
	if random.IntN(2) == 0 {
		image = random.IntN(image + 1)
	}
	c.faulty.pull(ctx, c.rough.image(image))
}

// some returns a layer: of an image that all want, or of one of the newest.
func (c *clientele) some(random *rand.Rand) object {
	n := random.IntN(c.hot)
	if random.IntN(2) == 0 {
		n = c.hot + c.turn(c.newest.Load()) + random.IntN(2)
	}
	image := c.images.image(n)
	return image[len(image)-1]
}
