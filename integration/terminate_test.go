//go:build integration

package integration

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/internal/registrytest"
)

// TestTerminate ends the gateway as an init system does, while a cold blob and a
// cached one are read: nobody new is let in, who is in gets all of it, the process
// ends well, and the next one begins with a store that is whole, and knows both.
func TestTerminate(t *testing.T) {
	rounds := 3
	if long() {
		rounds = 100
	}
	const size = 16 << 20
	u := registrytest.New(t, registrytest.Options{})
	s := newSubject(t, subjectOptions{site: fmt.Sprintf("upstream docker.io {\nurl %s\n}", u.URL()), store: filepath.Join(t.TempDir(), "store")})
	warm := u.PutBlob("library/app", registrytest.Random(1, size)).String()
	s.start(t)
	base := s.url() + "/v2/proxy-docker.io/library/app/blobs/"
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	if err := fetchDigest(client, base+warm, warm); err != nil {
		t.Fatal(err)
	}
	for round := range rounds {
		content := registrytest.Random(uint64(2+round), size)
		cold := u.PutBlob("library/app", content).String()
		halfway := newGate(size / 2)
		previous := u.Hook(halfway.hook)
		readers := map[string]*http.Response{warm: openBlob(t, base+warm), cold: openBlob(t, base+cold)}
		if _, err := io.CopyN(io.Discard, readers[cold].Body, 0); err != nil {
			t.Fatal(err)
		}
		log, _ := os.ReadFile(s.logPath)
		s.signal(t, syscall.SIGTERM)
		s.await(t, func() error {
			if response, err := client.Get(s.url() + "/v2/"); err == nil {
				response.Body.Close()
				return fmt.Errorf("a new client gets %s", response.Status)
			}
			return nil
		})
		select {
		case <-s.ended:
			t.Fatal("the gateway has not waited for its clients")
		default:
		}
		halfway.lift()
		for want, response := range readers {
			raw, err := io.ReadAll(response.Body)
			if got := oci.Sum(raw).String(); err != nil || got != want {
				t.Errorf("round %d: a client that was in gets %d bytes of %s: %v", round, len(raw), want, err)
			}
			response.Body.Close()
		}
		<-s.ended
		after, _ := os.ReadFile(s.logPath)
		if text := string(after[len(log):]); !strings.Contains(text, `"exit_code":0`) || strings.Contains(text, `"level":"error"`) {
			t.Errorf("round %d: it ended with %s", round, text)
		}
		u.Hook(previous)
		u.Reset()
		s.start(t)
		for _, d := range []string{warm, cold} {
			if err := fetchDigest(client, base+d, d); err != nil {
				t.Errorf("round %d: afterwards: %v", round, err)
			}
		}
		if n := len(u.Requests()); n > 0 {
			t.Errorf("round %d: the upstream is asked %d times for what was stored", round, n)
		}
	}
	s.stop(t)
	t.Logf("%d rounds; %d blobs verify", rounds, checkStore(t, s.store).blobs)
}
