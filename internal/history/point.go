package history

import "time"

// Point is how much was done in one step.
type Point struct {
	// Time is when the step began.
	Time time.Time `json:"time"`
	// Sent are the bytes of bodies to clients, Received those from upstreams, and
	// Preloaded of these what no client had asked for.
	Sent      int64 `json:"sent_bytes"`
	Received  int64 `json:"received_bytes"`
	Preloaded int64 `json:"preloaded_bytes"`
	// Bucket and Peers are the bytes from the bucket of a fleet, and from other gateways.
	Bucket  int64 `json:"bucket_bytes,omitempty"`
	Peers   int64 `json:"peer_bytes,omitempty"`
	Evicted int64 `json:"evicted_bytes"`
	// Blobs is what the blobs took at the end of the step.
	Blobs int64 `json:"blob_bytes"`
	// Requests are all, and the others those with one result.
	Requests   int64 `json:"requests"`
	Hits       int64 `json:"hits"`
	Prefetched int64 `json:"prefetched"`
	Joined     int64 `json:"joined"`
	Misses     int64 `json:"misses"`
	Stale      int64 `json:"stale"`
	Errors     int64 `json:"errors"`
}

// counts returns what is counted.
func (p *Point) counts() []*int64 {
	return []*int64{
		&p.Sent, &p.Received, &p.Preloaded, &p.Bucket, &p.Peers, &p.Evicted, &p.Requests, &p.Hits, &p.Prefetched, &p.Joined, &p.Misses, &p.Stale, &p.Errors,
	}
}

// since returns what was counted after the earlier of two totals. What has less than
// before began anew, so all of it came after.
func (p Point) since(earlier Point) Point {
	before := earlier.counts()
	for i, n := range p.counts() {
		if *n >= *before[i] {
			*n -= *before[i]
		}
	}
	return p
}

// add adds what was done in another part of the step, a later one.
func (p *Point) add(more Point) {
	amounts := more.counts()
	for i, n := range p.counts() {
		*n = min(*n+*amounts[i], mostCount)
	}
	p.Blobs = more.Blobs
}

// idle reports whether nothing was done.
func (p Point) idle() bool { return p == Point{Time: p.Time, Blobs: p.Blobs} }
