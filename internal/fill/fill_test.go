package fill

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/pullgate/pullgate/internal/oci"
)

// bucket is a Source in memory, and the policy of its fill.
type bucket struct {
	blob     []byte
	noRanges bool
	doubted  bool
	expected int64                              // 0 = nothing
	size     func() int64                       // as announced; nil = that of the blob
	body     func(n int, r io.Reader) io.Reader // of the GET n, from 0 on; nil = whole
	room     int64                              // of the part; 0 = enough

	mu       sync.Mutex
	gets     []int64 // where they began
	failed   []Outcome
	verified int64
	stored   bool
}

func (b *bucket) Blob(_ context.Context, _ digest.Digest, offset, length int64) (oci.BlobBody, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	n := len(b.gets)
	b.gets = append(b.gets, offset)
	if b.noRanges {
		offset, length = 0, -1
	}
	end := int64(len(b.blob))
	if length >= 0 {
		end = min(end, offset+length)
	}
	body := oci.BlobBody{Offset: offset, Size: int64(len(b.blob))}
	if b.size != nil {
		body.Size = b.size()
	}
	r := io.Reader(bytes.NewReader(b.blob[offset:end]))
	if b.body != nil {
		r = b.body(n, r)
	}
	body.ReadCloser = io.NopCloser(r)
	return body, nil
}

func (b *bucket) Part(_ context.Context, size int64) (Part, error) {
	return &bucketPart{memory: newMemory(max(size, int64(len(b.blob)))), b: b}, nil
}
func (b *bucket) Suspended(context.Context) (int64, bool) { return -1, false }
func (b *bucket) Summon() func(context.Context) bool {
	return func(context.Context) bool { return false }
}
func (b *bucket) Verified(_ context.Context, size int64) { b.verified = size }
func (b *bucket) Failed(o Outcome)                       { b.failed = append(b.failed, o) }

type bucketPart struct {
	*memory

	b *bucket
}

func (p *bucketPart) WriteAt(raw []byte, off int64) (int, error) {
	if p.b.room > 0 && off+int64(len(raw)) > p.b.room {
		return 0, io.ErrShortWrite
	}
	return p.memory.WriteAt(raw, off)
}

func (p *bucketPart) Commit(int64) error {
	p.b.stored = true
	return nil
}

func randomBytes(n int) []byte {
	b, seed := make([]byte, n), [32]byte{}
	binary.LittleEndian.PutUint64(seed[:], rand.Uint64())
	_, _ = rand.NewChaCha8(seed).Read(b)
	return b
}

// start starts the fill of a blob of so many random bytes.
func (b *bucket) start(t *testing.T, size int) *Fill {
	b.blob = randomBytes(size)
	return b.startOf(t, digest.FromBytes(b.blob))
}

func (b *bucket) startOf(t *testing.T, d digest.Digest) *Fill {
	expected := b.expected
	if expected == 0 {
		expected = -1
	}
	all := &Downloads{
		Now: time.Now, After: time.After, Panicked: func() { t.Error("a panic") }, SizePatience: time.Minute, Processors: 2,
	}
	return start(t, b, Options{Downloads: all, Digest: d, Size: expected, Doubted: b.doubted})
}

// source is a Source, with the policy of its fill.
type source interface {
	Source
	Policy
}

func start(t *testing.T, from source, o Options) *Fill {
	o.Scope, o.Source, o.Policy = oci.Scope{Upstream: "docker.io", Repository: "a"}, from, from
	o.Log = slog.New(slog.DiscardHandler)
	f := New(t.Context(), o)
	go f.Run(func(Outcome) {})
	return f
}

// read reads the whole as a client does.
func (b *bucket) read(t *testing.T, f *Fill) ([]byte, error) {
	t.Helper()
	size, err := f.Ready(t.Context(), -1)
	if err != nil {
		f.Leave()
		return nil, err
	}
	r := f.Reader(t.Context(), size, false)
	defer r.Close()
	return io.ReadAll(r)
}

// Every blob comes once, whatever its size, and however often its GET is cut or answered
// from the beginning.
func TestFill(t *testing.T) {
	t.Parallel()
	cut := func(n int, r io.Reader) io.Reader {
		if n == 4 {
			return r
		}
		return io.MultiReader(io.LimitReader(r, 1<<20), failing{io.ErrUnexpectedEOF})
	}
	for name, test := range map[string]struct {
		b    *bucket
		size int
		gets []int64
	}{
		"empty": {&bucket{}, 0, []int64{0}},
		"small": {&bucket{}, WholeSize, []int64{0}},
		"large": {&bucket{}, 5<<20 + 1, []int64{0}},
		"cut":   {&bucket{body: cut}, 5 << 20, []int64{0, 1 << 20, 2 << 20, 3 << 20, 4 << 20}},
		"without ranges": {&bucket{noRanges: true, body: func(n int, r io.Reader) io.Reader {
			if n > 0 {
				return r
			}
			return io.MultiReader(io.LimitReader(r, 3<<20), failing{io.ErrUnexpectedEOF})
		}}, 5 << 20, []int64{0, 3 << 20}},
		"without a size": {&bucket{size: func() int64 { return -1 }}, 5 << 20, []int64{0}},
	} {
		f := test.b.start(t, test.size)
		raw, err := test.b.read(t, f)
		if err != nil || !bytes.Equal(raw, test.b.blob) {
			t.Errorf("%s: %d bytes, %v", name, len(raw), err)
		}
		<-f.Done()
		if o := f.Outcome(); !o.Stored() || !test.b.stored || o.Size != int64(test.size) || test.b.verified != o.Size {
			t.Errorf("%s: %+v", name, o)
		}
		if !slices.Equal(test.b.gets, test.gets) {
			t.Errorf("%s: GETs from %v", name, test.b.gets)
		}
	}
}

type failing struct{ err error }

func (r failing) Read([]byte) (int, error) { return 0, r.err }

// waiting gives nothing before it is let.
type waiting struct {
	io.Reader

	let <-chan struct{}
}

func (r waiting) Read(p []byte) (int, error) {
	<-r.let
	return r.Reader.Read(p)
}

// A reader that is far ahead gets a segment of its own, which ends where others go on.
func TestReaderAheadGetsASegment(t *testing.T) {
	t.Parallel()
	const size, far = 16 << 20, 8 << 20
	let := make(chan struct{})
	b := bucket{body: func(n int, r io.Reader) io.Reader {
		if n == 0 {
			return io.MultiReader(io.LimitReader(r, 1<<20), waiting{r, let})
		}
		return r
	}}
	f := b.start(t, size)
	if _, err := f.Ready(t.Context(), -1); err != nil {
		t.Fatal(err)
	}
	r := f.Reader(t.Context(), size, false)
	if err := r.Select(far, far+1000); err != nil || r.Trust() != oci.TrustNone {
		t.Errorf("trust %v, %v", r.Trust(), err)
	}
	got := make([]byte, 1000)
	if _, err := io.ReadFull(r, got); err != nil || !bytes.Equal(got, b.blob[far:far+1000]) {
		t.Errorf("wrong bytes, %v", err)
	}
	close(let)
	if err := r.AwaitVerified(); err != nil || r.Trust() != oci.TrustVerified {
		t.Errorf("trust %v, %v", r.Trust(), err)
	}
	_ = r.Close()
	<-f.Done()
	if !slices.Equal(b.gets, []int64{0, far}) || f.Outcome().Received != size {
		t.Errorf("GETs from %v, %d bytes", b.gets, f.Outcome().Received)
	}
}

// Where the part breaks, a small blob begins anew, and readers of a large one go on by
// themselves from what is hashed.
func TestPartBreaks(t *testing.T) {
	t.Parallel()
	for _, size := range []int{WholeSize, 4 << 20} {
		b := bucket{room: int64(size / 2)}
		f := b.start(t, size)
		raw, err := b.read(t, f)
		if err != nil || !bytes.Equal(raw, b.blob) {
			t.Errorf("%d bytes of %d, %v", len(raw), size, err)
		}
		<-f.Done()
		if o := f.Outcome(); o.Stored() || o.Err != nil || !errors.Is(o.Cause, io.ErrShortWrite) || b.stored || len(b.gets) != 2 {
			t.Errorf("%+v, GETs from %v", o, b.gets)
		}
	}
}

// Wrong bytes are told of before anybody asks again, and nobody gets the end.
func TestWrongBytes(t *testing.T) {
	t.Parallel()
	const size = 4 << 20
	b := bucket{blob: make([]byte, size)}
	f := b.startOf(t, digest.FromString("others"))
	raw, err := b.read(t, f)
	if oci.ClassOf(err) != oci.ClassDigest || len(raw) > size-heldBack {
		t.Errorf("%d bytes, %v", len(raw), err)
	}
	<-f.Done()
	if len(b.failed) != 1 || oci.ClassOf(b.failed[0].Err) != oci.ClassDigest || b.failed[0].Resumed || b.verified != 0 || f.Retain() {
		t.Errorf("%+v", b.failed)
	}
}
