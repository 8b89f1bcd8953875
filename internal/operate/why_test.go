package operate

import (
	"strings"
	"testing"
	"time"
)

// The sentence names what took the most of the time, or what went wrong.
func TestWhy(t *testing.T) {
	began := time.Unix(1_800_000_000, 0)
	pull := func(took time.Duration, s PullSeconds) Pull {
		return Pull{
			PullSubject: PullSubject{Upstream: "docker.io"}, Result: PullOK, Began: began, Ended: began.Add(took), Seconds: s,
			PullBytes: PullBytes{Bytes: 30 << 20, CacheBytes: 6 << 20, PrefetchedBytes: 4 << 20},
			Asked:     []PullQuestion{{Op: "token", Requests: 1, Seconds: 1}, {Op: "head_manifest", Requests: 2, Seconds: 3}},
		}
	}
	const took = 10 * time.Second
	failed := pull(took, PullSeconds{})
	failed.Result, failed.Error = PullFailed, "docker.io limits pulls until 14:05"
	aborted := pull(took, PullSeconds{FirstByte: 10})
	aborted.Result = PullAborted
	alone := pull(took, PullSeconds{LookUp: 10})
	alone.Asked = nil
	running := pull(0, PullSeconds{Queue: 6, Client: 4})
	running.Result, running.Ended = PullRunning, time.Time{}
	for _, test := range []struct {
		pull Pull
		want string
	}{
		{failed, "It failed: docker.io limits pulls until 14:05."},
		{aborted, "The client left after 10s. It took 10s of 10s until docker.io began to send blobs."},
		{pull(time.Second/2, PullSeconds{Client: .5}), "It was not slow."},
		{pull(took, PullSeconds{LookUp: 9, Client: 1}), "It took 9s of 10s to find out what the tag and the manifests are: docker.io answered 2 requests for them in 3s."},
		{alone, "It took 10s of 10s to find out what the tag and the manifests are: the storage was slow, or another client was waiting for docker.io."},
		{pull(took, PullSeconds{Token: 6, LookUp: 4}), "The token server of docker.io took 6s of 10s."},
		{running, "Blobs waited 6s of 10s for other downloads: misses_per_client bounds those of one client, max_fills those of docker.io."},
		{pull(took, PullSeconds{Transfer: 8, Client: 2}), "It took 8s of 10s to bring 20 MiB from docker.io, at 2.5 MiB/s: its link or the client is no faster."},
		{pull(took, PullSeconds{Client: 8, Transfer: 2}), "The client itself took 8s of 10s: what it got was stored here, and between its requests it did something else."},
	} {
		if got := test.pull.Why(); got != test.want {
			t.Errorf("%s\nwant %s", got, test.want)
		}
	}
}

// Saved bytes are those that were sent and not received; what was preloaded is no loss.
func TestSaved(t *testing.T) {
	traffic := Traffic{Hits: 2, Prefetched: 1, Joined: 3, Misses: 3, Stale: 1, Sent: 100, Received: 90, Preloaded: 30}
	if share, ok := traffic.HitRate(); !ok || share != .3 || traffic.Saved() != 40 {
		t.Errorf("hit rate %v, %d bytes saved", share, traffic.Saved())
	}
	if _, ok := (Traffic{Errors: 1}).HitRate(); ok {
		t.Error("of nothing there is a share")
	}
}

// A part of the name or of the digest selects.
func TestSelects(t *testing.T) {
	for image, want := range map[string]bool{"": true, "nginx": true, "nginx:1.27": true, "sha256:12": true, "redis": false, "nginx:1.28": false} {
		if got := (PullsRequest{image}).Selects("docker.io/library/nginx:1.27", "sha256:"+strings.Repeat("12", 32)); got != want {
			t.Errorf("%q selects: %v", image, got)
		}
	}
}
