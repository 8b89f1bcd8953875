package volume

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"sync"
	"time"

	"github.com/pullgate/pullgate/storage/internal/record"
)

// The file state holds two slots that are written in turn, in place: a full disk
// cannot refuse the write, and a torn one leaves the other slot.
const (
	stateSize = 4096
	slotSize  = stateSize / 2
)

// State is what has to be known before the index is opened.
type State struct {
	Sequence int64 // grows with each write; the greater slot counts
	// Openings is how many times in a row the process died opening the index.
	Openings int64
	// Probe is the least number that the index must hold in its probe record. A
	// smaller one shows that the index lost what was written last.
	Probe int64
	// Restore says that the index lacks what a snapshot may hold.
	Restore bool
	// Damaged says that a record of the index could not be read.
	Damaged bool
	// Records is how many the last snapshot held.
	Records int64
	// Clean says that the store was closed, boot in which run of the kernel it
	// was opened last.
	Clean bool
	Boot  string
	// Checkpoint is a time before which everything is known to be on the disk.
	Checkpoint time.Time
	// Suspect is the time from which, and trusted the one up to which, blobs are
	// in doubt because the machine went down; zero = none.
	Suspect, Trusted time.Time
	// Unaccounted says that there may be files of blobs that the index does not
	// know, and that nobody has looked for them yet.
	Unaccounted bool
	// Shard is where the scrub in the background goes on, scrubbed when it last
	// got to the end.
	Shard    string
	Scrubbed time.Time
	// Wall is when this was written.
	Wall time.Time
}

func (st State) encode() []byte {
	var flags byte
	if st.Restore {
		flags |= 1
	}
	if st.Clean {
		flags |= 2
	}
	if st.Damaged {
		flags |= 4
	}
	if st.Unaccounted {
		flags |= 8
	}
	b := record.AppendInt(record.AppendInt(record.Begin(104+len(st.Shard)+len(st.Boot)), st.Sequence), st.Openings)
	b = record.AppendInt(record.AppendInt(b, st.Probe), st.Records)
	b = record.AppendTime(record.AppendTime(record.AppendTime(append(b, flags), st.Checkpoint), st.Suspect), st.Trusted)
	b = record.AppendText(record.AppendText(record.AppendTime(b, st.Scrubbed), st.Shard), st.Boot)
	return record.Seal(record.AppendTime(b, st.Wall))
}

func decodeState(b []byte) (st State, ok bool) {
	f := record.Open(b)
	st.Sequence, st.Openings, st.Probe, st.Records = f.Int(), f.Int(), f.Int(), f.Int()
	flags := f.Take(1)
	st.Checkpoint, st.Suspect, st.Trusted, st.Scrubbed = f.Time(), f.Time(), f.Time(), f.Time()
	st.Shard, st.Boot = f.Text(), f.Text()
	if f.Left() > 0 { // earlier programs did not write it
		st.Wall = f.Time()
	}
	if !f.End() {
		return State{}, false
	}
	st.Restore, st.Clean, st.Damaged, st.Unaccounted = flags[0]&1 != 0, flags[0]&2 != 0, flags[0]&4 != 0, flags[0]&8 != 0
	return st, true
}

// StateFile is the file and what stands in it. It belongs to whoever opens the
// store, then to the house keeper, then to Close; what a scrub gets done belongs
// to that. So each field is read and written by one goroutine, and only writing
// it all down needs the lock.
type StateFile struct {
	State
	Now func() time.Time
	Log *slog.Logger

	file File // nil = it cannot be written
	mu   sync.Mutex
}

// Open opens the file, and makes it if there is none. What cannot be read
// is forgotten; what cannot be written is an error, and the state can be used
// all the same.
func (st *StateFile) Open(root Files) error {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.State = State{}
	f, readOnly := root.OpenFile(stateName, os.O_RDWR|os.O_CREATE, 0o600)
	if readOnly == nil {
		st.file = f
	} else {
		// What it says counts where it cannot be written, too.
		var err error
		if f, err = root.Open(stateName); err != nil {
			return readOnly
		}
		defer f.Close()
	}
	slots := make([]byte, stateSize)
	n, err := f.ReadAt(slots, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	if n < stateSize && readOnly == nil {
		// The space is taken now, while there is some.
		if _, err := f.WriteAt(slots[n:], int64(n)); err != nil {
			return err
		}
	}
	for _, slot := range [][]byte{slots[:slotSize], slots[slotSize:]} {
		length := int(binary.BigEndian.Uint16(slot))
		if length > slotSize-2 {
			continue
		}
		if read, ok := decodeState(slot[2 : 2+length]); ok && read.Sequence > st.Sequence {
			st.State = read
		}
	}
	return readOnly
}

// Note changes the state. That it cannot be written down is no reason to stop: only a
// crash would miss it.
func (st *StateFile) Note(change func(*State)) {
	if err := st.Write(func(s *State) {
		change(s)
		s.Wall = st.Now()
	}); err != nil {
		st.Log.Warn("state not recorded", "error", err)
	}
}

// Write changes the state, and returns when that is on the disk.
func (st *StateFile) Write(change func(*State)) error {
	st.mu.Lock()
	defer st.mu.Unlock()
	change(&st.State)
	st.Sequence++
	if st.file == nil {
		return fmt.Errorf("write state: %w", fs.ErrClosed)
	}
	record := st.encode()
	slot := make([]byte, slotSize)
	binary.BigEndian.PutUint16(slot, uint16(len(record)))
	copy(slot[2:], record)
	_, err := st.file.WriteAt(slot, st.Sequence%2*slotSize)
	if err == nil {
		err = st.file.Datasync()
	}
	if err != nil {
		return fmt.Errorf("write state: %w", err)
	}
	return nil
}

// Read returns the state as it is.
func (st *StateFile) Read() State {
	st.mu.Lock()
	defer st.mu.Unlock()
	return st.State
}

// Writable reports whether there is a file to write to.
func (st *StateFile) Writable() bool { return st.file != nil }

// Close lets go of the file.
func (st *StateFile) Close() error {
	if st.file == nil {
		return nil
	}
	return st.file.Close()
}
