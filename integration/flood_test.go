//go:build integration

package integration

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pullgate/pullgate/internal/registrytest"
)

// TestPasswordFlood guesses passwords at the second site of Caddyfile.example, as
// fast as it answers. Each guess costs it a hash, which nothing in the file limits;
// whoever has logged in before needs none, and goes on being served.
func TestPasswordFlood(t *testing.T) {
	attackers, lasting := 16, 4*time.Second
	if long() {
		attackers, lasting = 200, time.Minute
	}
	u := registrytest.New(t, registrytest.Options{})
	u.PutImage("library/app", "1", 1, 64<<10)
	// docker.io is the second site's own; what is asked for lies behind the first, too.
	g := serveExample(t, u.URL(), []string{"immutable_tags ^v", "url " + u.URL() + "\n\t\t\timmutable_tags ^v"})
	client := &http.Client{Transport: &http.Transport{
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, MaxIdleConnsPerHost: attackers, // its authority was made just now
	}}
	defer client.CloseIdleConnections()
	ask := func(ctx context.Context, user, password string) (int, error) {
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, g.secure+"/v2/proxy-docker.io/library/app/manifests/1", nil)
		if err != nil {
			return 0, err
		}
		r.SetBasicAuth(user, password)
		response, err := client.Do(r)
		if err != nil {
			return 0, err
		}
		defer response.Body.Close()
		_, err = io.Copy(io.Discard, response.Body)
		return response.StatusCode, err
	}
	honest := func() time.Duration {
		began := time.Now()
		if status, err := ask(t.Context(), "talos", "change-me"); err != nil || status != http.StatusOK {
			t.Fatalf("an honest client gets %d, %v", status, err)
		}
		return time.Since(began)
	}
	p99 := func(times []time.Duration) time.Duration { slices.Sort(times); return times[len(times)*99/100] }
	g.await(t, func() error { // the certificate is made in the background
		_, err := ask(t.Context(), "talos", "change-me")
		return err
	})
	var before, during []time.Duration
	for range 200 {
		before = append(before, honest())
	}
	burned := g.processorTime(t)
	ctx, stop := context.WithTimeout(t.Context(), lasting)
	defer stop()
	var guesses atomic.Int64
	var flood sync.WaitGroup
	for n := range attackers {
		flood.Go(func() {
			for ctx.Err() == nil {
				// Names that are none are as good to an attacker: they cost a hash, too.
				status, err := ask(ctx, []string{"talos", "root"}[n%2], fmt.Sprint("guess", guesses.Add(1)))
				if err == nil && status != http.StatusUnauthorized {
					t.Errorf("a guess is answered with %d", status)
				}
			}
		})
	}
	for ctx.Err() == nil {
		during = append(during, honest())
	}
	flood.Wait()
	burned = g.processorTime(t) - burned
	t.Logf("%d guesses by %d attackers in %s took %s of processor time; p99 of an honest client: %s alone, %s of %d requests beside them",
		guesses.Load(), attackers, lasting, burned.Round(time.Millisecond), p99(before), p99(during), len(during))
	if guesses.Load() < int64(attackers) || len(during) < 10 || p99(during) > 10*time.Second {
		t.Error("an honest client is not served beside a flood of guesses")
	}
}

// processorTime returns how much the gateway has used.
func (g example) processorTime(t *testing.T) time.Duration {
	t.Helper()
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", g.server(t)))
	if err != nil {
		t.Fatal(err)
	}
	// Behind the name, which may hold anything: state, 10 numbers, and then these, in
	// hundredths of a second (proc_pid_stat(5)).
	fields := strings.Fields(string(raw[bytes.LastIndexByte(raw, ')')+1:]))
	var ticks int
	for _, field := range fields[11:13] {
		n, err := strconv.Atoi(field)
		if err != nil {
			t.Fatal(err)
		}
		ticks += n
	}
	return time.Duration(ticks) * 10 * time.Millisecond
}
