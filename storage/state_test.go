package storage

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
	root, err := openRoot(dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	for n := range int64(5) {
		st, err := openState(root)
		if err != nil {
			t.Fatal(err)
		}
		if st.sequence != n || st.probe != n*10 {
			t.Errorf("state %d is %+v", n, st.state)
		}
		err = st.write(func(st *state) { st.probe, st.restore, st.boot = (n+1)*10, true, "b" })
		if err := errors.Join(err, st.close()); err != nil {
			t.Fatal(err)
		}
	}
	name := filepath.Join(dir, stateFileName)
	rewriteState(t, name, func(b []byte) []byte { b[slotSize+20] ^= 1; return b })
	st, err := openState(root)
	if err != nil || st.sequence != 4 || st.probe != 40 {
		t.Errorf("torn state is %+v, %v", st.state, err)
	}
	if info, err := os.Stat(name); err != nil || info.Size() != stateSize {
		t.Errorf("file is %v, %v", info, err)
	}
	if err := st.close(); err != nil {
		t.Error(err)
	}
	rewriteState(t, name, func(b []byte) []byte { clear(b); return b })
	if st, err = openState(root); err != nil || st.state != (state{}) {
		t.Errorf("lost state is %+v, %v", st.state, err)
	}
	if err := st.close(); err != nil {
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
	f.Add(state{}.encode())
	f.Add(state{sequence: 5, restore: true, clean: true, shard: "a0f", boot: "b", wall: time.Unix(7, 0)}.encode())
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
