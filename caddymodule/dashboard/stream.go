package dashboard

import (
	"encoding/json"
	"fmt"
	"net/http"
	"time"
)

const (
	// aliveEvery is how often a stream without news has something in it, so that both
	// sides, and what lies between them, know that it is there.
	aliveEvery = 15 * time.Second
	// streamStall is how long somebody may take to read before he is dropped.
	streamStall = 10 * time.Second
	// comeBack is after how long a page that lost its stream asks for another one.
	comeBack = 2 * time.Second
)

// greeting begins each stream.
type greeting struct {
	User    string    `json:"user"`
	Actions bool      `json:"actions"`
	Now     time.Time `json:"now"` // by the clock of the gateway
}

// stream sends what the user sees as server-sent events until he leaves, or the
// configuration ends.
func (d *run) stream(w http.ResponseWriter, r *http.Request) error {
	l := d.hub.listen(d.user(r))
	if l == nil {
		w.Header().Set("Retry-After", "60")
		return refuse(http.StatusServiceUnavailable, "too many pages are open")
	}
	defer d.hub.leave(l)
	h := w.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Accel-Buffering", "no") // of nginx, if that lies in between
	control := http.NewResponseController(w)
	defer func() { _ = control.SetWriteDeadline(time.Time{}) }()
	send := func(format string, args ...any) bool {
		_ = control.SetWriteDeadline(time.Now().Add(streamStall))
		_, err := fmt.Fprintf(w, format, args...)
		return err == nil && control.Flush() == nil
	}
	hello, err := json.Marshal(greeting{l.user, d.allowed.acts(l.user), time.Now()})
	if err != nil || !send("retry: %d\nevent: hello\ndata: %s\n\n", comeBack.Milliseconds(), hello) {
		return nil
	}
	alive := time.NewTicker(aliveEvery)
	defer alive.Stop()
	for {
		var ok bool
		select {
		case news := <-l.news:
			ok = send("data: %s\n\n", news)
		case <-alive.C:
			ok = send(":\n\n")
		case <-r.Context().Done():
			return nil
		case <-d.hub.ctx.Done():
			return nil
		}
		if !ok {
			return nil
		}
	}
}
