package registry

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"github.com/pullgate/pullgate/internal/oci"
)

// kernelWriter records the type of what reaches ReadFrom, as net/http's writer
// would see it.
type kernelWriter struct {
	*httptest.ResponseRecorder
	types []string
	err   error
	short bool
}

func (w *kernelWriter) ReadFrom(r io.Reader) (int64, error) {
	w.types = append(w.types, fmt.Sprintf("%T", r))
	if w.err != nil {
		return 0, w.err
	}
	if w.short {
		r = io.LimitReader(r, 10)
	}
	return io.Copy(w.ResponseRecorder, r)
}

func TestSendfileGetsTheBareFile(t *testing.T) {
	t.Parallel()
	b := testBytes(300_000)
	for _, test := range []struct {
		name, requested string
		change          func(*http.Request)
		following       bool
		want            string
	}{
		{name: "whole", want: "*os.File"},
		{name: "open end", requested: "bytes=1000-", want: "*os.File"},
		{name: "suffix", requested: "bytes=-1000", want: "*os.File"},
		{name: "end of the file", requested: "bytes=5-299999", want: "*os.File"},
		{name: "bounded", requested: "bytes=0-99", want: "*io.LimitedReader"},
		{name: "HTTP/2", change: func(r *http.Request) { r.ProtoMajor = 2 }},
		{name: "TLS", change: func(r *http.Request) { r.TLS = &tls.ConnectionState{} }},
		{name: "under way", following: true},
	} {
		t.Run(test.name, func(t *testing.T) {
			m := &fakeMirror{blob: fileBlob(t, b)}
			if test.following {
				m.blob = fillBlob(b, 1<<20, 0, nil)
			}
			r := httptest.NewRequest(http.MethodGet, testPrefix+"/blobs/"+testDigest.String(), nil)
			if test.requested != "" {
				r.Header.Set("Range", test.requested)
			}
			if test.change != nil {
				test.change(r)
			}
			w := &kernelWriter{ResponseRecorder: httptest.NewRecorder()}
			New(options(m)).ServeHTTP(w, r)
			if got := strings.Join(w.types, " "); got != test.want {
				t.Errorf("ReadFrom got %q", got)
			}
			s, _, _ := requestedSpan(r, int64(len(b)), "")
			if !bytes.Equal(w.Body.Bytes(), b[s.offset:s.offset+s.length]) {
				t.Error("the bytes differ")
			}
		})
	}
}

// aborts runs one request and reports whether it ended in the panic that makes
// a server cut the connection.
func aborts(h http.Handler, w http.ResponseWriter, r *http.Request) (aborted bool) {
	defer func() {
		if p := recover(); p != nil {
			if p != http.ErrAbortHandler { //nolint:errorlint // net/http knows that very value
				panic(p)
			}
			aborted = true
		}
	}()
	h.ServeHTTP(w, r)
	return false
}

func TestSendfileThatFallsShortIsCut(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name   string
		short  bool
		err    error
		logged bool
	}{
		{name: "too few bytes", short: true, logged: true},
		{name: "disk", err: &net.OpError{Op: "readfrom", Err: os.NewSyscallError("sendfile", syscall.EIO)}, logged: true},
		{name: "file", err: &os.PathError{Op: "read", Path: "blob", Err: syscall.ESTALE}, logged: true},
		{name: "client", err: &net.OpError{Op: "readfrom", Err: os.NewSyscallError("sendfile", syscall.EPIPE)}},
		{name: "stalled client", err: os.ErrDeadlineExceeded},
	} {
		t.Run(test.name, func(t *testing.T) {
			var logs bytes.Buffer
			o := options(&fakeMirror{blob: fileBlob(t, testBytes(1000))})
			o.Logger = slog.New(slog.NewTextHandler(&logs, nil))
			var got Answer
			o.OnDone = func(_ *http.Request, a *Answer) { got = *a }
			w := &kernelWriter{ResponseRecorder: httptest.NewRecorder(), err: test.err, short: test.short}
			if !aborts(New(o), w, httptest.NewRequest(http.MethodGet, testPrefix+"/blobs/"+testDigest.String(), nil)) {
				t.Error("the handler returned normally")
			}
			if !got.Aborted || got.Err == nil || got.Status != 200 {
				t.Errorf("answer is %+v", got)
			}
			if strings.Contains(logs.String(), "level=ERROR") != test.logged {
				t.Errorf("logged %q", logs.String())
			}
		})
	}
}

// A body that cannot be completed is an error for the client, over HTTP/1.1 and
// HTTP/2, and what came before it has reached the client.
func TestCutBody(t *testing.T) {
	t.Parallel()
	b := testBytes(700_000)
	for _, h2 := range []bool{false, true} {
		for _, limit := range []int{1, 400_000, len(b) - 1} {
			for _, cause := range []error{errors.New("digest mismatch"), io.EOF, io.ErrUnexpectedEOF} {
				t.Run(fmt.Sprintf("h2=%t/%d/%v", h2, limit, cause), func(t *testing.T) {
					var logs lockedBuffer
					done := make(chan Answer, 1)
					o := options(&fakeMirror{blob: fillBlob(b, 50_000, limit, cause)})
					o.Logger = slog.New(slog.NewTextHandler(&logs, nil))
					o.OnDone = func(_ *http.Request, a *Answer) { done <- *a }
					server, client := serve(t, New(o), h2)
					answer, body, err := ask(t, client, http.MethodGet, server.URL+testPrefix+"/blobs/"+testDigest.String(), nil)
					if err == nil {
						t.Fatalf("the client took %d bytes for the whole", len(body))
					}
					if !h2 && !errors.Is(err, io.ErrUnexpectedEOF) {
						t.Errorf("error is %v, want what containerd resumes after", err)
					}
					if answer.StatusCode != http.StatusOK || !bytes.Equal(body, b[:limit]) {
						t.Errorf("got %d and %d bytes, want 200 and %d", answer.StatusCode, len(body), limit)
					}
					a := <-done
					if !a.Aborted || a.Err == nil || a.Bytes != int64(limit) || a.Status != 200 {
						t.Errorf("answer is %+v", a)
					}
					if !strings.Contains(logs.String(), "level=ERROR") {
						t.Errorf("logged %q", logs.String())
					}
				})
			}
		}
	}
}

// The last bytes do not go out if the reader complains beside them.
func TestErrorBesideTheLastBytes(t *testing.T) {
	t.Parallel()
	for _, size := range []int{100, bufferSize + 100} {
		b := testBytes(size)
		m := &fakeMirror{blob: func(context.Context) oci.Blob {
			return oci.Blob{Digest: testDigest, Size: int64(size), Content: &lastWords{Reader: bytes.NewReader(b), err: errors.New("digest mismatch")}}
		}}
		w := httptest.NewRecorder()
		aborted := aborts(New(options(m)), w, httptest.NewRequest(http.MethodGet, testPrefix+"/blobs/"+testDigest.String(), nil))
		if size > bufferSize && !aborted || w.Code == 200 && w.Body.Len() >= size {
			t.Errorf("%d bytes: aborted is %t, %d with %d bytes went out", size, aborted, w.Code, w.Body.Len())
		}
	}
}

// lastWords returns err together with the last byte.
type lastWords struct {
	*bytes.Reader
	err error
}

func (l *lastWords) Read(p []byte) (int, error) {
	n, err := l.Reader.Read(p)
	if l.Len() == 0 {
		err = l.err
	}
	return n, err
}

func (*lastWords) Close() error { return nil }

func TestReaderWithoutProgress(t *testing.T) {
	t.Parallel()
	if _, err := readSome(iotest.ErrReader(nil), make([]byte, 1)); !errors.Is(err, io.ErrNoProgress) {
		t.Errorf("error is %v", err)
	}
}

// A failure before the first byte is a proper answer with its reason, as long as
// the client can wait for it.
func TestFailureBeforeTheFirstByte(t *testing.T) {
	t.Parallel()
	cause := oci.UpstreamError(oci.ClassDigest, oci.CodeBlobUnknown, "the upstream sent other bytes", nil)
	closed := 0
	m := &fakeMirror{blob: func(ctx context.Context) oci.Blob {
		blob := fillBlob(testBytes(1000), 1, 0, cause)(ctx)
		blob.Content.(*fill).closed = func() { closed++ }
		return blob
	}}
	w := record(New(options(m)), http.MethodGet, testPrefix+"/blobs/"+testDigest.String())
	checkDocument(t, w.Result(), w.Body.Bytes(), oci.CodeUnavailable)
	if w.Code != http.StatusBadGateway || closed != 1 {
		t.Errorf("got %d, content closed %d times", w.Code, closed)
	}
}

// The header does not wait for the first bytes for longer than headerPatience,
// and the bytes go out as they come.
func TestSlowFill(t *testing.T) {
	t.Parallel()
	for _, late := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			pieces := make(chan []byte)
			m := &fakeMirror{blob: func(context.Context) oci.Blob {
				return oci.Blob{Digest: testDigest, Size: 4, Content: &slowFill{pieces: pieces}}
			}}
			o, headers := options(m), 0
			o.OnHeader = func(*http.Request, *Answer) { headers++ }
			w := &flushWriter{ResponseRecorder: httptest.NewRecorder()}
			done := make(chan struct{})
			go func() {
				defer close(done)
				New(o).ServeHTTP(w, httptest.NewRequest(http.MethodGet, testPrefix+"/blobs/"+testDigest.String(), nil))
			}()
			expect := func(flushed bool, body string) {
				t.Helper()
				synctest.Wait()
				if f, b := w.take(); f != flushed || b != body {
					t.Errorf("flushed is %t with body %q, want %t with %q", f, b, flushed, body)
				}
			}
			time.Sleep(headerPatience - time.Nanosecond)
			expect(false, "")
			if late {
				time.Sleep(time.Nanosecond)
				expect(true, "")
			}
			pieces <- []byte("ab")
			expect(true, "ab")
			pieces <- []byte("c")
			expect(true, "abc")
			pieces <- []byte("d")
			<-done
			expect(false, "abcd") // the server flushes what is complete
			if w.Code != 200 || headers != 1 {
				t.Errorf("got %d, header %d times", w.Code, headers)
			}
		})
	}
}

// flushWriter is a recorder that a test may look at in between.
type flushWriter struct {
	mu      sync.Mutex
	flushed bool
	*httptest.ResponseRecorder
}

func (w *flushWriter) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.ResponseRecorder.Write(p)
}

func (w *flushWriter) Flush() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.flushed = true
}

// take returns whether there was a flush since the last time, and the body.
func (w *flushWriter) take() (flushed bool, body string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	flushed, w.flushed = w.flushed, false
	return flushed, w.Body.String()
}

type slowFill struct{ pieces chan []byte }

func (s *slowFill) Read(p []byte) (int, error)     { return copy(p, <-s.pieces), nil }
func (s *slowFill) Seek(int64, int) (int64, error) { return 0, nil }
func (s *slowFill) Close() error                   { return nil }

// A client that leaves is nobody's failure: nothing is logged as one, the
// content is closed, and no answer that could pass for one is given.
func TestClientLeaves(t *testing.T) {
	t.Parallel()
	for _, h2 := range []bool{false, true} {
		for _, when := range []string{"while the mirror works", "before the first byte", "in the body"} {
			t.Run(fmt.Sprintf("h2=%t/%s", h2, when), func(t *testing.T) {
				var logs lockedBuffer
				closed, started := make(chan struct{}, 1), make(chan struct{}, 1)
				first := []byte(nil)
				if when == "in the body" {
					first = []byte("x")
				}
				m := &waitingMirror{first: first, started: started, closed: closed, wait: when == "while the mirror works"}
				done := make(chan Answer, 1)
				o := options(m)
				o.Logger = slog.New(slog.NewTextHandler(&logs, nil))
				o.OnDone = func(_ *http.Request, a *Answer) { done <- *a }
				server, client := serve(t, New(o), h2)
				ctx, cancel := context.WithCancel(context.Background())
				defer cancel()
				r, _ := http.NewRequestWithContext(ctx, http.MethodGet, server.URL+testPrefix+"/blobs/"+testDigest.String(), nil)
				if when == "in the body" {
					answer, err := client.Do(r)
					if err != nil {
						t.Fatal(err)
					}
					if _, err := io.ReadFull(answer.Body, make([]byte, 1)); err != nil {
						t.Fatal(err)
					}
					_ = answer.Body.Close()
				} else {
					go func() { <-started; cancel() }()
					if _, err := client.Do(r); err == nil {
						t.Fatal("there was an answer")
					}
				}
				a := <-done
				if want := map[bool]int{true: 200, false: statusClientGone}[when == "in the body"]; !a.Aborted || a.Status != want {
					t.Errorf("answer is %+v", a)
				}
				if when != "while the mirror works" {
					<-closed
				}
				if logs.String() != "" {
					t.Errorf("logged %q", logs.String())
				}
			})
		}
	}
}

// waitingMirror has a blob of which no more than the first bytes ever come.
type waitingMirror struct {
	fakeMirror
	first           []byte
	wait            bool
	started, closed chan struct{}
}

func (m *waitingMirror) Blob(ctx context.Context, r oci.Request) (oci.Blob, oci.CacheStatus, error) {
	if m.wait {
		m.started <- struct{}{}
		<-ctx.Done()
		return oci.Blob{}, oci.CacheStatus{}, fmt.Errorf("get blob: %w", ctx.Err())
	}
	return oci.Blob{Digest: testDigest, Size: 1 << 20, Content: &waitingFill{m: m, ctx: ctx, first: m.first}}, oci.CacheStatus{}, nil
}

type waitingFill struct {
	m     *waitingMirror
	ctx   context.Context
	first []byte
}

func (f *waitingFill) Read(p []byte) (int, error) {
	if n := copy(p, f.first); n > 0 {
		f.first = f.first[n:]
		return n, nil
	}
	if len(f.m.first) == 0 {
		f.m.started <- struct{}{}
	}
	<-f.ctx.Done()
	return 0, f.ctx.Err()
}

func (f *waitingFill) Seek(int64, int) (int64, error) { return 0, nil }
func (f *waitingFill) Close() error                   { f.m.closed <- struct{}{}; return nil }
