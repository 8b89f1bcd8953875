//go:build integration

package integration

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"
)

// TestDashboardIdles leaves 20 pages open. A gateway that has nothing to do takes 0.7 to
// 0.9 % of a processor all in all, nearly all of it the tickers of Badger, and the pages far
// less. What else runs on the machine only adds to it, so the best of several spans says
// what it takes; a slow machine has twice as much.
func TestDashboardIdles(t *testing.T) {
	s := startShown(t)
	if err := s.pull(t, "docker.io/library/alpine:3.22"); err != nil {
		t.Fatal(err)
	}
	pid := s.server(t)
	const span = 2 * time.Second
	used := func(spans int) (least time.Duration) {
		time.Sleep(3 * time.Second) // what has begun comes to an end
		for range spans {
			before := processorTime(t, pid)
			time.Sleep(span)
			if took := processorTime(t, pid) - before; least == 0 || took < least {
				least = took
			}
		}
		return least
	}
	without := used(2)
	for range 20 {
		response, err := http.Get(s.page + "api/events")
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		go func() { _, _ = io.Copy(io.Discard, response.Body) }()
	}
	with := used(6)
	t.Logf("result: in %v, %v of processor time, with 20 pages %v", span, without, with)
	if with > span/50 {
		t.Errorf("with 20 pages, it takes %v in %v", with, span)
	}
	if with-without > span/200 {
		t.Errorf("20 pages cost %v in %v", with-without, span)
	}
}

// processorTime returns how much the threads of a process have used, as its scheduler
// counts it.
func processorTime(t *testing.T, pid int) (all time.Duration) {
	t.Helper()
	threads, err := filepath.Glob("/proc/" + strconv.Itoa(pid) + "/task/*/schedstat")
	if err != nil || len(threads) == 0 {
		t.Fatalf("threads of process %d: %q (%v)", pid, threads, err)
	}
	for _, thread := range threads {
		raw, err := os.ReadFile(thread)
		if err != nil {
			t.Fatal(err)
		}
		var ran time.Duration
		if _, err := fmt.Sscan(string(raw), &ran); err != nil {
			t.Fatal(err)
		}
		all += ran
	}
	return all
}
