package integrity

import (
	"context"
	"errors"
	"io/fs"
	"time"

	"github.com/pullgate/pullgate/storage/internal/life"
	"github.com/pullgate/pullgate/storage/internal/volume"
)

const (
	// scrubEvery is how long after one pass in the background ended the next
	// begins, and scrubDelay how long after the opening the first goes on.
	scrubEvery = 30 * 24 * time.Hour
	scrubDelay = time.Hour
	// scrubNote is how often the position of a pass is written down.
	scrubNote = time.Minute
)

// Keep verifies what is in doubt, or may not be recorded, and then, slowly
// and again and again, everything, until ctx is done.
func (j *Judge) Keep(ctx context.Context) {
	due := time.NewTimer(j.untilScrub())
	defer due.Stop()
	var again <-chan time.Time
	wait := j.Retry
	for try := true; ; {
		if try && j.endDoubt(ctx) {
			again, wait = nil, j.Retry
		} else if try {
			again, wait = time.After(wait), min(2*wait, scrubDelay)
		}
		try = false
		select {
		case <-again:
			try = true
		case <-j.recheck:
			if again == nil {
				again = time.After(wait)
			}
		case <-due.C:
			j.scrubOnce(ctx)
			due.Reset(j.untilScrub())
		case <-ctx.Done():
			return
		}
	}
}

// untilScrub returns how long it is until the next pass, whatever became of the clock.
func (j *Judge) untilScrub() time.Duration {
	return min(max(j.State.Scrubbed.Add(scrubEvery).Sub(j.Now()), scrubDelay), scrubEvery)
}

// endDoubt verifies what is in doubt, what is not recorded, if there may be such
// files, and what was condemned. It reports whether nothing of it is left.
func (j *Judge) endDoubt(ctx context.Context) bool {
	if unaccounted := j.State.Unaccounted; unaccounted || !j.State.Trusted.IsZero() {
		p := pass{Judge: j, pace: PaceOf(0), wanted: func(i volume.ID, info fs.FileInfo) bool {
			if j.Suspects.late(info) {
				return true
			}
			_, known := j.Records.Size(i)
			return unaccounted && !known
		}}
		if !j.passed(ctx, p.run(ctx, "")) {
			return false
		}
		j.Suspects.set(time.Time{}, time.Time{})
		// What could not be recorded, or moved away, is known by now.
		j.State.Note(func(st *volume.State) { st.Suspect, st.Trusted, st.Unaccounted = time.Time{}, time.Time{}, false })
		if p.done.Blobs > 0 {
			j.Log.Info("blobs in doubt are verified", "blobs", p.done.Blobs, "damaged", p.done.Damaged)
		}
	}
	p := pass{Judge: j, pace: PaceOf(0)}
	for _, i := range j.Suspects.Condemned() {
		if !j.passed(ctx, p.blob(ctx, i)) {
			return false
		}
	}
	return len(j.Suspects.Condemned()) == 0
}

// passed reports whether a pass in the background got to its end.
func (j *Judge) passed(ctx context.Context, err error) bool {
	if err != nil && ctx.Err() == nil && !errors.Is(err, life.ErrClosed) {
		j.Log.Error("verify blobs", "error", err)
	}
	return err == nil
}

// scrubOnce goes on with the pass in the background where it stopped.
func (j *Judge) scrubOnce(ctx context.Context) {
	noted := j.Now()
	p := pass{Judge: j, pace: PaceOf(0), at: func(shard string) {
		if now := j.Now(); now.Sub(noted) >= scrubNote {
			noted = now
			j.State.Note(func(st *volume.State) { st.Shard = shard })
		}
	}}
	err := p.run(ctx, j.State.Shard)
	switch {
	case err == nil:
		j.State.Note(func(st *volume.State) { st.Shard, st.Scrubbed = "", j.Now() })
		j.Log.Info("blobs are scrubbed", "blobs", p.done.Blobs, "bytes", p.done.Bytes, "damaged", p.done.Damaged)
	case ctx.Err() == nil && !errors.Is(err, life.ErrClosed):
		j.Log.Error("scrub blobs", "error", err)
	}
}
