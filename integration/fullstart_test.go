//go:build integration

package integration

import (
	"net/http"
	"testing"
	"time"
)

// TestStartOnFullDisk starts the gateway where nothing is free: it serves the blobs
// that it has and passes the rest through, and once there is space it caches
// without a restart.
func TestStartOnFullDisk(t *testing.T) {
	for _, kind := range volumeKinds {
		t.Run(kind.name, func(t *testing.T) {
			t.Parallel()
			f := newFullDisk(t, kind)
			stored := []sample{f.image(), f.image(), f.image()}
			for _, image := range stored {
				f.cached(t, image)
			}
			f.s.stop(t)
			h := letHog(t, f.volume, kind.take)
			<-h.full
			began := time.Now()
			f.s.start(t)
			started := time.Since(began)

			f.images.server.Reset()
			for _, image := range append(stored, f.image()) {
				if a := f.r.pull(t.Context(), image); !a.right() {
					t.Errorf("%s: %v", a.outcome, a.err)
				}
			}
			for _, request := range f.images.server.Requests() {
				for _, image := range stored {
					for _, o := range image {
						if o.blob && request.Method == http.MethodGet && request.Path == o.path {
							t.Errorf("the upstream was asked for what is cached: %v", request)
						}
					}
				}
			}
			f.alive(t, "on the full disk")
			h.letGo()
			resumed := f.resumed(t)
			t.Logf("%s: started after %v on a full disk, caching resumed after %v; %s",
				kind.name, started.Round(time.Millisecond), resumed.Round(time.Millisecond), f.r.summary())
			if resumed > 10*time.Second {
				t.Errorf("caching resumed after %v, want 10 s at most", resumed)
			}
			for _, image := range stored {
				f.r.pull(t.Context(), image)
			}
			f.s.stop(t)
			checkStore(t, f.s.store)
		})
	}
}
