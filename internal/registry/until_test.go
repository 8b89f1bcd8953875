package registry

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/pullgate/pullgate/internal/oci"
)

// rearming is a server's guard that sets deadlines of its own before every write, as
// Caddy's does.
type rearming struct {
	http.ResponseWriter
	later time.Duration
}

func (w *rearming) Write(p []byte) (int, error) {
	_ = http.NewResponseController(w.ResponseWriter).SetWriteDeadline(time.Now().Add(w.later))
	return w.ResponseWriter.Write(p)
}

func (w *rearming) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// waiting is content that has no more bytes until ctx ends.
type waiting struct {
	*fill
	ctx context.Context
}

func (w *waiting) Read(p []byte) (int, error) {
	if w.Size()-int64(w.Len()) < w.limit {
		return w.fill.Read(p)
	}
	<-w.ctx.Done()
	return 0, w.ctx.Err()
}

// TestUntil cuts clients off that take no bytes, or wait for some, on every way that
// a body goes out, and nobody before.
func TestUntil(t *testing.T) {
	t.Parallel()
	content := testBytes(8 << 20)
	d := digest.FromBytes(content)
	file := func(t *testing.T) *fakeMirror { return &fakeMirror{blob: fileBlob(t, content)} }
	for _, test := range []struct {
		name, headers string
		secure        bool
		blob          func(t *testing.T) *fakeMirror
	}{
		{"by the kernel", "", false, file},
		{"copied", "Range: bytes=0-7000000\r\n", false, file},
		{"several parts", "Range: bytes=0-3000000,3000002-\r\n", false, file},
		{"TLS", "", true, file},
		{"under way", "", false, func(*testing.T) *fakeMirror { return &fakeMirror{blob: fillBlob(content, 1<<20, 0, nil)} }},
		{"waiting for bytes", "", false, func(*testing.T) *fakeMirror {
			return &fakeMirror{blob: func(ctx context.Context) oci.Blob {
				return oci.Blob{Digest: d, Size: int64(len(content)), Content: &waiting{
					&fill{Reader: bytes.NewReader(content), piece: 1 << 10, limit: 4 << 10, closed: func() {}}, ctx,
				}}
			}}
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			ctx, end := context.WithCancel(t.Context())
			answers := make(chan Answer, 10)
			o := options(test.blob(t))
			o.stallAfter, o.Until = time.Hour, ctx
			o.OnDone = func(_ *http.Request, a *Answer) { answers <- *a }
			h := New(o)
			server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				h.ServeHTTP(&rearming{w, time.Hour}, r)
			}))
			server.Config.ConnState = func(conn net.Conn, s http.ConnState) {
				if secured, ok := conn.(*tls.Conn); ok {
					conn = secured.NetConn()
				}
				if tcp, ok := conn.(*net.TCPConn); ok && s == http.StateNew {
					_ = tcp.SetWriteBuffer(16 << 10)
				}
			}
			if test.secure {
				server.StartTLS()
			} else {
				server.Start()
			}
			t.Cleanup(server.Close)
			conn := raw(t, server, 4<<10, test.headers)
			if _, err := io.ReadFull(conn, make([]byte, 100)); err != nil {
				t.Fatal(err)
			}
			select {
			case a := <-answers:
				t.Fatalf("it is over before its time, after %d bytes", a.Bytes)
			default:
			}
			end()
			select {
			case a := <-answers:
				if !a.Aborted || a.Bytes >= int64(len(content)) {
					t.Errorf("aborted %v after %d bytes", a.Aborted, a.Bytes)
				}
			case <-time.After(20 * time.Second):
				t.Fatal("it goes on")
			}
		})
	}
}

// TestLifetime checks the context of an exchange for each of what ends it, with and
// without somebody who waits.
func TestLifetime(t *testing.T) {
	t.Parallel()
	type key struct{}
	for _, waits := range []bool{false, true} {
		for _, by := range []string{"request", "exchange", "handler", "handler before"} {
			t.Run(fmt.Sprintf("%s, waits %v", by, waits), func(t *testing.T) {
				t.Parallel()
				request, leave := context.WithCancel(context.WithValue(t.Context(), key{}, "kept"))
				defer leave()
				until, end := context.WithCancel(t.Context())
				defer end()
				all := newLifetimes(until)
				if by == "handler before" {
					end()
				}
				l := &lifetime{request: request, all: all, w: httptest.NewRecorder()}
				all.begin(l)
				defer l.end()
				if err := l.Err(); (err != nil) != (by == "handler before") || l.Value(key{}) != "kept" {
					t.Errorf("before its end: %v, value %v", err, l.Value(key{}))
				}
				child := context.Context(l)
				if waits {
					var cancel context.CancelFunc
					child, cancel = context.WithCancel(l)
					defer cancel()
				}
				switch by {
				case "request":
					leave()
				case "exchange":
					l.end()
				case "handler":
					end()
				}
				select {
				case <-child.Done():
				case <-time.After(20 * time.Second):
					t.Error("it does not end")
				}
				if child.Err() == nil || l.Value(key{}) != "kept" {
					t.Errorf("after its end: %v, value %v", child.Err(), l.Value(key{}))
				}
			})
		}
	}
}
