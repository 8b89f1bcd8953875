//go:build integration

package integration

import (
	"fmt"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// resources is what the process of a gateway uses.
type resources struct {
	resident          int64 // bytes of memory, with what of its files is mapped
	anonymous         int64 // bytes of memory that is no file
	goroutines, files int
	live              int64 // bytes of the heap that are in use, if that was asked for
}

func (r resources) String() string {
	return fmt.Sprintf("%.1f MiB resident (%.1f anonymous), %d goroutines, %d descriptors",
		float64(r.resident)/(1<<20), float64(r.anonymous)/(1<<20), r.goroutines, r.files)
}

// resources asks the kernel and the admin API.
func (s *subject) resources(t *testing.T) (r resources, err error) {
	t.Helper()
	profile, err := adminRequest(s.admin, http.MethodGet, "/debug/pprof/goroutine?debug=1", "")
	if err != nil {
		return resources{}, err
	}
	if _, err := fmt.Sscanf(string(profile), "goroutine profile: total %d", &r.goroutines); err != nil {
		return resources{}, fmt.Errorf("goroutine profile begins with %.60q: %w", profile, err)
	}
	proc := "/proc/" + strconv.Itoa(s.pid(t))
	files, err := os.ReadDir(proc + "/fd")
	if err != nil {
		return resources{}, err
	}
	r.files = len(files)
	status, err := os.ReadFile(proc + "/status")
	if err != nil {
		return resources{}, err
	}
	for line := range strings.Lines(string(status)) {
		var kib int64
		if n, _ := fmt.Sscanf(line, "VmRSS: %d kB", &kib); n == 1 {
			r.resident = kib << 10
		}
		if n, _ := fmt.Sscanf(line, "RssAnon: %d kB", &kib); n == 1 {
			r.anonymous = kib << 10
		}
	}
	return r, nil
}

// liveHeap has the gateway collect its garbage, three times for what is pooled, and
// returns how many bytes of its heap are left.
func (s *subject) liveHeap(t *testing.T) (live int64) {
	t.Helper()
	for range 3 {
		profile, err := adminRequest(s.admin, http.MethodGet, "/debug/pprof/heap?gc=1&debug=1", "")
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(profile)) {
			_, _ = fmt.Sscanf(line, "# HeapAlloc = %d", &live)
		}
	}
	if live == 0 {
		t.Error("the admin API does not tell of the heap")
	}
	return live
}

// settled waits until good says so of what the gateway uses, at most 30 s, and
// returns what it uses then.
func (s *subject) settled(t *testing.T, good func(resources) bool) resources {
	t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for {
		r, err := s.resources(t)
		if err != nil {
			t.Fatal(err)
		}
		if good(r) || time.Now().After(deadline) {
			return r
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// median returns the median of one of the resources, over some time.
func median(samples []resources, of func(resources) int64) int64 {
	values := make([]int64, 0, len(samples))
	for _, r := range samples {
		values = append(values, of(r))
	}
	slices.Sort(values)
	if len(values) == 0 {
		return 0
	}
	return values[len(values)/2]
}
