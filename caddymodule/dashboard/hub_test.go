package dashboard

import (
	"bufio"
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/pullgate/pullgate/internal/operate"
)

// countedHub returns a hub whose snapshots are counted; each has as many upstreams.
func countedHub(ctx context.Context, changes bool) (h *hub, taken *atomic.Int64) {
	h, taken = newHub(ctx, nil, allowed{}), new(atomic.Int64)
	h.take = func(context.Context) (*snapshot, error) {
		n := taken.Add(1)
		s := &snapshot{}
		if changes {
			s.status.Server = &operate.Server{Started: time.Unix(n, 0)}
		}
		return s, nil
	}
	return h, taken
}

// One snapshot a second is made for all who listen, and none for nobody; who has it
// already gets nothing.
func TestHubTicksOnceForAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, taken := countedHub(t.Context(), false)
		var all []*listener
		for range 20 {
			all = append(all, h.listen(""))
		}
		time.Sleep(10*time.Second + tickEvery/2)
		if n := taken.Load(); n < 10 || n > 12 {
			t.Errorf("%d snapshots in 10 s for 20 pages", n)
		}
		for _, l := range all {
			<-l.news
			select {
			case news := <-l.news:
				t.Errorf("nothing has changed, and there is %s", news)
			default:
			}
			h.leave(l)
		}
		time.Sleep(2 * tickEvery)
		before := taken.Load()
		time.Sleep(time.Minute)
		if n := taken.Load() - before; n > 0 {
			t.Errorf("%d snapshots for nobody", n)
		}
		l := h.listen("")
		<-l.news // it begins again
		h.leave(l)
		time.Sleep(2 * tickEvery)
	})
}

// Who does not read keeps nobody waiting, and gets the newest when he does.
func TestHubSlowReader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, _ := countedHub(t.Context(), true)
		slow, quick := h.listen(""), h.listen("")
		var last string
		for range 5 {
			time.Sleep(tickEvery)
			last = string(<-quick.news)
		}
		if got := string(<-slow.news); got != last {
			t.Errorf("the slow one gets %s, and the newest is %s", got, last)
		}
		h.leave(slow)
		h.leave(quick)
		time.Sleep(2 * tickEvery)
	})
}

func TestHubIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, _ := countedHub(t.Context(), false)
		var all []*listener
		for range maxListeners {
			all = append(all, h.listen(""))
		}
		if h.listen("") != nil {
			t.Error("there is room for one more")
		}
		for _, l := range all {
			h.leave(l)
		}
		time.Sleep(2 * tickEvery)
	})
}

// A stream greets, tells, and ends with the configuration: a server that stops does not
// wait for it.
func TestStream(t *testing.T) {
	p := newPage(t, map[string][]string{"docker.io": nil, "alice.example": {"alice"}})
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_ = p.ServeHTTP(w, r, caddyhttp.HandlerFunc(func(http.ResponseWriter, *http.Request) error { return nil }))
	}))
	server.Config.RegisterOnShutdown(func() { _ = p.Cleanup() })
	server.Start()
	defer server.Close()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL+"/x/api/events", nil)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("User", "alice")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if of := response.Header.Get("Content-Type"); of != "text/event-stream" {
		t.Errorf("it is %s", of)
	}
	lines := bufio.NewScanner(response.Body)
	lines.Buffer(nil, 1<<20)
	var seen []string
	for lines.Scan() {
		if data, ok := strings.CutPrefix(lines.Text(), "data: "); ok {
			if seen = append(seen, data); len(seen) == 2 {
				break
			}
		}
	}
	if len(seen) < 2 || !strings.Contains(seen[0], `"user":"alice"`) || !strings.Contains(seen[1], "alice.example") || !strings.Contains(seen[1], `"version":"v1.2.3"`) {
		t.Fatalf("the stream says %q", seen)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := server.Config.Shutdown(ctx); err != nil {
		t.Errorf("stop the server: %v", err)
	}
	for lines.Scan() {
		continue // it comes to its end
	}
}
