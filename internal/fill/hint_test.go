package fill

import (
	"bytes"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pullgate/pullgate/internal/oci"
)

// The size that a client was given while the upstream was silent is that of the fill,
// where the upstream tells none after all: the client need not wait for the end.
func TestHintThatAClientWasGiven(t *testing.T) {
	const size = 3 << 20
	for _, given := range []int64{size, size - 1, size + 1} {
		synctest.Test(t, func(t *testing.T) {
			let := make(chan struct{})
			b := bucket{
				expected: given,
				size: func() int64 {
					time.Sleep(2 * time.Minute)
					return -1
				},
				body: func(_ int, r io.Reader) io.Reader {
					return io.MultiReader(io.LimitReader(r, 1<<20), waiting{r, let})
				},
			}
			f := b.start(t, size)
			if got, err := f.Ready(t.Context(), given); err != nil || got != given {
				t.Fatalf("%d bytes, %v", got, err)
			}
			r := f.Reader(t.Context(), given, false)
			defer r.Close()
			if _, err := io.ReadFull(r, make([]byte, 1<<20)); err != nil {
				t.Errorf("nothing comes before the end: %v", err)
			}
			close(let)
			raw, err := io.ReadAll(r)
			if (err == nil) != (given == size) || err == nil && !bytes.Equal(raw, b.blob[1<<20:]) {
				t.Errorf("%d as %d: %d bytes, %v", size, given, len(raw), err)
			}
			<-f.Done()
			if o := f.Outcome(); !o.Guessed || o.Stored() != (given == size) {
				t.Errorf("%d as %d: %+v", size, given, o)
			}
		})
	}
}

// A size that turned out to be wrong before is given to nobody: the upstream may take its
// time to tell another one.
func TestDoubtedHint(t *testing.T) {
	const size = 3 << 20
	synctest.Test(t, func(t *testing.T) {
		b := bucket{doubted: true, size: func() int64 {
			time.Sleep(2 * time.Minute)
			return size
		}}
		f := b.start(t, size)
		if got, err := f.Ready(t.Context(), size-1); err != nil || got != size {
			t.Errorf("%d bytes, %v", got, err)
		}
		f.Leave()
		<-f.Done()
	})
}

// A small blob is verified before its first byte: its end tells its size better.
func TestSmallHintThatAClientWasGiven(t *testing.T) {
	const size = 3 << 20
	synctest.Test(t, func(t *testing.T) {
		b := bucket{expected: 1000, size: func() int64 {
			time.Sleep(2 * time.Minute)
			return -1
		}}
		f := b.start(t, size)
		if got, err := f.Ready(t.Context(), 1000); err != nil || got != 1000 {
			t.Fatalf("%d bytes, %v", got, err)
		}
		r := f.Reader(t.Context(), 1000, false)
		defer r.Close()
		if raw, err := io.ReadAll(r); len(raw) > 0 || oci.ClassOf(err) != oci.ClassLength {
			t.Errorf("%d bytes, %v", len(raw), err)
		}
		<-f.Done()
		if o := f.Outcome(); o.Size != size || !o.Stored() {
			t.Errorf("%+v", o)
		}
	})
}

// overrun gives all of its bytes in one Read, once it is let.
type overrun struct {
	let <-chan struct{}
	raw []byte
}

func (r *overrun) Read(p []byte) (int, error) {
	<-r.let
	n := copy(p, r.raw)
	if r.raw = r.raw[n:]; len(r.raw) == 0 {
		return n, io.EOF
	}
	return n, nil
}

// A body that proves to be longer than the hint while bytes are on their way is wrong,
// as any other one.
func TestHintIsAdoptedWhileBytesCome(t *testing.T) {
	const size, hint = 3 << 20, 3<<20 - 1000
	synctest.Test(t, func(t *testing.T) {
		let := make(chan struct{})
		b := bucket{
			expected: hint,
			size:     func() int64 { return -1 },
			body: func(_ int, r io.Reader) io.Reader {
				raw, _ := io.ReadAll(r)
				return io.MultiReader(bytes.NewReader(raw[:hint-heldBack]), &overrun{let, raw[hint-heldBack:]})
			},
		}
		f := b.start(t, size)
		if got, err := f.Ready(t.Context(), hint); err != nil || got != hint {
			t.Fatalf("%d bytes, %v", got, err)
		}
		close(let)
		r := f.Reader(t.Context(), hint, false)
		defer r.Close()
		if _, err := io.ReadAll(r); oci.ClassOf(err) != oci.ClassDigest {
			t.Errorf("a longer body: %v", err)
		}
		<-f.Done()
	})
}
