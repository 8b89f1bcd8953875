package mirror_test

import (
	"context"
	"log/slog"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pullgate/pullgate/internal/mirror"
	"github.com/pullgate/pullgate/internal/oci"
)

// pager is a remote that takes its time for a page of ten tags.
type pager struct {
	mirror.Remote

	tags []string

	mu    sync.Mutex
	took  time.Duration
	asked int
	fails error
}

func (p *pager) Tags(ctx context.Context, _ string, at oci.TagsCursor) (oci.TagsPart, error) {
	p.mu.Lock()
	p.asked++
	took, fails := p.took, p.fails
	p.mu.Unlock()
	select {
	case <-time.After(took):
	case <-ctx.Done():
		return oci.TagsPart{}, ctx.Err()
	}
	if fails != nil {
		return oci.TagsPart{}, fails
	}
	from, _ := strconv.Atoi(at.Query)
	to := min(from+10, len(p.tags))
	part := oci.TagsPart{Tags: p.tags[from:to]}
	if to < len(p.tags) {
		part.Next = oci.TagsCursor{Endpoint: "x", Query: strconv.Itoa(to)}
	}
	return part, nil
}

// turn has pages take so long from now on, and fail.
func (p *pager) turn(took time.Duration, fails error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.took, p.fails = took, fails
}

func (p *pager) count() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.asked
}

// lists is Mirror.Tags for one repository.
type lists func(ctx context.Context, page oci.TagsPage) (oci.TagList, oci.CacheStatus, error)

// share runs a test of a mirror that lists through a pager, in a time of its own.
func share(t *testing.T, p *pager, test func(t *testing.T, tags lists)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		cache := mirror.NewCache(mirror.CacheOptions{Logger: slog.New(slog.DiscardHandler)})
		defer cache.Close()
		m, err := mirror.New(cache, mirror.Options{Upstreams: []mirror.Upstream{
			{Name: upstreamName, Remote: p, Access: mirror.Access{Public: true}, Bounds: mirror.Bounds{MissesPerClient: -1}},
		}})
		if err != nil {
			t.Fatal(err)
		}
		test(t, func(ctx context.Context, page oci.TagsPage) (oci.TagList, oci.CacheStatus, error) {
			return m.Tags(ctx, manifestRequest("x"), page)
		})
	})
}

// walkAll lists all tags, by n at a time.
func walkAll(ctx context.Context, n int, tags lists) (all []string, err error) {
	page := oci.TagsPage{N: n}
	for {
		list, _, err := tags(ctx, page)
		if err != nil {
			return all, err
		}
		if all = append(all, list.Tags...); !list.More {
			return all, nil
		}
		page.Last = list.Tags[len(list.Tags)-1]
	}
}

// Clients that begin together page together, each by its own n, at the cost of one.
func TestListIsShared(t *testing.T) {
	t.Parallel()
	p := &pager{tags: numbered(95), took: 100 * time.Millisecond}
	share(t, p, func(t *testing.T, tags lists) {
		var wg sync.WaitGroup
		for n := range 40 {
			wg.Go(func() {
				all, err := walkAll(t.Context(), n+1, tags)
				if err != nil || !slices.Equal(all, p.tags) {
					t.Errorf("n=%d: %d tags, %v", n+1, len(all), err)
				}
			})
		}
		wg.Go(func() {
			if all, err := walkAll(t.Context(), -1, tags); err != nil || !slices.Equal(all, p.tags) {
				t.Errorf("%d tags, %v", len(all), err)
			}
		})
		wg.Wait()
		if p.count() != 10 {
			t.Errorf("%d requests for 10 pages", p.count())
		}
		// Who comes a moment later begins anew, and then they go on together.
		for _, n := range []int{7, 7} {
			if list, _, err := tags(t.Context(), oci.TagsPage{N: n}); err != nil || !list.More {
				t.Error(list, err)
			}
		}
		for _, last := range []string{"t006", "t006", "t013", "t013"} {
			if _, _, err := tags(t.Context(), oci.TagsPage{N: 7, Last: last}); err != nil {
				t.Error(err)
			}
		}
		if p.count() != 10+2+2 {
			t.Errorf("%d requests", p.count()-10)
		}
		// But nobody gets a page that is older than the beginning of its list.
		p.tags = slices.Clone(p.tags)
		p.tags[45] = "new"
		if all, err := walkAll(t.Context(), 7, tags); err != nil || !slices.Equal(all, p.tags) {
			t.Errorf("%q, %v", all, err)
		}
	})
}

// More clients begin at different times than there is room for lists of their own: each
// gets the whole list all the same, and they share what they can.
func TestMoreWalksThanAreRemembered(t *testing.T) {
	t.Parallel()
	const clients, pages = 100, 80
	p := &pager{tags: numbered(10 * pages), took: 100 * time.Millisecond}
	share(t, p, func(t *testing.T, tags lists) {
		var wg sync.WaitGroup
		for i := range clients {
			wg.Go(func() {
				time.Sleep(time.Duration(i) * 101 * time.Millisecond)
				all, err := walkAll(t.Context(), 3+i%11, tags)
				if err != nil || !slices.Equal(all, p.tags) {
					t.Errorf("client %d: %d tags, %v", i, len(all), err)
				}
			})
		}
		wg.Wait()
		t.Logf("%d requests for %d clients and %d pages", p.count(), clients, pages)
		if p.count() > clients*pages/4 {
			t.Error("nothing is shared")
		}
	})
}

// A client waits no longer than for a look-up, and no page is fetched twice for it.
func TestSlowList(t *testing.T) {
	t.Parallel()
	p := &pager{tags: numbered(95), took: 4 * time.Second}
	share(t, p, func(t *testing.T, tags lists) {
		began := time.Now()
		list, _, err := tags(t.Context(), oci.TagsPage{N: 1000})
		if err != nil || len(list.Tags) != 20 || !list.More || time.Since(began) != 10*time.Second {
			t.Errorf("%d tags after %s, %v", len(list.Tags), time.Since(began), err)
		}
		all := list.Tags
		for tries := 0; list.More && tries < 10; tries++ {
			if list, _, err = tags(t.Context(), oci.TagsPage{N: 1000, Last: all[len(all)-1]}); err != nil {
				t.Fatal(err)
			}
			all = append(all, list.Tags...)
		}
		if !slices.Equal(all, p.tags) || p.count() != 10 {
			t.Errorf("%d tags after %d requests", len(all), p.count())
		}
	})
	p = &pager{tags: numbered(95), took: 4 * time.Second}
	share(t, p, func(t *testing.T, tags lists) {
		var list oci.TagList
		var err error
		for tries := range 5 { // as after a restart, when nobody remembers where t090 is
			if list, _, err = tags(t.Context(), oci.TagsPage{N: 10, Last: "t090"}); err == nil {
				t.Logf("after %d tries", tries+1)
				break
			}
			wantStatus(t, err, http.StatusGatewayTimeout)
		}
		if !slices.Equal(list.Tags, p.tags[91:]) || p.count() != 10 {
			t.Errorf("%q after %d requests, %v", list.Tags, p.count(), err)
		}
	})
}

// Who leaves takes nothing away from others; who has an old list does not wait for long.
func TestListIsLeftAndWaitedFor(t *testing.T) {
	t.Parallel()
	p := &pager{tags: numbered(25), took: 4 * time.Second}
	share(t, p, func(t *testing.T, tags lists) {
		ctx, cancel := context.WithCancel(t.Context())
		go func() {
			time.Sleep(time.Second)
			cancel()
		}()
		var wg sync.WaitGroup
		wg.Go(func() {
			if _, _, err := tags(ctx, oci.TagsPage{N: -1}); err == nil {
				t.Error("no error for a client that has left")
			}
		})
		wg.Go(func() {
			if all, err := walkAll(t.Context(), -1, tags); err != nil || !slices.Equal(all, p.tags) {
				t.Errorf("%q, %v", all, err)
			}
		})
		wg.Wait()
		if p.count() != 3 {
			t.Errorf("%d requests", p.count())
		}
		p.turn(time.Hour, nil)
		began := time.Now()
		list, status, err := tags(t.Context(), oci.TagsPage{N: -1})
		if err != nil || status.Result != oci.ResultStale || !slices.Equal(list.Tags, p.tags) || time.Since(began) != 3*time.Second {
			t.Errorf("%q, %v after %s, %v", list.Tags, status, time.Since(began), err)
		}
		p.turn(0, oci.UpstreamError(oci.ClassDenied, "", "no", nil))
		time.Sleep(time.Minute)
		if list, status, err = tags(t.Context(), oci.TagsPage{N: -1}); err == nil { // stale_if_denied is 0 here
			t.Errorf("%q, %v", list.Tags, status)
		}
	})
}
