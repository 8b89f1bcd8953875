package upstream

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/internal/registrytest"
)

// TestPauseOverAClockSetBack: whatever is not done for a while is done again after that
// while, also if the clock is set back meanwhile.
func TestPauseOverAClockSetBack(t *testing.T) {
	t.Parallel()
	const last = 30 * time.Second
	for _, back := range []time.Duration{last, time.Minute, 24 * time.Hour, 365 * 24 * time.Hour} {
		now := newClock()
		var p pause
		if left := p.left(now.Now()); left != 0 {
			t.Errorf("the zero value lasts %v", left)
		}
		p.begin(now.Now(), last)
		now.add(10 * time.Second)
		if left := p.left(now.Now()); left != 20*time.Second {
			t.Errorf("%v are left", left)
		}
		now.add(-back)
		for waited := time.Duration(0); p.left(now.Now()) > 0; waited += time.Second {
			if waited > last {
				t.Errorf("set back by %v, it lasts longer than %v", back, last)
				break
			}
			now.add(time.Second)
		}
	}
}

// TestRateLimitOverAClockSetBack asks the registry again after the pause that it asked
// for, at most.
func TestRateLimitOverAClockSetBack(t *testing.T) {
	t.Parallel()
	for name, limited := range map[string]func(http.ResponseWriter){
		"a 429": func(w http.ResponseWriter) {
			w.Header().Set("Retry-After", "30")
			w.WriteHeader(http.StatusTooManyRequests)
		},
		"one that is used up": func(w http.ResponseWriter) {
			w.Header().Set("Ratelimit-Remaining", "0;w=30")
			w.WriteHeader(http.StatusNotFound)
		},
	} {
		s, image := newServer(t, registrytest.Options{})
		now := newClock()
		s.Hook(func(w http.ResponseWriter, r *http.Request, next http.HandlerFunc) {
			if strings.Contains(r.URL.Path, "/manifests/") {
				limited(w)
				return
			}
			next(w, r)
		})
		c := newClient(t, s.URL(), func(o *Options) { o.Now = now.Now })
		_, _ = c.Manifest(t.Context(), repo, tag(image.Tag))
		s.Hook(nil)
		s.Reset()
		_, err := c.Manifest(t.Context(), repo, tag(image.Tag))
		if wantClass(t, err, oci.ClassRateLimited); len(s.Requests()) != 0 {
			t.Errorf("%s: the registry is asked", name)
		}
		now.add(-24*time.Hour + 30*time.Second)
		if _, err := c.Manifest(t.Context(), repo, tag(image.Tag)); err != nil {
			t.Errorf("%s: after the pause: %v", name, err)
		}
	}
}

// TestMemoOverAClockSetBack: a token is not taken to be good for a day longer.
func TestMemoOverAClockSetBack(t *testing.T) {
	t.Parallel()
	s, image := newServer(t, registrytest.Options{Auth: registrytest.AuthBearer})
	now := newClock()
	c := newClient(t, s.URL(), func(o *Options) { o.Now = now.Now })
	for tokens, back := range []time.Duration{0, 24 * time.Hour} {
		now.add(-back)
		if _, err := c.Manifest(t.Context(), repo, tag(image.Tag)); err != nil {
			t.Fatal(err)
		}
		if n := s.Count("", "token"); n != tokens+1 {
			t.Errorf("%d tokens were asked for, want %d", n, tokens+1)
		}
	}
}
