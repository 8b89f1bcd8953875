package volume

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/pullgate/pullgate/storage/internal/record"
)

// A state that was torn while it was written is the one before.
func TestStateSurvivesTearing(t *testing.T) {
	dir := t.TempDir()
	root, err := Open(dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	for n := range int64(5) {
		st, err := openState(root)
		if err != nil {
			t.Fatal(err)
		}
		if st.Sequence != n || st.Probe != n*10 {
			t.Errorf("state %d is %+v", n, st.State)
		}
		err = st.Write(func(st *State) { st.Probe, st.Restore, st.Boot = (n+1)*10, true, "b" })
		if err := errors.Join(err, st.Close()); err != nil {
			t.Fatal(err)
		}
	}
	name := filepath.Join(dir, stateName)
	rewriteState(t, name, func(b []byte) []byte { b[slotSize+20] ^= 1; return b })
	st, err := openState(root)
	if err != nil || st.Sequence != 4 || st.Probe != 40 {
		t.Errorf("torn state is %+v, %v", st.State, err)
	}
	if info, err := os.Stat(name); err != nil || info.Size() != stateSize {
		t.Errorf("file is %v, %v", info, err)
	}
	if err := st.Close(); err != nil {
		t.Error(err)
	}
	rewriteState(t, name, func(b []byte) []byte { clear(b); return b })
	if st, err = openState(root); err != nil || st.State != (State{}) {
		t.Errorf("lost state is %+v, %v", st.State, err)
	}
	if err := st.Close(); err != nil {
		t.Error(err)
	}
}

// rewriteState changes the bytes of a file.
func rewriteState(t *testing.T, name string, change func([]byte) []byte) {
	t.Helper()
	raw, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, change(raw), 0o600); err != nil {
		t.Fatal(err)
	}
}

// What stands in the file state after a broken disk is an older state or none.
func FuzzState(f *testing.F) {
	f.Add(State{}.encode())
	f.Add(State{Sequence: 5, Restore: true, Clean: true, Shard: "a0f", Boot: "b", Wall: time.Unix(7, 0)}.encode())
	f.Add([]byte{0xff, 0xff})
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, b := range [][]byte{b, record.Seal(append([]byte{record.Version}, b...))} {
			st, ok := decodeState(b)
			if !ok {
				continue
			}
			if again, ok := decodeState(st.encode()); !ok || !bytes.Equal(again.encode(), st.encode()) {
				t.Errorf("state %+v became %+v", st, again)
			}
		}
	})
}

// openState opens the state of a directory.
func openState(root Files) (*StateFile, error) {
	st := &StateFile{}
	return st, st.Open(root)
}
