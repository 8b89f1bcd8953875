package dashboard

import (
	"slices"
	"strconv"
	"time"

	"github.com/pullgate/pullgate/internal/history"
	"github.com/pullgate/pullgate/internal/operate"
)

const (
	// dayHours is up to how many hours are shown in minutes.
	dayHours  = 24
	mostHours = 14 * dayHours
	// nextPatience is how long is waited for what is next to go.
	nextPatience = 10 * time.Second
)

// showHistory tells what went on in the last hours. A graph of a day has a point for
// each five minutes: no screen shows more.
func (d *run) showHistory(q *query) (any, error) {
	hours, _ := strconv.Atoi(q.Get("hours"))
	hours = min(max(hours, 1), mostHours)
	request := operate.HistoryRequest{Since: time.Now().Add(-time.Duration(hours) * time.Hour), Step: history.Coarse}
	if hours <= dayHours {
		request.Step = history.Fine
	}
	h, err := d.gateway.History(q.Context(), request)
	if err != nil {
		return nil, err
	}
	if request.Step == history.Fine {
		h.Step, h.Points = graphStep.Seconds(), thin(h.Points, graphStep)
	}
	// A step that is not over would look like a fall.
	step := time.Duration(h.Step * float64(time.Second))
	if n := len(h.Points); n > 2 && time.Since(h.Points[n-1].Time) < step {
		h.Points = h.Points[:n-1]
	}
	return h, nil
}

// graphStep is the time between the points of a graph of a day.
const graphStep = 5 * time.Minute

// thin adds up what falls into one step.
func thin(points []operate.HistoryPoint, step time.Duration) []operate.HistoryPoint {
	thinned := []operate.HistoryPoint{}
	for _, p := range points {
		p.Time = p.Time.Truncate(step)
		n := len(thinned)
		if n == 0 || !thinned[n-1].Time.Equal(p.Time) {
			thinned = append(thinned, p)
			continue
		}
		last := &thinned[n-1]
		last.Sent, last.Received, last.Evicted, last.Blobs = last.Sent+p.Sent, last.Received+p.Received, last.Evicted+p.Evicted, p.Blobs
		last.Bucket, last.Peers = last.Bucket+p.Bucket, last.Peers+p.Peers
	}
	return thinned
}

// showNext tells which blobs go first when room is needed, as far as who asks may see
// whose they are.
func (d *run) showNext(q *query) (any, error) {
	all, _, err := d.images.next.get("", nextPatience)
	if err != nil {
		return nil, err
	}
	next := nextBlobs{Blobs: []nextBlob{}, Pinned: all.pinned}
	for _, b := range all.blobs {
		seen := nextBlob{Bytes: b.Bytes, Used: b.Used, Scopes: []string{}}
		for _, scope := range b.Scopes {
			if name := scope.String(); q.audience.seesScope(scope) && !slices.Contains(seen.Scopes, name) {
				seen.Scopes = append(seen.Scopes, name)
			}
		}
		if len(seen.Scopes) > 0 || len(b.Scopes) == 0 {
			next.Blobs = append(next.Blobs, seen)
		}
	}
	return next, nil
}

// nextBlobs are the blobs that go first, beside what never does.
type nextBlobs struct {
	Blobs  []nextBlob `json:"blobs"`
	Pinned int64      `json:"pinned_bytes"`
}

// nextBlob is a blob that goes soon.
type nextBlob struct {
	Bytes  int64     `json:"bytes"`
	Used   time.Time `json:"used"`
	Scopes []string  `json:"scopes"`
}

// maxNext is how many blobs of a store are told.
const maxNext = 100

// probe tests an upstream now.
func (d *run) probe(q *query) (any, error) {
	if name := q.Get("upstream"); !q.audience.sees(name) {
		return nil, refuse(404, "no upstream of yours is "+name)
	}
	lines := []operate.ProbeLine{}
	err := d.gateway.Probe(q.Context(), operate.ProbeRequest{Upstream: q.Get("upstream")}, func(line operate.ProbeLine) {
		lines = append(lines, line)
	})
	return lines, err
}
