package storage

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/pullgate/pullgate/internal/oci"
)

const (
	// What a part has got is written down after so many seconds or bytes, whichever
	// comes first, but hardly more often than saveLeast: so much may be lost of it, how
	// ever the process or the machine ends.
	saveEvery = 2 * time.Second
	saveBytes = 16 << 20
	saveLeast = 250 * time.Millisecond
)

// saving is what is written down of a part while it comes.
type saving struct {
	part *Part

	mu      sync.Mutex
	covered oci.Extents
	unsaved int64
	last    time.Time
	due     *time.Timer // of the next time; nil = nothing is to be saved
	over    bool        // for good
	failed  error       // what the disk said

	running sync.Mutex // held while it is saved
	sidecar sync.Mutex // held to write the sidecar
}

// wrote notes what was written to the part, and sees to it that it is saved.
func (v *saving) wrote(start, end int64) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.covered.Add(start, end)
	before := v.unsaved
	v.unsaved += end - start
	if v.due == nil && !v.over {
		v.due = time.AfterFunc(v.part.parts.save, v.save)
	}
	if before < saveBytes && v.unsaved >= saveBytes && v.due != nil && v.due.Stop() {
		v.due.Reset(saveLeast - min(time.Since(v.last), saveLeast))
	}
	return v.failed
}

// save brings what came so far to the disk, and writes down what that is.
func (v *saving) save() {
	p, s := v.part, v.part.parts
	end, err := s.life.Begin(context.Background())
	if err != nil {
		return
	}
	defer end()
	v.running.Lock()
	defer v.running.Unlock()
	v.mu.Lock()
	covered, over := slices.Clone(v.covered), v.over
	v.unsaved, v.due = 0, nil
	v.mu.Unlock()
	if over {
		return
	}
	err = p.file.Datasync()
	v.mu.Lock()
	// It may not be told again what could not be written: who writes or ends the part
	// hears of it.
	v.last, v.failed = time.Now(), err
	v.mu.Unlock()
	if err == nil {
		err = v.write(covered)
	}
	if err != nil {
		s.log.Debug("part is not saved", "digest", p.id.Digest(), "error", err)
	}
}

// write writes down what is covered, unless the part is sealed.
func (v *saving) write(covered oci.Extents) error {
	p := v.part
	v.sidecar.Lock()
	defer v.sidecar.Unlock()
	if p.gate.isSealed() {
		return nil
	}
	return p.parts.files.write(p.name, p.sidecar(covered, p.size, ""), false)
}

func (p *Part) sidecar(covered oci.Extents, size int64, boot string) sidecar {
	return sidecar{
		Digest: p.id.Digest(), Origin: p.origin, Size: size, Covered: covered, Suspended: p.parts.now().Unix(), Boot: boot,
	}
}

// sound reports whether the disk took what it was given.
func (v *saving) sound() bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.failed == nil
}

// end lets nothing more be saved, and waits for what is being saved. It returns what is
// covered, and what the disk said.
func (v *saving) end() (covered oci.Extents, err error) {
	v.mu.Lock()
	v.over = true
	if v.due != nil {
		v.due.Stop()
	}
	v.mu.Unlock()
	v.running.Lock()
	defer v.running.Unlock()
	return v.covered, v.failed
}

// keep writes down, where a part is left that nobody has ended, what the next process
// can go on from. That waits for no disk: it holds until the machine goes down.
func (p *Part) keep() error {
	covered, err := p.saving.end()
	if err != nil || len(covered) == 0 || p.ending.placed {
		return err
	}
	boot := p.parts.files.root.BootID()
	if boot == "" {
		if err := p.file.Datasync(); err != nil {
			return err
		}
	}
	return p.parts.files.write(p.name, p.sidecar(covered, p.size, boot), true)
}
