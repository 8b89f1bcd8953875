package janitor

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"sync/atomic"
	"time"
)

const (
	// cleanEvery is how often the bucket is cleaned, by whichever gateway, and claimedFor
	// how long the others leave that to one that has begun.
	cleanEvery = 6 * time.Hour
	claimedFor = time.Hour
	// KeepPurges is how long purges lie in the bucket at least.
	KeepPurges = 30 * 24 * time.Hour
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
	// maxReport is more than a report has.
	maxReport = 1 << 16
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

// Status is what a gateway knows of cleaning.
type Status struct {
	// MaxSize is the most bytes that blobs may have; 0 = any number. Report is what the last
	// cleaning has found, by whichever gateway; nil = none is known.
	MaxSize int64   `json:"max_size"`
	Report  *Report `json:"report,omitempty"`
	// Cleaning is what this gateway cleans at present; nil = nothing. Removed and
	// RemovedBytes are what it has removed.
	Cleaning     *Cleaning `json:"cleaning,omitempty"`
	Removed      int64     `json:"removed"`
	RemovedBytes int64     `json:"removed_bytes"`
	// CleanError is why this gateway could not clean the bucket, CleanFailed when that was,
	// unless it was cleaned since.
	CleanError  string    `json:"clean_error,omitempty"`
	CleanFailed time.Time `json:"clean_failed,omitzero"`
}

// Janitor cleans a bucket, by turns with those of other gateways.
type Janitor struct {
	bucket

	running atomic.Pointer[cleaning] // nil = none runs here
	last    atomic.Pointer[Report]   // nil = none is known
	failed  atomic.Pointer[failure]  // the last one; nil = there was none
	// removed are the objects that this gateway has removed, and bytes what they had.
	removed, bytes atomic.Int64
}

// failure is that a cleaning has failed.
type failure struct {
	at  time.Time
	err error
}

// Run cleans the bucket when that is due, until ctx ends.
func (j *Janitor) Run(ctx context.Context) {
	j.recall(ctx)
	// Not all gateways look at the same moment.
	wait := time.NewTimer(time.Duration(rand.Int64N(int64(cleanLook))))
	defer wait.Stop()
	for {
		select {
		case <-wait.C:
			j.once(ctx)
			wait.Reset(cleanLook)
		case <-ctx.Done():
			return
		}
	}
}

// recall reads the last report, so that it is known what there is.
func (j *Janitor) recall(ctx context.Context) {
	defer j.Survive("read what was cleaned")
	if _, err := j.due(ctx); err != nil && ctx.Err() == nil {
		j.Log.Debug("not read what was cleaned", "error", err)
	}
}

func (j *Janitor) once(ctx context.Context) {
	defer j.Survive("clean the bucket")
	if !j.Well() {
		return
	}
	cleaning, cancel := context.WithTimeout(ctx, cleanPatience)
	defer cancel()
	due, err := j.due(cleaning)
	if due && err == nil {
		if err = j.Clean(cleaning); err != nil {
			j.failed.Store(&failure{time.Now().UTC(), err})
		}
	}
	if err != nil && ctx.Err() == nil {
		j.Log.Warn("the bucket was not cleaned", "error", err)
	}
}

// due reads the last report, and reports whether it is too old.
func (j *Janitor) due(ctx context.Context) (bool, error) {
	raw, err := j.open(ctx, j.In.Report)
	if err != nil || raw == nil {
		return err == nil && j.Mine(), err
	}
	defer raw.Close()
	var last Report
	if json.NewDecoder(io.LimitReader(raw, maxReport)).Decode(&last) != nil {
		return j.Mine(), nil // it is written anew
	}
	since, patience := last.Begun, claimedFor
	if !last.Ended.IsZero() {
		j.last.Store(&last)
		since, patience = last.Ended, cleanEvery
	}
	if !j.Mine() {
		patience *= 2
	}
	return time.Since(since) >= patience, nil
}

// Clean cleans the bucket. Two gateways that do it at once do no harm.
func (j *Janitor) Clean(ctx context.Context) error {
	r := &cleaning{Janitor: j, limits: j.Limits(), uses: map[useID]usage{}, lists: map[string]string{}}
	r.report.Begun = time.Now().UTC()
	r.hour = hourOf(r.report.Begun)
	if err := r.write(ctx); err != nil {
		return err
	}
	j.running.Store(r)
	defer j.running.Store(nil)
	for _, step := range []struct {
		name string
		do   func(context.Context) error
	}{
		{"read uses", r.readUses},
		{"list proofs", r.listProofs},
		{"resolve pins", r.resolvePins},
		{"list blobs", r.listBlobs},
		{"list manifests", r.listManifests},
		{"remove blobs", r.removeBlobs},
		{"remove manifests", r.removeManifests},
		{"remove proofs", r.removeProofs},
		{"write uses", r.writeBase},
		{"remove old lists", r.removeLists},
	} {
		r.step.Store(&step.name)
		r.seen.Store(0)
		if err := step.do(ctx); err != nil {
			return fmt.Errorf("%s: %w", step.name, err)
		}
	}
	r.report.Ended = time.Now().UTC()
	j.last.Store(&r.report)
	if r.report.Removed > 0 {
		j.Log.Info("cleaned the bucket", "removed", r.report.Removed, "bytes", r.report.RemovedBytes, "left", r.report.Bytes)
	}
	return r.write(ctx)
}

// Status returns what is known.
func (j *Janitor) Status() Status {
	s := Status{MaxSize: j.Limits().MaxSize, Report: j.last.Load(), Removed: j.removed.Load(), RemovedBytes: j.bytes.Load()}
	if r := j.running.Load(); r != nil {
		s.Cleaning = r.progress()
	}
	if f := j.failed.Load(); f != nil && (s.Report == nil || s.Report.Ended.Before(f.at)) {
		s.CleanError, s.CleanFailed = f.err.Error(), f.at
	}
	return s
}

// write writes the report.
func (c *cleaning) write(ctx context.Context) error {
	raw, err := json.Marshal(c.report)
	if err != nil {
		return err
	}
	return c.put(ctx, c.In.Report, raw)
}

// progress returns how far it is.
func (c *cleaning) progress() *Cleaning {
	p := &Cleaning{Objects: c.seen.Load()}
	if step := c.step.Load(); step != nil {
		p.Step = *step
	}
	return p
}
