package index

import (
	"errors"
	"fmt"
	"io/fs"
	"sync/atomic"

	"github.com/pullgate/pullgate/storage/internal/volume"
)

// ErrUnbacked is an index of which the files lack pages that the process has.
var ErrUnbacked = errors.New("the disk had no room for all that was written to it")

// health is what is wrong with an index. Its methods are safe for concurrent use, except
// RecordDamage.
type health struct {
	options Options

	damage  atomic.Pointer[error] // the first error that reading the index met
	lost    atomic.Bool           // nothing more may be written
	faults  atomic.Uint64         // see NoteFaults
	trouble atomic.Pointer[string]
}

// NoteFaults finds out whether the disk had no room for a page of a file that
// Badger has mapped. The process has it, and goes on with it; so the next snapshot
// holds everything, and the files are begun anew by the next opening.
func (h *health) NoteFaults() {
	if n := h.options.Unbacked(); n != h.faults.Swap(n) {
		h.NoteDamage(ErrUnbacked)
	}
}

// NoteDamage remembers that something in the index could not be read. It goes on
// being used, since most of it can be; the next opening begins it anew.
func (h *health) NoteDamage(err error) {
	if err == nil || errors.Is(err, fs.ErrNotExist) || errors.Is(err, ErrNoIndex) || !damaged(err) {
		return
	}
	if h.damage.CompareAndSwap(nil, &err) {
		h.options.Log.Error("index is damaged and will be begun anew at the next start", "error", err)
		h.SetTrouble(fmt.Errorf("index is damaged: %w", err))
		h.options.Damaged()
	}
}

// RecordDamage writes down that the index is damaged.
func (h *health) RecordDamage() {
	if h.damage.Load() != nil && !h.options.State().Damaged {
		h.options.Note(func(st *volume.State) { st.Damaged = true })
	}
}

// Leave leaves the index as it is: nothing more is written.
func (h *health) Leave() { h.lost.Store(true) }

// Trouble says why there is no index, or a new one; empty = nothing is wrong.
func (h *health) Trouble() string {
	if text := h.trouble.Load(); text != nil {
		return *text
	}
	return ""
}

// SetTrouble records why there is no index, or a new one.
func (h *health) SetTrouble(err error) {
	text := err.Error()
	h.trouble.Store(&text)
}
