package command

import (
	"strings"
	"testing"
	"time"

	"github.com/pullgate/pullgate/internal/fleet"
	"github.com/pullgate/pullgate/internal/operate"
	"github.com/pullgate/pullgate/internal/terminal"
	"github.com/pullgate/pullgate/storage"
)

// What is wrong stands there in words: which upstream, since when, why, and what helps.
func TestStatusNamesProblems(t *testing.T) {
	now := time.Date(2026, 1, 2, 14, 0, 0, 0, time.Local)
	status := operate.Status{
		Server: &operate.Server{Version: "v1.2.3", Started: now.Add(-50 * time.Hour), Listen: []string{":5000"}},
		Storage: []operate.StoreStatus{{
			Path: "/var/lib/pullgate", MaxSize: 200 << 30, Pins: 3,
			Usage:  storage.Usage{Upkeep: storage.Upkeep{Snapshot: now.Add(-3 * time.Hour)}},
			Bucket: &fleet.Status{Name: "https://s3.example.com/cache", Received: 3 << 20, Sent: 2 << 20, Waiting: 2, Behind: true, WriteError: "it is full"},
		}},
		Upstreams: []operate.UpstreamStatus{
			{
				Name: "docker.io", URL: "https://registry-1.docker.io", State: "limited", Since: now, Until: now.Add(5 * time.Minute),
				Error: "registry-1.docker.io limits pulls until 14:05:00", Help: "wait", Breaker: operate.BreakerClosed,
				RateLimit: &operate.RateLimit{Limit: 100, Window: 21600},
			},
			{Name: "ghcr.io", URL: "https://ghcr.io", State: "credentials_refused", Since: now, Help: "correct them", Breaker: operate.BreakerClosed},
			{Name: "quay.io", URL: "https://quay.io", State: "down", Class: "connect", Fails: 5, Since: now, Breaker: operate.BreakerOpen, Wait: 4},
			{Name: "gcr.io", URL: "https://gcr.io", State: "ok", Breaker: operate.BreakerClosed},
		},
	}
	var out strings.Builder
	o := statusOutput{run: &run{target: target{address: "localhost:2019"}}, screen: terminal.Screen{To: &out}, now: func() time.Time { return now }}
	if err := o.print(status); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"pullgate v1.2.3, up for 2d2h, at :5000\n",
		"0, 0 B of 200 GiB (max_size)",
		"pins       3\n",
		"bucket     https://s3.example.com/cache: 3.0 MiB received, 2.0 MiB sent, 2 uploads waiting, to be compared\n",
		"NOT WRITTEN: it is full\n",
		"docker.io  limited until 14:05 ",
		"ghcr.io    credentials refused ",
		"quay.io    down (connect), probe in 4s ",
		"gcr.io     ok ",
		"upkeep     scrubbed not yet, snapshot of the index 3 hours ago\n",
		"docker.io, since Jan 2 14:00:00: registry-1.docker.io limits pulls until 14:05:00\n  what helps: wait\n",
		"ghcr.io, since Jan 2 14:00:00: https://ghcr.io is credentials refused\n  what helps: correct them\n",
		"/var/lib/pullgate: the index is not open, ",
		"docker.io has 0 pulls left of 100 in 6h0m by its rate limit\n",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("it lacks %q:\n%s", want, &out)
		}
	}
}
