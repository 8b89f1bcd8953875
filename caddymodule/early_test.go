package caddymodule

import (
	"log/slog"
	"net/http/httptest"
	"testing"

	"github.com/pullgate/pullgate/caddymodule/config"
	"github.com/pullgate/pullgate/caddymodule/s3"
	"github.com/pullgate/pullgate/internal/bucket"
	"github.com/pullgate/pullgate/internal/bucket/buckettest"
)

// Apps start in any order. A request that comes before ours has started finds the bucket,
// and what other gateways have removed, all the same: what it pulls is uploaded, and what
// they have removed is not served. A configuration that never starts leaves nothing.
func TestEarlyRequestsKnowTheBucket(t *testing.T) {
	server := httptest.NewServer(buckettest.New())
	defer server.Close()
	o := bucket.Options{URL: server.URL + "/cache", AccessKey: "key", SecretKey: "hush"}
	objects, err := s3.S3{}.OpenBucket(o)
	if err != nil {
		t.Fatal(err)
	}
	s := &service{
		app:       &appRun{path: t.TempDir(), log: slog.DiscardHandler, bucket: &sharedBucket{options: o, objects: objects}},
		upstreams: []*config.Upstream{{Name: "registry.test"}},
		log:       slog.New(slog.DiscardHandler),
		empty:     make(chan struct{}), exiting: make(chan struct{}),
	}
	if err := s.upstreams[0].Provision(); err != nil {
		t.Fatal(err)
	}
	open, err := s.enterOpen()
	if err != nil {
		t.Fatal(err)
	}
	if status := open.cache.Fleet.Status(); status == nil || status.Name != o.URL {
		t.Errorf("the bucket is %+v", status)
	}
	s.leave()
	s.retire()
	if err := s.app.release(); err != nil {
		t.Error(err)
	}
	if r := open.cache.newest(); r != nil {
		t.Error("the configuration is still there")
	}
}
