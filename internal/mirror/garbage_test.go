package mirror_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/pullgate/pullgate/internal/registrytest"
	"github.com/pullgate/pullgate/storage"
)

// An upstream sends 3 MiB of something else. What ends before the blob does may come,
// but is called unverified; nothing else ends cleanly.
func TestRangesOfGarbage(t *testing.T) { inBothModes(t, testRangesOfGarbage) }

func testRangesOfGarbage(t *testing.T) {
	t.Parallel()
	const size = 3 * mib
	w, garbage := newRangesWorld(t), make([]byte, size)
	for i, test := range []struct {
		room   int64
		strict bool
		ranges string
		clean  bool // with garbage, called unverified
	}{
		{1 << 40, false, "bytes=0-1048575", true},
		{1 << 40, false, "bytes=1048576-2097151", true},
		{1 << 40, false, "bytes=5-9,1048576-1048580", true},
		{1 << 40, false, "bytes=0-0", true},
		{1 << 40, false, "", false},
		{1 << 40, false, "bytes=0-", false},
		{1 << 40, false, "bytes=2097152-", false},
		{1 << 40, false, "bytes=-1", false},
		{1 << 40, false, "bytes=1-2,-1", false},
		{1 << 40, false, "bytes=0-3145727", false},
		{1 << 40, false, "bytes=3140000-3140001", false},
		{1 << 40, true, "bytes=0-1048575", false},
		{1 << 40, true, "bytes=1048576-2097151", false},
		{1 << 40, true, "bytes=0-0", false},
		{1 << 40, true, "bytes=5-9,1048576-1048580", false},
		{-1, false, "bytes=0-1048575", false},
		{-1, false, "bytes=1048576-2097151", false},
		{-1, false, "bytes=5-9,1048576-1048580", false},
		{-1, false, "bytes=-1", false},
		{mib, false, "bytes=1048576-2097151", false},
		{mib, true, "bytes=0-9", false},
	} {
		t.Run(fmt.Sprintf("room %d, strict %t, %s", test.room, test.strict, test.ranges), func(t *testing.T) {
			w.cache.FailParts(test.room, storage.ErrNoSpace)
			right := registrytest.Random(uint64(i), size)
			l := &lies{
				Rand: rand.New(rand.NewPCG(1, 1)), digest: digest.FromBytes(right), right: right, sent: garbage, ranged: garbage,
				told: size, headed: size, holdAt: size - mib/2, open: make(chan struct{}),
			}
			if !test.clean { // else it comes before the upstream is done
				close(l.open)
			}
			w.upstream.follow(l)
			server := w.servers[test.strict]
			got := fetch(t, server.Client(), http.MethodGet, server.URL+"/v2/proxy-"+upstreamName+"/"+repository+"/blobs/"+l.digest.String(), test.ranges)
			if test.clean {
				close(l.open)
				if got.err != nil || got.status != http.StatusPartialContent || !strings.HasSuffix(got.header.Get("Cache-Status"), "; detail=unverified") {
					t.Errorf("%d %v, %d bytes, %v", got.status, got.header, len(got.body), got.err)
				}
			} else if got.err == nil && got.status < 400 {
				t.Errorf("%d %v ends cleanly, %d bytes", got.status, got.header, len(got.body))
			}
			w.settle()
		})
	}
}

// With an honest upstream, ranges come on any store, as such or as the whole.
func TestRangesOnAFullDisk(t *testing.T) {
	t.Parallel()
	w, seed := newRangesWorld(t), uint64(0)
	for _, room := range []int64{-1, 0} {
		for ranges, status := range map[string]int{
			"bytes=0-9": 200, "bytes=1048576-1048580": 200, "bytes=5-9,20-30": 200, "bytes=-70000": 200, "bytes=2097152-": 200,
			"bytes=0-": 206, "bytes=5000000-": 416, "": 200,
		} {
			w.cache.FailParts(room, storage.ErrNoSpace)
			seed++
			right := registrytest.Random(seed, 3*mib)
			l := &lies{
				Rand: rand.New(rand.NewPCG(1, 1)), digest: digest.FromBytes(right), right: right, sent: right, ranged: right,
				told: 3 * mib, headed: 3 * mib, open: make(chan struct{}),
			}
			close(l.open)
			w.upstream.follow(l)
			for _, strict := range []bool{false, true} {
				server := w.servers[strict]
				got := fetch(t, server.Client(), http.MethodGet, server.URL+"/v2/proxy-"+upstreamName+"/"+repository+"/blobs/"+l.digest.String(), ranges)
				if got.err != nil || got.status != status || status < 400 && !bytes.Equal(got.body, right) {
					t.Errorf("%q with room for %d, strict %t: %d, %d bytes, %v", ranges, room, strict, got.status, len(got.body), got.err)
				}
				w.settle()
			}
		}
	}
}
