package registry

import (
	"bufio"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/pullgate/pullgate/internal/oci"
)

// raw is a connection on which a request was sent, and whose receive buffer is
// limited: what the client does not read, the server cannot write.
func raw(t *testing.T, server *httptest.Server, buffer int, headers string) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	if err := conn.(*net.TCPConn).SetReadBuffer(buffer); err != nil {
		t.Fatal(err)
	}
	if server.TLS != nil {
		conn = tls.Client(conn, &tls.Config{InsecureSkipVerify: true})
	}
	if _, err := fmt.Fprintf(conn, "GET %s/blobs/%s HTTP/1.1\r\nHost: x\r\n%s\r\n", testPrefix, testDigest, headers); err != nil {
		t.Fatal(err)
	}
	return conn
}

// served returns a server of one blob, and the answers that are over.
func served(t *testing.T, m *fakeMirror, after time.Duration, secure bool) (*httptest.Server, <-chan Answer) {
	t.Helper()
	answers := make(chan Answer, 100)
	o := options(m)
	o.stallAfter = after
	o.OnDone = func(_ *http.Request, a *Answer) { answers <- *a }
	server := httptest.NewUnstartedServer(New(o))
	server.EnableHTTP2 = true
	server.Config.ConnState = func(conn net.Conn, s http.ConnState) {
		if secured, ok := conn.(*tls.Conn); ok {
			conn = secured.NetConn()
		}
		if tcp, ok := conn.(*net.TCPConn); ok && s == http.StateNew {
			_ = tcp.SetWriteBuffer(16 << 10)
		}
	}
	if secure {
		server.StartTLS()
	} else {
		server.Start()
	}
	t.Cleanup(server.Close)
	return server, answers
}

// TestStalledClientIsCut asks for a blob and reads nothing of it, on every way
// that a body goes out.
func TestStalledClientIsCut(t *testing.T) {
	t.Parallel()
	content := testBytes(2 << 20)
	for _, test := range []struct {
		name, headers string
		secure        bool
		blob          func(t *testing.T) *fakeMirror
	}{
		{"by the kernel", "", false, func(t *testing.T) *fakeMirror { return &fakeMirror{blob: fileBlob(t, content)} }},
		{"copied", "Range: bytes=0-2000000\r\n", false, func(t *testing.T) *fakeMirror { return &fakeMirror{blob: fileBlob(t, content)} }},
		{"several parts", "Range: bytes=0-1000000,1000002-\r\n", false, func(t *testing.T) *fakeMirror { return &fakeMirror{blob: fileBlob(t, content)} }},
		{"several parts under way", "Range: bytes=0-1000000,1000002-\r\n", false, func(*testing.T) *fakeMirror { return &fakeMirror{blob: fillBlob(content, 1<<20, 0, nil)} }},
		{"TLS", "", true, func(t *testing.T) *fakeMirror { return &fakeMirror{blob: fileBlob(t, content)} }},
		{"under way", "", false, func(*testing.T) *fakeMirror { return &fakeMirror{blob: fillBlob(content, 1<<20, 0, nil)} }},
	} {
		t.Run(test.name, func(t *testing.T) {
			server, answers := served(t, test.blob(t), 100*time.Millisecond, test.secure)
			raw(t, server, 4<<10, test.headers)
			a := <-answers
			if !a.Aborted || a.Bytes >= int64(len(content)) {
				t.Errorf("aborted %v after %d bytes", a.Aborted, a.Bytes)
			}
		})
	}
}

// TestStalledStreamIsCut leaves a stream of HTTP/2 unread, and uses the next one
// of the same connection.
func TestStalledStreamIsCut(t *testing.T) {
	t.Parallel()
	server, answers := served(t, &fakeMirror{blob: fileBlob(t, testBytes(8<<20))}, 200*time.Millisecond, true)
	response, err := server.Client().Get(server.URL + testPrefix + "/blobs/" + testDigest.String())
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if response.ProtoMajor != 2 {
		t.Fatal(response.Proto)
	}
	if a := <-answers; !a.Aborted {
		t.Errorf("%+v", a)
	}
	if _, err := io.Copy(io.Discard, response.Body); err == nil {
		t.Error("the body ended well")
	}
	ping, err := server.Client().Get(server.URL + "/v2/")
	if err != nil || ping.StatusCode != http.StatusOK {
		t.Fatal(ping, err)
	}
	_ = ping.Body.Close()
}

// TestSlowClientIsServed reads so slowly that the whole takes several times the
// time that no byte may take.
func TestSlowClientIsServed(t *testing.T) {
	t.Parallel()
	const after, size = 400 * time.Millisecond, 1 << 20
	content := testBytes(size)
	for name, headers := range map[string]string{"by the kernel": "", "copied": fmt.Sprintf("Range: bytes=0-%d\r\n", size-2)} {
		t.Run(name, func(t *testing.T) {
			server, answers := served(t, &fakeMirror{blob: fileBlob(t, content)}, after, false)
			conn := raw(t, server, 128<<10, headers)
			began := time.Now()
			response, err := http.ReadResponse(bufio.NewReaderSize(conn, 16), nil)
			if err != nil {
				t.Fatal(err)
			}
			defer response.Body.Close()
			var got int64
			for tick := time.NewTicker(after / 10); err == nil; <-tick.C {
				var n int64
				n, err = io.CopyN(io.Discard, response.Body, 32<<10)
				got += n
			}
			if a := <-answers; err != io.EOF || got != response.ContentLength || a.Aborted {
				t.Errorf("%d bytes of %d, %v, aborted %v", got, response.ContentLength, err, a.Aborted)
			}
			if took := time.Since(began); took < 2*after {
				t.Errorf("took %s: the test proves nothing", took)
			}
		})
	}
}

// fakeGuard is a server's guard; without lift it cannot be lifted.
type fakeGuard struct {
	after time.Duration
	lift  func() (restore func())
	cut   func(time.Time) error
}

func (g fakeGuard) Lift() (time.Duration, func()) {
	if g.lift == nil {
		return g.after, nil
	}
	return g.after, g.lift()
}

func (g fakeGuard) Limit(http.ResponseWriter, int64) bool { return false }

func (g fakeGuard) SetWriteDeadline(at time.Time) error { return g.cut(at) }

// TestGuard lets the server's guard have its way with small answers, and lifts it
// for as long as a blob is sent.
func TestGuard(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, path string
		fixed      bool
		lifted     int
	}{
		{"blob", "/blobs/" + testDigest.String(), false, 1},
		{"blob, and it cannot be lifted", "/blobs/" + testDigest.String(), true, 0},
		{"manifest", "/manifests/" + testDigest.String(), false, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			content := testBytes(1000)
			o := options(&fakeMirror{blob: fileBlob(t, content), manifest: oci.Manifest{Digest: testDigest, Bytes: content}})
			lifted, restored := 0, 0
			guard := fakeGuard{after: time.Minute, cut: func(time.Time) error { panic("meddled with") }}
			if !test.fixed {
				guard.lift = func() func() {
					lifted++
					return func() { restored++ }
				}
			}
			o.stallAfter = time.Nanosecond
			o.Guard = func(*http.Request) Guard { return guard }
			w := httptest.NewRecorder()
			aborted := aborts(New(o), w, httptest.NewRequest(http.MethodGet, testPrefix+test.path, nil))
			if aborted || w.Body.Len() != 1000 || lifted != test.lifted || restored != lifted {
				t.Errorf("aborted %v, %d bytes, lifted %d times, restored %d times", aborted, w.Body.Len(), lifted, restored)
			}
		})
	}
}

// TestStalledClientIsCutBelowGuard has a stalled client cut by the deadline below
// the guard, which is the one that was lifted, and keeps it cut.
func TestStalledClientIsCutBelowGuard(t *testing.T) {
	t.Parallel()
	cuts := make(chan time.Time, 10)
	guard := fakeGuard{
		after: 40 * time.Millisecond, lift: func() func() { return func() { cuts <- time.Time{} } },
		cut: func(at time.Time) error {
			cuts <- at
			return nil
		},
	}
	x := &response{guard: guard}
	restore := x.lift()
	x.stall.begin(func() int64 { return 7 })
	if at := <-cuts; !at.Equal(past) {
		t.Errorf("deadline %v", at)
	}
	if err := x.stall.end(nil); !errors.Is(err, errStalled) {
		t.Errorf("got %v", err)
	}
	restore()
	if restored, at := <-cuts, <-cuts; !restored.IsZero() || !at.Equal(past) {
		t.Errorf("restored %v, then deadline %v", restored, at)
	}
}
