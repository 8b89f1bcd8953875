package metrics

import (
	"slices"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/pullgate/pullgate/internal/fleet"
	"github.com/pullgate/pullgate/internal/fleet/peers"
	"github.com/pullgate/pullgate/internal/operate"
)

// All names begin with it.
const namespace, subsystem = "caddy", "registry_mirror"

// Metric is one that is exposed.
type Metric struct {
	// Name is what follows caddy_registry_mirror_.
	Name   string
	Help   string
	Labels []string

	counts bool                            // it only grows
	store  func(operate.StoreStatus) int64 // of all stores together; nil = it is no sum
}

func (m Metric) desc() *prometheus.Desc {
	return prometheus.NewDesc(prometheus.BuildFQName(namespace, subsystem, m.Name), m.Help, m.Labels, nil)
}

// Table returns all metrics. Every label has a closed set of values. upstream is a
// configured name, or empty if a request names none. kind is manifest, blob, tags,
// referrers, or empty for what is no request of the API; pings are not counted. op is that of
// upstream.Observation, class an oci.Class, or ok. state is an upstream.Condition.
// result is one of:
//
//	hit, prefetched, miss, joined, stale   answered; see oci.Result
//	redirected                             307: the client gets the blob from the bucket
//	notfound                               404
//	denied                                 401, 403
//	ratelimited                            429
//	client_error                           other 4xx
//	error                                  5xx
//	aborted                                cut before it was complete, by whichever end
//
// The result of a pull is one of operate.Pull, and cache the worst result of its answers.
func Table() []Metric {
	type s = operate.StoreStatus
	return []Metric{
		{Name: "requests_total", Help: "Requests answered.", Labels: []string{"upstream", "kind", "result"}},
		{Name: "response_bytes_total", Help: "Bytes of bodies sent to clients.", Labels: []string{"upstream", "kind"}},
		{Name: "redirected_bytes_total", Help: "Bytes of blobs that clients were sent to the bucket for.", Labels: []string{"upstream"}},
		{Name: "response_duration_seconds", Help: "Time from a request to the end of its answer.", Labels: []string{"kind", "result"}},
		{Name: "upstream_requests_total", Help: "HTTP requests sent to upstreams.", Labels: []string{"upstream", "op", "class"}},
		{Name: "upstream_request_duration_seconds", Help: "Time from an HTTP request to an upstream to the header of its answer.", Labels: []string{"upstream", "op"}},
		{Name: "upstream_bytes_total", Help: "Bytes of bodies received from upstreams.", Labels: []string{"upstream"}},
		{Name: "stale_served_total", Help: "Stale answers, in place of fresh ones.", Labels: []string{"upstream", "reason"}},
		{Name: "breaker_state", Help: "Whether an upstream is asked: 0 = it is, 1 = a probe is due, 2 = it is not.", Labels: []string{"upstream", "url"}},
		{Name: "upstream_state", Help: "1 for the state that an upstream is in.", Labels: []string{"upstream", "url", "state"}},
		{Name: "upstream_ratelimit_remaining", Help: "How many pulls an upstream says are left.", Labels: []string{"upstream", "url"}},
		{Name: "upstream_ratelimit_limit", Help: "How many pulls an upstream says are allowed.", Labels: []string{"upstream", "url"}},
		{Name: "upstream_ratelimit_reset_timestamp_seconds", Help: "When an upstream says that there are more pulls.", Labels: []string{"upstream", "url"}},
		{Name: "fills_total", Help: "Downloads of blobs that ended.", Labels: []string{"upstream", "class"}},
		{Name: "preloaded_bytes_total", Help: "Bytes of blobs received that no client had asked for.", Labels: []string{"upstream"}},
		{Name: "pulls_total", Help: "Pulls of images that ended.", Labels: []string{"upstream", "result"}},
		{Name: "pull_duration_seconds", Help: "Time that pulls of images took that went well.", Labels: []string{"cache"}},
		{Name: "panics_total", Help: "Panics that were survived.", Labels: []string{"where"}},
		{Name: "fills_running", Help: "Downloads of blobs in progress.", store: func(s s) int64 { return int64(s.Stats.Fills) }},
		{Name: "fills_waiting", Help: "Downloads of blobs that wait for others of their upstream.", store: func(s s) int64 { return int64(s.Queued) }},
		{Name: "fills_readers", Help: "Clients that read downloads in progress.", store: func(s s) int64 { return int64(s.Readers) }},
		{Name: "build_info", Help: "1, with the version that runs.", Labels: []string{"version", "goversion"}},
		{Name: "cache_max_bytes", Help: "The most bytes that blobs may take; 0 = what the disk has.", store: func(s s) int64 { return s.MaxSize }},
		{Name: "cache_bytes", Help: "Bytes of blobs in the store.", store: func(s s) int64 { return s.BlobBytes }},
		{Name: "cache_blobs", Help: "Blobs in the store.", store: func(s s) int64 { return s.Blobs }},
		{Name: "cache_upstream_bytes", Help: "Bytes of blobs by the upstream that brought them in first.", Labels: []string{"upstream"}},
		{Name: "cache_pinned_bytes", Help: "Bytes of blobs of pinned images.", store: func(s s) int64 { return s.PinnedBytes }},
		{Name: "cache_index_bytes", Help: "Size of the store's index.", store: func(s s) int64 { return s.IndexBytes }},
		{Name: "cache_index_open", Help: "Stores whose index is open.", store: func(s s) int64 { return one(s.IndexOpen) }},
		{Name: "cache_index_rebuilds_total", Help: "Times that the index was damaged and begun anew.", counts: true, store: func(s s) int64 { return s.IndexRebuilds }},
		{Name: "cache_quarantined_blobs_total", Help: "Blobs found damaged since the store was opened.", counts: true, store: func(s s) int64 { return s.QuarantinedBlobs }},
		{Name: "cache_free_bytes", Help: "Free space on the store's file system.", store: func(s s) int64 { return s.FreeBytes }},
		{Name: "cache_disk_bytes", Help: "Size of the store's file system.", store: func(s s) int64 { return s.TotalBytes }},
		{Name: "cache_ballast_bytes", Help: "Size of the file that is given up when the disk is full.", store: func(s s) int64 { return s.BallastBytes }},
		{Name: "cache_free_inodes", Help: "Free inodes on the store's file system.", store: func(s s) int64 { return s.FreeInodes }},
		{Name: "cache_evicted_blobs_total", Help: "Blobs evicted since the store was opened.", counts: true, store: func(s s) int64 { return s.EvictedBlobs }},
		{Name: "cache_evicted_bytes_total", Help: "Bytes evicted since the store was opened.", counts: true, store: func(s s) int64 { return s.EvictedBytes }},
		{Name: "bucket_reads_total", Help: "Requests to read from the bucket that gateways share.", counts: true, store: inBucket(func(b *fleet.Status) int64 { return b.Reads })},
		{Name: "bucket_writes_total", Help: "Requests to write to the bucket.", counts: true, store: inBucket(func(b *fleet.Status) int64 { return b.Writes })},
		{Name: "bucket_failures_total", Help: "Requests that the bucket did not answer, or not well.", counts: true, store: inBucket(func(b *fleet.Status) int64 { return b.Failures })},
		{Name: "bucket_received_bytes_total", Help: "Bytes of objects received from the bucket.", counts: true, store: inBucket(func(b *fleet.Status) int64 { return b.Received })},
		{Name: "bucket_sent_bytes_total", Help: "Bytes of objects written to the bucket.", counts: true, store: inBucket(func(b *fleet.Status) int64 { return b.Sent })},
		{Name: "bucket_uploads_waiting", Help: "Uploads to the bucket that wait.", store: inBucket(func(b *fleet.Status) int64 { return int64(b.Waiting) })},
		{Name: "bucket_blobs", Help: "Blobs in the bucket, as of its last cleaning.", store: inBucket(cleaned(func(r *fleet.Report) int64 { return r.Blobs }))},
		{Name: "bucket_bytes", Help: "Bytes of blobs in the bucket, as of its last cleaning.", store: inBucket(cleaned(func(r *fleet.Report) int64 { return r.Bytes }))},
		{Name: "bucket_removed_objects_total", Help: "Blobs and manifests that this gateway has cleaned out of the bucket.", counts: true, store: inBucket(func(b *fleet.Status) int64 { return b.Removed })},
		{Name: "bucket_removed_bytes_total", Help: "Bytes that this gateway has cleaned out of the bucket.", counts: true, store: inBucket(func(b *fleet.Status) int64 { return b.RemovedBytes })},
		{Name: "bucket_cleaning", Help: "Buckets that this gateway is cleaning.", store: inBucket(func(b *fleet.Status) int64 { return one(b.Cleaning != nil) })},
		{Name: "bucket_failing", Help: "Buckets that are not read, or not written, since they fail.", store: inBucket(func(b *fleet.Status) int64 { return one(!b.OK()) })},
		{Name: "peers_alive", Help: "Other gateways of the fleet that live.", store: ofPeers(func(p *peers.Status) int64 { return int64(p.Alive()) })},
		{Name: "peers_silent", Help: "Addresses of other gateways that gave no answer when they were last asked.", store: ofPeers(func(p *peers.Status) int64 { return int64(p.Silent()) })},
		{Name: "peer_requests_total", Help: "Requests to other gateways.", counts: true, store: ofPeers(func(p *peers.Status) int64 { return p.Asked })},
		{Name: "peer_failures_total", Help: "Requests that other gateways did not answer, or not well.", counts: true, store: ofPeers(func(p *peers.Status) int64 { return p.Failed })},
		{Name: "peer_received_bytes_total", Help: "Bytes of manifests and blobs received from other gateways.", counts: true, store: ofPeers(func(p *peers.Status) int64 { return p.Received })},
		{Name: "peer_answers_total", Help: "Requests of other gateways.", counts: true, store: ofPeers(func(p *peers.Status) int64 { return p.Answered })},
		{Name: "peer_sent_bytes_total", Help: "Bytes of manifests and blobs sent to other gateways.", counts: true, store: ofPeers(func(p *peers.Status) int64 { return p.Sent })},
	}
}

// ofPeers is what stores of a fleet tell of the other gateways.
func ofPeers(of func(*peers.Status) int64) func(operate.StoreStatus) int64 {
	return func(s operate.StoreStatus) int64 {
		if s.Peers == nil {
			return 0
		}
		return of(s.Peers)
	}
}

// inBucket is what stores that share a bucket tell of it.
func inBucket(of func(*fleet.Status) int64) func(operate.StoreStatus) int64 {
	return func(s operate.StoreStatus) int64 {
		if s.Bucket == nil {
			return 0
		}
		return of(s.Bucket)
	}
}

// cleaned is what the last cleaning of a bucket has found.
func cleaned(of func(*fleet.Report) int64) func(*fleet.Status) int64 {
	return func(b *fleet.Status) int64 {
		if b.Report == nil {
			return 0
		}
		return of(b.Report)
	}
}

// named returns a metric of the table.
func named(name string) Metric {
	table := Table()
	return table[slices.IndexFunc(table, func(m Metric) bool { return m.Name == name })]
}

func one(yes bool) int64 {
	if yes {
		return 1
	}
	return 0
}
