package fleet

import (
	"context"
	"errors"
	"io/fs"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"github.com/pullgate/pullgate/internal/bucket"
)

const (
	// cleanEvery is how often the bucket is cleaned, by whichever gateway, and claimedFor
	// how long the others leave that to one that has begun.
	cleanEvery = 6 * time.Hour
	claimedFor = time.Hour
	// cleanLook is how often it is looked at whether that is due.
	cleanLook = 10 * time.Minute
	// cleanPatience bounds one cleaning.
	cleanPatience = 5 * time.Hour
	// unnamedFor is how long is kept what no proof names, or what a proof names that is not
	// there: it may be on its way.
	unnamedFor = 24 * time.Hour
	// carefulShare is the part of what there is that one cleaning removes for any reason but
	// its size: a list that is not whole must not cost everything. carefulLeast may go.
	carefulShare = 4
	carefulLeast = 100
)

// Limits say how much is kept in the bucket. The zero value keeps everything that belongs
// to a repository.
type Limits struct {
	// MaxSize is the most bytes that blobs may have; 0 = any number. What nobody used for
	// the longest goes first.
	MaxSize int64
	// MaxUnused is how long is kept what nobody uses; 0 = for ever.
	MaxUnused time.Duration
}

// Report is what the last cleaning of a bucket has found and done, whichever gateway did it.
type Report struct {
	Begun time.Time `json:"begun"`
	Ended time.Time `json:"ended,omitzero"`
	// What is left.
	Blobs     int64 `json:"blobs"`
	Bytes     int64 `json:"bytes"`
	Manifests int64 `json:"manifests"`
	Proofs    int64 `json:"proofs"`
	// PinnedBytes are those of blobs that are pinned.
	PinnedBytes int64 `json:"pinned_bytes"`
	// Removed are the blobs and manifests that went, and RemovedBytes what they had.
	Removed      int64 `json:"removed"`
	RemovedBytes int64 `json:"removed_bytes"`
	// Over says that what is pinned and in use exceeds the limit by itself.
	Over bool `json:"over,omitempty"`
}

// Cleaning is how far a cleaning is.
type Cleaning struct {
	// Step is what it does, and Objects how many objects it has seen in that step.
	Step    string `json:"step"`
	Objects int64  `json:"objects"`
}

// cleaner is what a gateway knows of cleaning.
type cleaner struct {
	depot *depot
	fleet *Fleet

	running atomic.Pointer[cleaning] // nil = none runs here
	last    atomic.Pointer[Report]   // nil = none is known
	// removed are the objects that this gateway has removed, and bytes what they had.
	removed, bytes atomic.Int64
}

// run cleans the bucket when that is due.
func (c *cleaner) run() {
	// Not all gateways look at the same moment.
	wait := time.NewTimer(time.Duration(rand.Int64N(int64(cleanLook))))
	defer wait.Stop()
	for {
		select {
		case <-wait.C:
			c.once()
			wait.Reset(cleanLook)
		case <-c.depot.ctx.Done():
			return
		}
	}
}

func (c *cleaner) once() {
	d := c.depot
	defer c.fleet.survive("clean the bucket")
	if d.reads.open() != nil || d.writes.open() != nil {
		return
	}
	ctx, cancel := context.WithTimeout(d.ctx, cleanPatience)
	defer cancel()
	due, err := c.due(ctx)
	if due && err == nil {
		err = c.clean(ctx)
	}
	if err != nil && d.ctx.Err() == nil {
		d.log.Warn("the bucket was not cleaned", "error", err)
	}
}

// due reads the last report, and reports whether it is too old.
func (c *cleaner) due(ctx context.Context) (bool, error) {
	var last Report
	etag, err := writer{c.depot, c.fleet}.read(ctx, reportAt, &last)
	if err != nil {
		return false, err
	}
	if etag == "" {
		return true, nil
	}
	now := time.Now()
	if !last.Ended.IsZero() {
		c.last.Store(&last)
		return now.Sub(last.Ended) >= cleanEvery, nil
	}
	return now.Sub(last.Begun) >= claimedFor, nil
}

// clean cleans the bucket. Two gateways that do it at once do no harm.
func (c *cleaner) clean(ctx context.Context) error {
	r := &cleaning{fleet: c.fleet, depot: c.depot, limits: *c.fleet.limits.Load(), uses: map[useID]usage{}, lists: map[string]string{}}
	r.report.Begun = time.Now().UTC()
	r.hour = hourOf(r.report.Begun)
	if err := r.write(ctx); err != nil {
		return err
	}
	c.running.Store(r)
	defer c.running.Store(nil)
	for _, step := range []struct {
		name string
		do   func(context.Context) error
	}{
		{"read uses", r.readUses}, {"list proofs", r.listProofs}, {"resolve pins", r.resolvePins}, {"list blobs", r.listBlobs},
		{"list manifests", r.listManifests}, {"remove blobs", r.removeBlobs}, {"remove manifests", r.removeManifests},
		{"remove proofs", r.removeProofs}, {"write uses", r.writeBase}, {"remove old lists", r.removeLists},
	} {
		r.step.Store(&step.name)
		r.seen.Store(0)
		if err := step.do(ctx); err != nil {
			return err
		}
	}
	r.report.Ended = time.Now().UTC()
	c.last.Store(&r.report)
	if r.report.Removed > 0 {
		c.depot.log.Info("cleaned the bucket", "removed", r.report.Removed, "bytes", r.report.RemovedBytes, "left", r.report.Bytes)
	}
	return r.write(ctx)
}

// write writes the report.
func (c *cleaning) write(ctx context.Context) error {
	return writer{c.depot, c.fleet}.write(ctx, reportAt, c.report, bucket.PutOptions{})
}

// progress returns how far it is.
func (c *cleaning) progress() *Cleaning {
	p := &Cleaning{Objects: c.seen.Load()}
	if step := c.step.Load(); step != nil {
		p.Step = *step
	}
	return p
}

// tell adds to a status what is known.
func (c *cleaner) tell(s *Status) {
	s.Report, s.Removed, s.RemovedBytes = c.last.Load(), c.removed.Load(), c.bytes.Load()
	if r := c.running.Load(); r != nil {
		s.Cleaning = r.progress()
	}
}

// gone returns nil for an object that is not there.
func gone(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
