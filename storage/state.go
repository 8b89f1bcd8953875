package storage

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"sync"
	"time"
)

// The file state holds two slots that are written in turn, in place: a full disk
// cannot refuse the write, and a torn one leaves the other slot.
const (
	stateSize = 4096
	slotSize  = stateSize / 2
)

// state is what has to be known before the index is opened.
type state struct {
	sequence int64 // grows with each write; the greater slot counts
	// openings is how many times in a row the process died opening the index.
	openings int64
	// probe is the least number that the index must hold in its probe record. A
	// smaller one shows that the index lost what was written last.
	probe int64
	// restore says that the index lacks what a snapshot may hold.
	restore bool
	// damaged says that a record of the index could not be read.
	damaged bool
	// records is how many the last snapshot held.
	records int64
	// clean says that the store was closed, boot in which run of the kernel it
	// was opened last.
	clean bool
	boot  string
	// checkpoint is a time before which everything is known to be on the disk.
	checkpoint time.Time
	// suspect is the time from which, and trusted the one up to which, blobs are
	// in doubt because the machine went down; zero = none.
	suspect, trusted time.Time
	// unaccounted says that there may be files of blobs that the index does not
	// know, and that nobody has looked for them yet.
	unaccounted bool
	// shard is where the scrub in the background goes on, scrubbed when it last
	// got to the end.
	shard    string
	scrubbed time.Time
	// wall is when this was written.
	wall time.Time
}

func (st state) encode() []byte {
	var flags byte
	if st.restore {
		flags |= 1
	}
	if st.clean {
		flags |= 2
	}
	if st.damaged {
		flags |= 4
	}
	if st.unaccounted {
		flags |= 8
	}
	b := appendInt(appendInt(begin(104+len(st.shard)+len(st.boot)), st.sequence), st.openings)
	b = appendInt(appendInt(b, st.probe), st.records)
	b = appendTime(appendTime(appendTime(append(b, flags), st.checkpoint), st.suspect), st.trusted)
	b = appendText(appendText(appendTime(b, st.scrubbed), st.shard), st.boot)
	return seal(appendTime(b, st.wall))
}

func decodeState(b []byte) (st state, ok bool) {
	f := open(b)
	st.sequence, st.openings, st.probe, st.records = f.int(), f.int(), f.int(), f.int()
	flags := f.take(1)
	st.checkpoint, st.suspect, st.trusted, st.scrubbed = f.time(), f.time(), f.time(), f.time()
	st.shard, st.boot = f.text(), f.text()
	if len(f.rest) > 0 { // earlier programs did not write it
		st.wall = f.time()
	}
	if !f.end() {
		return state{}, false
	}
	st.restore, st.clean, st.damaged, st.unaccounted = flags[0]&1 != 0, flags[0]&2 != 0, flags[0]&4 != 0, flags[0]&8 != 0
	return st, true
}

// stateFile is the file and what stands in it. It belongs to whoever opens the
// store, then to the house keeper, then to Close; what a scrub gets done belongs
// to that. So each field is read and written by one goroutine, and only writing
// it all down needs the lock.
type stateFile struct {
	state
	file file // nil = it cannot be written
	mu   sync.Mutex
}

// openState opens the file, and makes it if there is none. What cannot be read
// is forgotten; what cannot be written is an error, and the state can be used
// all the same.
func openState(root files) (*stateFile, error) {
	st := &stateFile{}
	f, readOnly := root.OpenFile(stateFileName, os.O_RDWR|os.O_CREATE, 0o600)
	if readOnly == nil {
		st.file = f
	} else {
		// What it says counts where it cannot be written, too.
		var err error
		if f, err = root.Open(stateFileName); err != nil {
			return st, readOnly
		}
		defer f.Close()
	}
	slots := make([]byte, stateSize)
	n, err := f.ReadAt(slots, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return st, err
	}
	if n < stateSize && readOnly == nil {
		// The space is taken now, while there is some.
		if _, err := f.WriteAt(slots[n:], int64(n)); err != nil {
			return st, err
		}
	}
	for _, slot := range [][]byte{slots[:slotSize], slots[slotSize:]} {
		length := int(binary.BigEndian.Uint16(slot))
		if length > slotSize-2 {
			continue
		}
		if read, ok := decodeState(slot[2 : 2+length]); ok && read.sequence > st.sequence {
			st.state = read
		}
	}
	return st, readOnly
}

// write changes the state, and returns when that is on the disk.
func (st *stateFile) write(change func(*state)) error {
	st.mu.Lock()
	defer st.mu.Unlock()
	change(&st.state)
	st.sequence++
	if st.file == nil {
		return fmt.Errorf("write state: %w", fs.ErrClosed)
	}
	record := st.encode()
	slot := make([]byte, slotSize)
	binary.BigEndian.PutUint16(slot, uint16(len(record)))
	copy(slot[2:], record)
	_, err := st.file.WriteAt(slot, st.sequence%2*slotSize)
	if err == nil {
		err = st.file.datasync()
	}
	if err != nil {
		return fmt.Errorf("write state: %w", err)
	}
	return nil
}

func (st *stateFile) close() error {
	if st == nil || st.file == nil {
		return nil
	}
	return st.file.Close()
}
