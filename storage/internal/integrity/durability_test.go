package integrity

import (
	"log/slog"
	"testing"
	"time"

	"github.com/pullgate/pullgate/storage/internal/volume"
)

func TestCheckpoint(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	clock := func() time.Time { return now }
	log := slog.New(slog.DiscardHandler)
	root, err := volume.Open(t.TempDir(), nil)
	if err != nil {
		t.Fatal(err)
	}
	d := &Durability{State: &volume.StateFile{Now: clock, Log: log}, Suspects: &Suspects{}, Log: log, Now: clock}
	for _, step := range []struct{ wait, age time.Duration }{
		{checkpointEvery, 0},
		{checkpointEvery - time.Second, checkpointEvery - time.Second},
		{time.Second, 0},
		{-100 * checkpointEvery, 0},
	} {
		now = now.Add(step.wait)
		dir, err := root.Open(".")
		if err != nil {
			t.Fatal(err)
		}
		d.Checkpoint(dir)
		if err := dir.Close(); err != nil {
			t.Error(err)
		}
		if age := now.Sub(d.State.Checkpoint); root.BootID() != "" && age != step.age {
			t.Errorf("after %v the checkpoint is %v old, want %v", step.wait, age, step.age)
		}
	}
	if err := root.Close(); err != nil {
		t.Error(err)
	}
}

// However far the clock goes back, the next scrub is not put off for longer than one
// takes to come round.
func TestScrubIsDue(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	clock := func() time.Time { return now }
	j := &Scrubber{Judge: New(Options{Now: clock, State: &volume.StateFile{Now: clock, Log: slog.New(slog.DiscardHandler)}})}
	j.State.Note(func(st *volume.State) { st.Scrubbed = now })
	now = now.Add(-100 * 24 * time.Hour)
	if wait := j.untilScrub(); wait > scrubEvery {
		t.Errorf("the next scrub is in %v", wait)
	}
}
