package dashboard

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pullgate/pullgate/internal/operate"
)

// Files for clients name the address that was given, and the upstreams of who asks.
func TestSetup(t *testing.T) {
	p := newPage(t, map[string][]string{"docker.io": nil, "alice.example": {"alice"}})
	if s := get[setup](p, "/api/setup"); len(s.Clients) < 10 || len(s.Files) > 0 {
		t.Errorf("without a client: %+v", s)
	}
	s := get[setup](p, "/api/setup?client=k3s&endpoint=http://gate.lan:5000&user=node&skip_fallback=1", "User", "alice")
	if len(s.Files) == 0 || !strings.Contains(s.Files[0].Content, "http://gate.lan:5000") || !strings.Contains(s.Files[0].Content, passwordPlace) || len(s.Steps) == 0 {
		t.Errorf("files are %+v", s)
	}
	if want := "pullgate mirror client-config k3s --endpoint http://gate.lan:5000 --user node --password-file FILE --skip-fallback alice.example docker.io"; s.Command != want {
		t.Errorf("command is %q, want %q", s.Command, want)
	}
	for _, query := range []string{"client=none&endpoint=http://a", "client=k3s&endpoint=gate", "client=k3s&endpoint=%25"} {
		if answer, _ := p.ask(http.MethodGet, "/api/setup?"+query); answer.Code != http.StatusBadRequest {
			t.Errorf("%s: %d %s", query, answer.Code, answer.Body)
		}
	}
}

func TestThin(t *testing.T) {
	at := time.Unix(0, 0).UTC()
	var points []operate.HistoryPoint
	for n := range 12 {
		points = append(points, operate.HistoryPoint{Time: at.Add(time.Duration(n+3) * time.Minute), Sent: 1, Received: 2, Bucket: 4, Peers: 5, Evicted: 3, Blobs: int64(n)})
	}
	thinned := thin(points, 5*time.Minute)
	if len(thinned) != 3 || thinned[0].Sent != 2 || thinned[1].Received != 10 || thinned[2].Evicted != 15 || thinned[1].Bucket != 20 || thinned[1].Peers != 25 || thinned[1].Blobs != 6 || !thinned[1].Time.Equal(at.Add(5*time.Minute)) {
		t.Errorf("points are %+v", thinned)
	}
	if thin(nil, time.Minute) == nil {
		t.Error("no points are null in JSON")
	}
}

// What takes long is found out once for all who wait, and an old answer serves meanwhile.
func TestRecent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var asked atomic.Int64
		r := &recent[int64]{ctx: t.Context(), age: time.Minute, find: func(_ context.Context, key string) (int64, error) {
			n := asked.Add(1)
			time.Sleep(time.Second)
			if key == "bad" {
				return 0, errors.New("no")
			}
			return n, nil
		}}
		get := func(key string, patience time.Duration, want int64, ready bool) {
			t.Helper()
			if n, ok, err := r.get(key, patience); n != want || ok != ready || err != nil {
				t.Errorf("%s: %d, %v, %v; want %d, %v", key, n, ok, err, want, ready)
			}
		}
		get("a", time.Millisecond, 0, false)
		get("a", 2*time.Second, 1, true)
		get("a", 0, 1, true)
		r.forget()
		get("a", time.Millisecond, 1, false)
		time.Sleep(2 * time.Second)
		get("a", 0, 2, true)
		if _, _, err := r.get("bad", time.Minute); err == nil {
			t.Error("an error is forgotten")
		}
	})
}
