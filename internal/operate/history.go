package operate

import (
	"context"
	"fmt"
	"time"

	"github.com/pullgate/pullgate/internal/fleet"
	"github.com/pullgate/pullgate/internal/history"
	"github.com/pullgate/pullgate/storage"
)

// History is how much was done, step by step.
type History struct {
	Step   float64        `json:"step_seconds"`
	Points []HistoryPoint `json:"points"` // by time; steps without the gateway have none
}

// HistoryPoint is how much was done in one step.
type HistoryPoint = history.Point

// HistoryRequest asks for the steps since a time. The zero value is about all minutes
// that are known, which are those of a day. Hours are known for two weeks.
type HistoryRequest struct {
	Since time.Time
	Step  time.Duration // history.Fine, history.Coarse; 0 = minutes
}

// HistoryTotals returns what was counted so far, as a history of a store wants it.
func HistoryTotals(traffic []Traffic, u storage.Usage, f *fleet.Fleet) HistoryPoint {
	p := HistoryPoint{Evicted: u.EvictedBytes, Blobs: u.BlobBytes}
	if b := f.Status(); b != nil {
		p.Bucket = b.Received
	}
	if others := f.Peers(); others != nil {
		p.Peers = others.Received
	}
	for _, t := range traffic {
		p.Sent, p.Received, p.Preloaded = p.Sent+t.Sent, p.Received+t.Received, p.Preloaded+t.Preloaded
		p.Requests, p.Hits, p.Prefetched = p.Requests+t.Requests, p.Hits+t.Hits, p.Prefetched+t.Prefetched
		p.Joined, p.Misses, p.Stale, p.Errors = p.Joined+t.Joined, p.Misses+t.Misses, p.Stale+t.Stale, p.Errors+t.Errors
	}
	return p
}

// Parameters returns the query.
func (q *HistoryRequest) Parameters() Parameters {
	return Parameters{
		"since": {func(value string) (err error) {
			q.Since, err = time.Parse(time.RFC3339, value)
			return err
		}, func() string {
			if q.Since.IsZero() {
				return ""
			}
			return q.Since.Format(time.RFC3339)
		}},
		"step": {func(value string) error {
			for step, name := range stepNames {
				if name == value {
					q.Step = step
					return nil
				}
			}
			return fmt.Errorf("%q is neither minute nor hour", value)
		}, func() string { return stepNames[q.Step] }},
	}
}

var stepNames = map[time.Duration]string{history.Fine: "minute", history.Coarse: "hour"}

// History implements Gateway. It is that of the store of the newest configuration.
func (l *Local) History(_ context.Context, q HistoryRequest) (History, error) {
	s, _, err := l.sites("")
	if err != nil {
		return History{}, err
	}
	if q.Step != history.Coarse {
		q.Step = history.Fine
	}
	points := append([]HistoryPoint{}, s.History.Points(q.Step, q.Since)...)
	return History{q.Step.Seconds(), points}, nil
}

// History implements Gateway.
func (c *Client) History(ctx context.Context, q HistoryRequest) (History, error) {
	return askDocument[History](ctx, c, HistoryPath, q.Parameters())
}
