package operate

import (
	"slices"
	"strings"
	"testing"

	"github.com/pullgate/pullgate/internal/fleet"
	"github.com/pullgate/pullgate/storage"
)

// Each state has its problem with a cause and a cure; what is well has none.
func TestProblems(t *testing.T) {
	store := func(change func(*StoreStatus)) Status {
		c := StoreStatus{Path: "/s", Usage: storage.Usage{
			IndexUsage: storage.IndexUsage{IndexOpen: true}, VolumeUsage: storage.VolumeUsage{FreeBytes: 50, TotalBytes: 100},
		}}
		change(&c)
		return Status{Server: new(Server), Storage: []StoreStatus{c}}
	}
	upstreams := func(all ...UpstreamStatus) Status { return Status{Upstreams: all} }
	ok := UpstreamStatus{Name: "docker.io", URL: "https://a", State: StateOK}
	refused := UpstreamStatus{Name: "docker.io", URL: "https://b", State: "credentials_refused", Error: "it refused them", Help: "correct them"}
	limited := ok
	limited.RateLimit = &RateLimit{Remaining: 3, Limit: 100}
	for name, test := range map[string]struct {
		status Status
		want   []string // parts of the causes; those of minor ones begin with -
	}{
		"well":           {store(func(*StoreStatus) {}), nil},
		"no store":       {Status{Server: new(Server)}, []string{"no storage is open"}},
		"a command":      {Status{}, nil},
		"index":          {store(func(c *StoreStatus) { c.IndexOpen, c.IndexError = false, "disk full" }), []string{"disk full"}},
		"index anew":     {store(func(c *StoreStatus) { c.IndexRebuilds = 1 }), []string{"-begun anew"}},
		"overpinned":     {store(func(c *StoreStatus) { c.Overpinned = true }), []string{"pinned images exceed"}},
		"quarantine":     {store(func(c *StoreStatus) { c.QuarantinedBlobs = 2 }), []string{"-2 blobs were damaged"}},
		"bucket":         {store(func(c *StoreStatus) { c.Bucket = &fleet.Status{Name: "s3", WriteError: "it is full"} }), []string{"-the bucket is not written, so that other gateways do not find there what this one pulls: it is full"}},
		"no room":        {store(func(c *StoreStatus) { c.Unstored = &storage.Unstored{Error: "too little free space"} }), []string{"pass through with each pull: too little free space"}},
		"over the limit": {store(func(c *StoreStatus) { c.Unstored = &storage.Unstored{Error: "raise it", Limit: true} }), []string{"-pass through with each pull: raise it"}},
		"disk":           {store(func(c *StoreStatus) { c.FreeBytes = 4 }), []string{"-4.0 % of the disk"}},
		"worst first":    {store(func(c *StoreStatus) { c.QuarantinedBlobs, c.Overpinned, c.FreeBytes = 1, true, 1 }), []string{"pinned", "-damaged", "-disk"}},
		"upstream well":  {upstreams(ok), nil},
		"upstream":       {upstreams(refused), []string{"it refused them"}},
		"another is":     {upstreams(ok, refused), []string{"-it refused them"}},
		"without a word": {upstreams(UpstreamStatus{Name: "x", URL: "https://x", State: "name_does_not_resolve", Help: "check"}), []string{"https://x is name does not resolve"}},
		"rate limit":     {upstreams(limited), []string{"-3 of 100 pulls"}},
	} {
		t.Run(name, func(t *testing.T) {
			problems := Problems(test.status)
			if len(problems) != len(test.want) {
				t.Fatalf("problems are %+v, want %q", problems, test.want)
			}
			for i, want := range test.want {
				cause, minor := strings.CutPrefix(want, "-")
				if p := problems[i]; !strings.Contains(p.Cause, cause) || p.Minor != minor || p.Cure == "" ||
					!slices.Contains([]string{ProblemStorage, ProblemUpstream, ProblemFleet}, p.What) {
					t.Errorf("problem is %+v, want %q", p, want)
				}
			}
		})
	}
}

// A problem that stops nothing is not well only if an upstream has it.
func TestWell(t *testing.T) {
	open := StoreStatus{Usage: storage.Usage{IndexUsage: storage.IndexUsage{IndexOpen: true}}}
	damaged, closed := open, open
	damaged.QuarantinedBlobs, closed.IndexOpen = 1, false
	ok, down := UpstreamStatus{Name: "a", State: StateOK}, UpstreamStatus{Name: "a", State: "down"}
	for want, all := range map[bool][]Status{
		true:  {{}, {Storage: []StoreStatus{open}, Upstreams: []UpstreamStatus{ok}}, {Storage: []StoreStatus{damaged}}},
		false: {{Server: new(Server)}, {Storage: []StoreStatus{open, closed}}, {Storage: []StoreStatus{open}, Upstreams: []UpstreamStatus{ok, down}}},
	} {
		for _, s := range all {
			if Well(s) != want {
				t.Errorf("%+v is well: %v", s, !want)
			}
		}
	}
}
