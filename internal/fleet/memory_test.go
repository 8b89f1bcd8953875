package fleet_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pullgate/pullgate/internal/bucket"
	"github.com/pullgate/pullgate/internal/oci"
)

// memory is a bucket in memory, which fails in every way that there is.
type memory struct {
	// calls counts what pulls and uploads ask, and polls what is asked anyway: what other
	// gateways have removed and pinned.
	calls, polls atomic.Int64

	mu          sync.Mutex
	objects     map[string]stored
	writes      int
	read, write fault
	held        string              // what the keys of writes begin with that take long
	released    chan struct{}       // closed once they are done
	listing     func(prefix string) // called before something is listed; nil = nothing is
	stuck       string              // what the keys begin with of what is not deleted; empty = all is
}

// hold has writes of keys that begin with a prefix take until they are released.
func (m *memory) hold(prefix string) (release func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	released := make(chan struct{})
	m.held, m.released = prefix, released
	return sync.OnceFunc(func() {
		close(released)
		m.mu.Lock()
		defer m.mu.Unlock()
		if m.released == released {
			m.held = ""
		}
	})
}

// linger waits until a write is done that takes long.
func (m *memory) linger(ctx context.Context, key string) error {
	m.mu.Lock()
	released := m.released
	held := m.held != "" && strings.HasPrefix(key, m.held)
	m.mu.Unlock()
	if !held {
		return nil
	}
	select {
	case <-released:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

type stored struct {
	content []byte
	info    bucket.Info
}

// fault is one way to fail. The zero value is none.
type fault struct {
	name string
	// answer delays or refuses an answer, and body spoils what is read.
	answer func(ctx context.Context) error
	body   func(ctx context.Context, content []byte) io.Reader
	empty  bool // lists lag behind
}

var errUnwell = errors.New("503 Slow Down")

func faults() []fault {
	blocked := func(ctx context.Context) error {
		<-ctx.Done()
		return ctx.Err()
	}
	return []fault{
		{name: "refuse", answer: func(context.Context) error { return errors.New("connection refused") }},
		{name: "black hole", answer: blocked},
		{name: "5 s delay", answer: func(ctx context.Context) error {
			select {
			case <-time.After(5 * time.Second):
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		}},
		{name: "cut", body: func(_ context.Context, content []byte) io.Reader {
			return io.MultiReader(bytes.NewReader(content[:len(content)/2]), failing{io.ErrUnexpectedEOF})
		}},
		{name: "silence", body: func(ctx context.Context, content []byte) io.Reader {
			return io.MultiReader(bytes.NewReader(content[:len(content)/2]), waiting{ctx})
		}},
		{name: "503", answer: func(context.Context) error { return errUnwell }},
		{name: "wrong bytes", body: func(_ context.Context, content []byte) io.Reader {
			wrong := bytes.Clone(content)
			if len(wrong) > 0 {
				wrong[len(wrong)/2] ^= 1
			}
			return bytes.NewReader(wrong)
		}},
		{name: "412", answer: func(context.Context) error { return bucket.ErrChanged }},
		{name: "list lag", empty: true},
		{name: "full", answer: func(context.Context) error { return errors.New("507 Insufficient Storage") }},
	}
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

type waiting struct{ ctx context.Context }

func (w waiting) Read([]byte) (int, error) {
	<-w.ctx.Done()
	return 0, w.ctx.Err()
}

func newMemory() *memory { return &memory{objects: map[string]stored{}} }

// fail has reads and writes fail from now on.
func (m *memory) fail(read, write fault) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.read, m.write = read, write
}

// trial reports whether an object is one by which a gateway finds out at its start what the
// bucket does. These fail nobody here, and count for nothing.
func trial(key string) bool { return strings.HasPrefix(key, "v1/probe-") }

func (m *memory) begin(ctx context.Context, key string, write bool) (fault, error) {
	switch {
	case trial(key):
		return fault{}, ctx.Err()
	case key == "v1/news", strings.HasPrefix(key, "v1/x/"), strings.HasPrefix(key, "v1/p/"):
		m.polls.Add(1)
	default:
		m.calls.Add(1)
	}
	m.mu.Lock()
	f := m.read
	if write {
		f = m.write
	}
	m.mu.Unlock()
	if f.answer == nil {
		return f, ctx.Err()
	}
	return f, f.answer(ctx)
}

func (m *memory) object(key string) (stored, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	o, ok := m.objects[key]
	if !ok {
		return stored{}, fmt.Errorf("object %s: %w", key, fs.ErrNotExist)
	}
	return o, nil
}

func (m *memory) Get(ctx context.Context, key string, offset, length int64) (bucket.Object, error) {
	f, err := m.begin(ctx, key, false)
	if err != nil {
		return bucket.Object{}, err
	}
	o, err := m.object(key)
	if err != nil {
		return bucket.Object{}, err
	}
	content := o.content[min(offset, int64(len(o.content))):]
	if length >= 0 {
		content = content[:min(length, int64(len(content)))]
	}
	var body io.Reader = bytes.NewReader(content)
	if f.body != nil {
		body = f.body(ctx, content)
	}
	return bucket.Object{ReadCloser: io.NopCloser(body), Info: o.info, Offset: offset}, nil
}

func (m *memory) Head(ctx context.Context, key string) (bucket.Info, error) {
	if _, err := m.begin(ctx, key, false); err != nil {
		return bucket.Info{}, err
	}
	o, err := m.object(key)
	return o.info, err
}

func (m *memory) Put(ctx context.Context, key string, content io.ReadSeeker, size int64, o bucket.PutOptions) error {
	if _, err := m.begin(ctx, key, true); err != nil {
		return err
	}
	raw, err := io.ReadAll(content)
	if err != nil || int64(len(raw)) != size {
		return fmt.Errorf("%d bytes of %d: %w", len(raw), size, err)
	}
	if o.SHA256 != "" && oci.Sum(raw).Encoded() != o.SHA256 {
		return bucket.ErrRefused
	}
	if err := m.linger(ctx, key); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	old, ok := m.objects[key]
	if o.IfAbsent && ok || o.IfMatch != "" && old.info.ETag != o.IfMatch {
		return bucket.ErrChanged
	}
	if !trial(key) {
		m.writes++
	}
	m.objects[key] = stored{raw, bucket.Info{
		Key: key, Size: size, ETag: oci.Sum(raw).Encoded() + fmt.Sprint(m.writes), ContentType: o.ContentType, Modified: time.Now(), Meta: o.Meta,
	}}
	return nil
}

func (m *memory) Delete(ctx context.Context, key string) error {
	if _, err := m.begin(ctx, key, true); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.stuck != "" && strings.HasPrefix(key, m.stuck) {
		return errUnwell
	}
	delete(m.objects, key)
	return nil
}

func (m *memory) List(ctx context.Context, prefix, after string) iter.Seq2[bucket.Info, error] {
	return func(yield func(bucket.Info, error) bool) {
		f, err := m.begin(ctx, prefix, false)
		if err != nil {
			yield(bucket.Info{}, err)
			return
		}
		m.mu.Lock()
		listing := m.listing
		m.mu.Unlock()
		if listing != nil {
			listing(prefix)
		}
		for _, key := range m.keys(prefix) {
			if o, err := m.object(key); err == nil && key > after && !f.empty && !yield(o.info, nil) {
				return
			}
		}
	}
}

// keys returns those that begin with a prefix, in order.
func (m *memory) keys(prefix string) []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.DeleteFunc(slices.Sorted(maps.Keys(m.objects)), func(key string) bool { return !strings.HasPrefix(key, prefix) || trial(key) })
}

// onList has something done before each list.
func (m *memory) onList(do func(prefix string)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.listing = do
}

// stick has nothing deleted whose key begins with a prefix; empty = everything is.
func (m *memory) stick(prefix string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.stuck = prefix
}

// put puts an object that was written a while ago.
func (m *memory) put(key string, content []byte, ago time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.writes++
	m.objects[key] = stored{content, bucket.Info{Key: key, Size: int64(len(content)), ETag: fmt.Sprint(m.writes), Modified: time.Now().Add(-ago)}}
}

// spoil replaces the bytes of the objects that begin with a prefix by others.
func (m *memory) spoil(prefix string) {
	for _, key := range m.keys(prefix) {
		m.mu.Lock()
		o := m.objects[key]
		o.content = bytes.Repeat([]byte("wrong"), len(o.content)/5+1)[:len(o.content)]
		m.objects[key] = o
		m.mu.Unlock()
	}
}
