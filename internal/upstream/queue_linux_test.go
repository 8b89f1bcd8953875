package upstream

import (
	"io"
	"runtime"
	"testing"
	"time"

	"github.com/pullgate/pullgate/internal/registrytest"
)

// What has come in and was not read is known, also of what comes over TLS and from
// where a redirect leads.
func TestQueuedIsKnown(t *testing.T) {
	t.Parallel()
	for name, o := range map[string]registrytest.Options{
		"plain": {}, "redirected": {CDN: true}, "TLS": {TLS: true},
	} {
		t.Run(name, func(t *testing.T) {
			s := registrytest.New(t, o)
			const size = 300_000
			d := s.PutBlob(repo, registrytest.Random(3, size))
			c := newClient(t, s.URL(), func(options *Options) {
				if o.TLS {
					options.RootCAs = s.CertPool()
				}
			})
			for _, offset := range []int64{0, 1} {
				b, err := c.Blob(t.Context(), repo, d, offset, -1)
				if err != nil {
					t.Fatal(err)
				}
				// How much a socket takes before somebody reads is the system's to say.
				for end := time.Now().Add(10 * time.Second); b.Queued() < 30_000; runtime.Gosched() {
					if time.Now().After(end) {
						t.Fatalf("%d bytes of %d are queued", b.Queued(), size)
					}
				}
				if _, err := io.CopyN(io.Discard, b, size-offset); err != nil {
					t.Fatal(err)
				}
				if n := b.Queued(); n != 0 {
					t.Errorf("%d bytes are queued after the last one", n)
				}
				_ = b.Close()
				if n := b.Queued(); n != 0 {
					t.Errorf("%d bytes are queued in the end", n)
				}
			}
		})
	}
}
