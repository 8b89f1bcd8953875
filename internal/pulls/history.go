package pulls

import (
	"cmp"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/pullgate/pullgate/internal/operate"
	"github.com/pullgate/pullgate/internal/registry"
)

const (
	maxRecent = 128 // pulls that went well, or were aborted
	maxFailed = 64
	maxRows   = 256 // clients, and images
)

// history is what is known of pulls that have ended.
type history struct {
	recent, failed []operate.Pull // the oldest first
	clients        map[string]*operate.PullClient
	images         map[string]*operate.PullImage
}

func newHistory() history {
	return history{clients: map[string]*operate.PullClient{}, images: map[string]*operate.PullImage{}}
}

// add takes a pull in. Those that failed push out no others: names can be made up.
func (h *history) add(p operate.Pull) {
	failed := p.Result == operate.PullFailed
	if failed {
		h.failed = push(h.failed, p, maxFailed)
	} else {
		h.recent = push(h.recent, p, maxRecent)
	}
	if c := h.clients[clientKey(p.User, p.Client)]; c != nil {
		c.Pulls++
	}
	i := h.images[p.Image]
	if i == nil {
		if failed && len(h.images) == maxRows {
			return
		}
		evict(h.images, func(i *operate.PullImage) time.Time { return i.LastPull })
		i = &operate.PullImage{Image: p.Image}
		h.images[p.Image] = i
	}
	i.Pulls++
	i.Bytes += p.Bytes
	i.LastPull = p.Ended
	if failed {
		i.Errors++
	}
}

func push(pulls []operate.Pull, p operate.Pull, most int) []operate.Pull {
	if len(pulls) == most {
		pulls = append(pulls[:0], pulls[1:]...)
	}
	return append(pulls, p)
}

// clientKey is as oci.Request has it.
func clientKey(user, client string) string { return user + "@" + client }

// request counts an answer.
func (h *history) request(a *registry.Answer, now time.Time) {
	q := &a.Request
	if q.Client == "" {
		return
	}
	c := h.clients[q.Client]
	if c == nil {
		evict(h.clients, func(c *operate.PullClient) time.Time { return c.LastSeen })
		c = &operate.PullClient{Client: strings.TrimPrefix(q.Client, q.User+"@"), User: q.User}
		h.clients[q.Client] = c
	}
	c.Requests++
	c.Bytes += a.Bytes
	c.LastSeen = now
	if a.Status >= http.StatusBadRequest && a.Status != http.StatusNotFound && !a.Aborted {
		c.Errors++
	}
}

// evict makes room in a table for one more: what was not seen for the longest goes.
func evict[R any](rows map[string]*R, seen func(*R) time.Time) {
	if len(rows) < maxRows {
		return
	}
	oldest := ""
	for name, row := range rows {
		if oldest == "" || seen(row).Before(seen(rows[oldest])) {
			oldest = name
		}
	}
	delete(rows, oldest)
}

// report returns what is asked for, without the pulls that run. Clients are those of all
// images.
func (h *history) report(q operate.PullsRequest) operate.Pulls {
	r := operate.Pulls{Running: []operate.Pull{}, Recent: []operate.Pull{}, Clients: []operate.PullClient{}, Images: []operate.PullImage{}}
	for _, p := range slices.Concat(h.recent, h.failed) {
		if q.Selects(p.Image, p.Digest) {
			r.Recent = append(r.Recent, p)
		}
	}
	slices.SortStableFunc(r.Recent, func(a, b operate.Pull) int { return b.Ended.Compare(a.Ended) })
	for _, c := range h.clients {
		r.Clients = append(r.Clients, *c)
	}
	slices.SortFunc(r.Clients, func(a, b operate.PullClient) int {
		return cmp.Or(cmp.Compare(b.Bytes, a.Bytes), cmp.Compare(a.Client, b.Client), cmp.Compare(a.User, b.User))
	})
	for _, name := range slices.Sorted(maps.Keys(h.images)) {
		if q.Selects(name, "") {
			r.Images = append(r.Images, *h.images[name])
		}
	}
	slices.SortStableFunc(r.Images, func(a, b operate.PullImage) int { return cmp.Compare(b.Bytes, a.Bytes) })
	return r
}
