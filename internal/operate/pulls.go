package operate

import (
	"context"
	"strings"
	"time"
)

// PullsRequest asks for the pulls of images whose name or digest contains Image; for all,
// if that is empty.
type PullsRequest struct{ Image string }

// Parameters returns the query.
func (q *PullsRequest) Parameters() Parameters { return Parameters{"image": text(&q.Image)} }

// Selects reports whether a pull of the image is asked for.
func (q PullsRequest) Selects(image, digest string) bool {
	return strings.Contains(image, q.Image) || strings.Contains(digest, q.Image)
}

// Pulls are the pulls of images that a server has seen since it began: those that run
// and the most recent ones, and who has pulled what, as far as there is room for it.
type Pulls struct {
	Running []Pull       `json:"running"` // the newest first, as Recent
	Recent  []Pull       `json:"recent"`
	Clients []PullClient `json:"clients"` // most bytes first, as Images
	Images  []PullImage  `json:"images"`
}

// Pull is one pull of an image by a client: its requests from that for the manifest on,
// until all layers were answered or it asked for nothing any more.
type Pull struct {
	PullSubject

	Began time.Time `json:"began"`
	Ended time.Time `json:"ended,omitzero"` // with the last answer; zero = it runs
	// Result is running, ok, failed (something was refused and not asked for again with
	// success) or aborted (the client left).
	Result string `json:"result"`
	// Cache is the worst that an answer to a request for a blob was, or, without any, for
	// a manifest: hit, prefetched, stale, joined or miss. Stale is what a manifest was, too.
	Cache string `json:"cache,omitempty"`
	// Error is the last failure.
	Error string `json:"error,omitempty"`
	// Phase is what is waited for while it runs: one of those in PullSeconds.
	Phase string `json:"phase,omitempty"`

	PullBytes

	// Requests were made by the client, and UpstreamRequests for it: Asked has the latter
	// by what they were.
	Requests         int            `json:"requests"`
	UpstreamRequests int            `json:"upstream_requests"`
	Asked            []PullQuestion `json:"asked,omitempty"`
	Seconds          PullSeconds    `json:"seconds"`
}

// PullSubject says what is pulled, and by whom.
type PullSubject struct {
	Image    string `json:"image"` // such as docker.io/library/nginx:1.27
	Digest   string `json:"digest,omitempty"`
	Platform string `json:"platform,omitempty"` // empty = it is not known; several are listed
	Upstream string `json:"upstream"`
	Client   string `json:"client"` // an address; of IPv6 the network
	User     string `json:"user,omitempty"`
}

// PullBytes says how many bytes a pull took, and where they came from.
type PullBytes struct {
	// Bytes were sent to the client, of TotalBytes that layers and config have; 0 = that
	// is not known. A client that has some of them asks for less.
	Bytes      int64 `json:"bytes"`
	TotalBytes int64 `json:"total_bytes,omitempty"`
	// CacheBytes of those sent were stored before, and PrefetchedBytes were brought by
	// looking ahead for this pull.
	CacheBytes      int64 `json:"cache_bytes"`
	PrefetchedBytes int64 `json:"prefetched_bytes"`
	// UpstreamBytes were received for the pull, those of look-ahead included. What another
	// client's download brought is that one's.
	UpstreamBytes int64 `json:"upstream_bytes"`
}

// PullQuestion counts what an upstream was asked for.
type PullQuestion struct {
	// Op is token, head_manifest, get_manifest, head_blob, get_blob, ping, tags or referrers.
	Op       string `json:"op"`
	Requests int    `json:"requests"`
	// Failed of these did, the last one by Class.
	Failed int    `json:"failed,omitempty"`
	Class  string `json:"class,omitempty"`
	// Seconds from the requests to the headers of their answers, added up.
	Seconds float64 `json:"seconds"`
}

// PullSeconds says where the time of a pull went. It adds up to how long the pull took:
// where several requests were under way, a moment counts for the first of transfer,
// first_byte, queue and look_up that one of them was in.
type PullSeconds struct {
	// LookUp is the wait for an answer about a manifest, the store's or the upstream's.
	LookUp float64 `json:"look_up_seconds"`
	// Queue is the wait of a blob for other downloads of the client or of the upstream, and
	// for the store.
	Queue float64 `json:"queue_seconds"`
	// FirstByte is the wait of a blob for its beginning, once the upstream was asked for it.
	FirstByte float64 `json:"first_byte_seconds"`
	// Token is what of LookUp and FirstByte the token server took, and is not in them.
	Token float64 `json:"token_seconds"`
	// Transfer is when bytes went to the client while they came from the upstream: the slower
	// one of the two decides.
	Transfer float64 `json:"transfer_seconds"`
	// Client is when only the client was waited for: it was sent what is stored, or asked
	// for nothing.
	Client float64 `json:"client_seconds"`
}

// PullClient is who pulls.
type PullClient struct {
	Client   string    `json:"client"`
	User     string    `json:"user,omitempty"`
	Pulls    int64     `json:"pulls"`
	Requests int64     `json:"requests"`
	Errors   int64     `json:"errors"` // answered with 4xx, unless 404, or with 5xx
	Bytes    int64     `json:"bytes"`
	LastSeen time.Time `json:"last_seen"`
}

// PullImage is what is pulled.
type PullImage struct {
	Image    string    `json:"image"`
	Pulls    int64     `json:"pulls"`
	Errors   int64     `json:"errors"` // of these, that failed
	Bytes    int64     `json:"bytes"`
	LastPull time.Time `json:"last_pull"`
}

// The results of a pull.
const (
	PullRunning = "running"
	PullOK      = "ok"
	PullFailed  = "failed"
	PullAborted = "aborted"
)

// Pulls implements Gateway. A command has seen none.
func (l *Local) Pulls(_ context.Context, q PullsRequest) (Pulls, error) {
	if l.Tracked == nil {
		return Pulls{Running: []Pull{}, Recent: []Pull{}, Clients: []PullClient{}, Images: []PullImage{}}, nil
	}
	return l.Tracked(q), nil
}

// Pulls implements Gateway.
func (c *Client) Pulls(ctx context.Context, q PullsRequest) (Pulls, error) {
	return askDocument[Pulls](ctx, c, PullsPath, q.Parameters())
}
