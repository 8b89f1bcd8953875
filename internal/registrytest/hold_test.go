package registrytest

import (
	"net/http"
	"testing"
	"time"
)

// TestHoldEndsWithTheTest: what is held at the end of a test goes on by itself, so that
// the server closes; nothing is left that could wait for ever.
func TestHoldEndsWithTheTest(t *testing.T) {
	t.Parallel()
	passed := make(chan struct{})
	t.Run("a test that ends early", func(t *testing.T) {
		s := New(t, Options{})
		gate, _ := Hold(t)
		asked := make(chan struct{})
		s.Hook(func(http.ResponseWriter, *http.Request, http.HandlerFunc) {
			close(asked)
			<-gate
			close(passed)
		})
		go func() {
			response, err := (&http.Client{Timeout: time.Minute}).Get(s.URL() + "/v2/")
			if err == nil {
				_ = response.Body.Close()
			}
		}()
		<-asked
	})
	select {
	case <-passed:
	default:
		t.Error("the server closed beside a handler that is still held")
	}
}

// TestHangEndsWithTheServer: so does what hangs, whether its client has left or not.
func TestHangEndsWithTheServer(t *testing.T) {
	began := time.Now()
	t.Run("a test that ends early", func(t *testing.T) {
		s := New(t, Options{})
		asked := make(chan struct{})
		hang := Hang(make(chan struct{}))
		s.Hook(func(w http.ResponseWriter, r *http.Request, next http.HandlerFunc) {
			close(asked)
			hang(w, r, next)
		})
		go func() {
			response, err := (&http.Client{Timeout: time.Minute}).Get(s.URL() + "/v2/")
			if err == nil {
				_ = response.Body.Close()
			}
		}()
		<-asked
	})
	if took := time.Since(began); took > closeTime/2 {
		t.Errorf("it took %v", took)
	}
}

// TestCloseIsBounded: a handler that nothing ends is told of, and not waited for.
func TestCloseIsBounded(t *testing.T) {
	t.Parallel()
	s, err := Listen("127.0.0.1:0", Options{})
	if err != nil {
		t.Fatal(err)
	}
	asked, bare := make(chan struct{}), make(chan struct{})
	s.Hook(func(http.ResponseWriter, *http.Request, http.HandlerFunc) {
		close(asked)
		<-bare
	})
	go func() {
		response, err := (&http.Client{Timeout: time.Minute}).Get(s.URL() + "/v2/")
		if err == nil {
			_ = response.Body.Close()
		}
	}()
	<-asked
	if s.closeWithin(50 * time.Millisecond) {
		t.Error("it closed, it says")
	}
	close(bare)
	if !s.closeWithin(time.Minute) {
		t.Error("it does not close")
	}
}
