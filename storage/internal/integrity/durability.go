package integrity

import (
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/pullgate/pullgate/storage/internal/volume"
)

const (
	// checkpointEvery is how often everything is brought to the disk, so that a
	// power failure casts doubt on little.
	checkpointEvery = time.Hour
	// suspectMargin is how much more than what the checkpoint does not cover is
	// in doubt: the times of files are not ours.
	suspectMargin = time.Hour
	// trustMargin is how much of what came after the opening is in doubt, too.
	trustMargin = time.Minute
)

// Durability is how much of what was written is known to have got to the disk.
type Durability struct {
	State    *volume.StateFile
	Suspects *Suspects
	Log      *slog.Logger
	Now      func() time.Time

	// unsynced are the blobs whose bytes may not have got to the disk yet, and
	// inherited is the end of an earlier run that left such ones; see Checkpoint.
	unsynced  atomic.Int64
	inherited atomic.Bool
}

// Begin records in the state that the store is open. If the machine went down since it
// was open last, what was written then is in doubt.
func (d *Durability) Begin(boot string) {
	d.State.Note(func(st *volume.State) {
		down := st.Sequence > 0 && !st.Clean && (boot == "" || boot != st.Boot)
		if down {
			if from := st.Checkpoint.Add(-suspectMargin); st.Checkpoint.IsZero() {
				st.Suspect = time.Unix(1, 0)
			} else if st.Trusted.IsZero() || from.Before(st.Suspect) {
				st.Suspect = from
			}
			st.Trusted = d.Now().Add(trustMargin)
		}
		// An eviction that was cut short leaves a file without a record. Where the
		// state was lost, nobody knows.
		st.Unaccounted = st.Unaccounted || !st.Clean
		d.inherited.Store(st.Sequence > 0 && !st.Clean && !down)
		st.Clean, st.Boot = false, boot
	})
	d.Suspects.set(d.State.Suspect, d.State.Trusted)
	if !d.State.Trusted.IsZero() {
		d.Log.Warn("machine went down while the store was open: its newest blobs are verified before they are used",
			"from", d.State.Suspect)
	}
}

// Placed notes that a blob is there whose bytes may not have got to the disk, and
// Synced that they have, or that the blob is gone.
func (d *Durability) Placed() { d.unsynced.Add(1) }

// Synced ends what Placed began.
func (d *Durability) Synced() { d.unsynced.Add(-1) }

// Inherited reports whether an earlier run may have left what is not on the disk.
func (d *Durability) Inherited() bool { return d.inherited.Load() }

// Certain reports whether all blobs are on the disk, so that the next run need not
// doubt any.
func (d *Durability) Certain() bool { return d.unsynced.Load() == 0 && !d.inherited.Load() }

// Checkpoint brings everything on the file system of a file to the disk from time to
// time, and what a run left that was killed at once.
func (d *Durability) Checkpoint(on volume.File) {
	now := d.Now()
	if since := now.Sub(d.State.Checkpoint); since >= 0 && since < checkpointEvery && !d.inherited.Load() {
		return
	}
	done, err := on.SyncVolume()
	if err != nil {
		d.Log.Warn("checkpoint", "error", err)
		return
	}
	d.inherited.Store(false)
	if done {
		d.State.Note(func(st *volume.State) { st.Checkpoint = now })
	}
}
