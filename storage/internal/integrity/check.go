package integrity

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"sync"
	"time"

	"github.com/pullgate/pullgate/storage/internal/life"
	"github.com/pullgate/pullgate/storage/internal/volume"
)

const (
	// checkWorkers is how many directories of blobs are looked at together.
	checkWorkers = 4
	// progressEvery is how often progress is reported.
	progressEvery = 100 * time.Millisecond
)

// CheckOptions say how thorough a check is and what it does about what it finds.
// The zero value looks at everything but the bytes of blobs, and changes nothing.
type CheckOptions struct {
	// Verify reads every blob and compares it with its digest. Without it, a blob
	// is compared with its record only.
	Verify bool
	// Rate is the most bytes of blobs to read per second; 0 = no limit.
	Rate int64
	// Repair mends what is found, as each kind of finding says.
	Repair bool
	// Progress, if not nil, is called up to ten times a second, and at the end,
	// by one goroutine at a time. The check waits for it.
	Progress func(CheckProgress)
}

// CheckProgress is how far a check of the blobs got.
type CheckProgress struct {
	Blobs int64 `json:"blobs"`
	// Bytes are those of the blobs that are done, and what was read of others.
	Bytes int64 `json:"bytes"`
	// TotalBlobs and TotalBytes are what there is to do, as far as it is known.
	TotalBlobs int64 `json:"total_blobs"`
	TotalBytes int64 `json:"total_bytes"`
}

// Check is a check that runs: it collects what is found, and how far that got. Its
// methods are safe for concurrent use.
type Check struct {
	CheckOptions

	root volume.Files
	life *life.Life
	log  *slog.Logger

	mu     sync.Mutex
	report Report
	done   CheckProgress
	last   time.Time // when the progress was reported
}

// Others are the checks of what is not blobs.
type Others struct {
	// Index reports whether what the index does not know is not known.
	Index func(context.Context, *Check) (readable bool, err error)
	// Tables checks what the index knows beside the blobs.
	Tables func(context.Context, *Check) error
	// Files check what lies beside blobs and index, one after the other.
	Files []func(context.Context, *Check) error
}

// Check looks for what is not as it should be, and mends it if told to. It ends with
// ctx and with the store, and returns what it has found so far.
func (j *Judge) Check(ctx context.Context, o CheckOptions, others Others) (Report, error) {
	c := &Check{CheckOptions: o, root: j.Root, life: j.Life, log: j.Log}
	c.report.Verify, c.report.Repair = o.Verify, o.Repair
	err := j.Life.Bound(ctx, func(ctx context.Context) error { return j.check(ctx, c, others) })
	c.progress(true)
	c.report.sort()
	return c.report, err
}

func (j *Judge) check(ctx context.Context, c *Check, others Others) error {
	indexed, err := others.Index(ctx, c)
	if err != nil {
		return err
	}
	rate := c.Rate
	if rate <= 0 {
		rate = -1
	}
	blobs := &blobCheck{Judge: j, Check: c, pace: PaceOf(rate), indexed: indexed}
	if err := blobs.run(ctx); err != nil {
		return err
	}
	if indexed {
		if err := others.Tables(ctx, c); err != nil {
			return err
		}
	}
	for _, one := range append(others.Files, j.checkQuarantine) {
		if err := j.Life.Within(context.Background(), func() error { return one(ctx, c) }); err != nil {
			return err
		}
	}
	return nil
}

// checkQuarantine counts what was taken out of use.
func (j *Judge) checkQuarantine(_ context.Context, c *Check) error {
	return j.quarantine.files(func(info fs.FileInfo) {
		c.Note(func(r *Report) {
			r.Quarantined++
			r.QuarantinedBytes += info.Size()
		})
	})
}

// Note adds to the report.
func (c *Check) Note(change func(*Report)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	change(&c.report)
}

// Found reports a finding, and mends it by calling mend, if that is wanted. done
// says what mend does; it returns ErrInOrder if there is nothing to mend any more,
// and then nothing was found either.
func (c *Check) Found(f Finding, done string, mend func() error) {
	if c.Repair {
		switch err := mend(); {
		case err == nil:
			f.Done = done
		case errors.Is(err, ErrInOrder):
			return
		default:
			f.Reason += "; not mended: " + err.Error()
			c.log.Error("finding of a check not mended", "kind", f.Kind, "name", f.Name, "digest", f.Digest, "error", err)
		}
	}
	c.Note(func(r *Report) { r.Add(f) })
}

// Stray reports a file that is not one of the store.
func (c *Check) Stray(name, reason string) {
	c.Found(Finding{Kind: FindingStray, Name: name, Reason: reason}, "removed", func() error {
		err := c.root.Remove(name)
		if errors.Is(err, fs.ErrNotExist) {
			return ErrInOrder
		}
		return err
	})
}

// ErrInOrder means that what looked like a finding is none (any more).
var ErrInOrder = errors.New("in order")

// advance counts what is done.
func (c *Check) advance(blobs, bytes int64) {
	c.mu.Lock()
	c.done.Blobs += blobs
	c.done.Bytes += bytes
	c.done.TotalBlobs = max(c.done.TotalBlobs, c.done.Blobs)
	c.done.TotalBytes = max(c.done.TotalBytes, c.done.Bytes)
	c.mu.Unlock()
	c.progress(false)
}

// expect counts what there is to do.
func (c *Check) expect(blobs, bytes int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.done.TotalBlobs += blobs
	c.done.TotalBytes += bytes
}

// progress reports the progress, if it is time to.
func (c *Check) progress(always bool) {
	if c.Progress == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if now := time.Now(); always || now.Sub(c.last) >= progressEvery {
		c.last = now
		c.Progress(c.done)
	}
}
