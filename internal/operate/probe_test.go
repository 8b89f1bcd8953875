package operate

import (
	"context"
	"crypto/x509"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/pullgate/pullgate/internal/history"
	"github.com/pullgate/pullgate/storage"
)

// A certificate is for the host that clients use, and long enough.
func TestCertificateFinding(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	const day = 24 * time.Hour
	for name, test := range map[string]struct {
		at          string
		from, until time.Duration
		ok          bool
		text        string
	}{
		"good":                    {"https://gate.lan:5000", -day, 60 * day, true, "is for gate.lan, until"},
		"of one day, at noon":     {"https://gate.lan", -day / 2, day / 2, true, "is for gate.lan"},
		"not renewed":             {"https://gate.lan", -89 * day, day, false, "good until 2026-03-02"},
		"of one day, not renewed": {"https://gate.lan", -23 * time.Hour, time.Hour, false, "good until"},
		"expired":                 {"https://gate.lan", -9 * day, -time.Second, false, "has expired"},
		"not yet":                 {"https://gate.lan", time.Hour, day, false, "is not good before"},
		"another name":            {"https://10.0.0.5:5000", -day, 60 * day, false, "is for gate.lan, not for 10.0.0.5"},
	} {
		c := &x509.Certificate{DNSNames: []string{"gate.lan"}, NotBefore: now.Add(test.from), NotAfter: now.Add(test.until)}
		line := certificateFinding(test.at, c, now)
		if line.OK != test.ok || !strings.Contains(line.Text, test.text) || line.Name != test.at || (line.Help == "") != test.ok {
			t.Errorf("%s: %+v", name, line)
		}
	}
}

// The clock that is nearest to ours counts: one upstream may have a wrong one itself.
func TestClockFinding(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		ahead []time.Duration
		state string
		text  string
	}{
		"nobody tells":            {nil, StateNotTested, "no upstream"},
		"right":                   {[]time.Duration{-time.Second}, StateOK, "that of a"},
		"one is wrong":            {[]time.Duration{time.Hour, 30 * time.Second}, StateOK, "that of b"},
		"ours is late":            {[]time.Duration{2 * time.Hour, time.Hour}, StateWrong, "1h0m0s behind that of b"},
		"ours is of another year": {[]time.Duration{1000 * time.Hour}, StateWrong, "41 days behind that of a"},
		"ours is early":           {[]time.Duration{-90 * time.Second}, StateWrong, "1m30s ahead of that of a"},
	} {
		var c clock
		c.note(Reach{UpstreamStatus: UpstreamStatus{Name: "silent"}})
		for i := range test.ahead {
			c.note(Reach{UpstreamStatus: UpstreamStatus{Name: string(rune('a' + i))}, Ahead: &test.ahead[i]})
		}
		line := c.finding()
		if line.State != test.state || line.OK != (test.state != StateWrong) || !strings.Contains(line.Text, test.text) {
			t.Errorf("%s: %+v", name, line)
		}
	}
}

// Each upstream is asked at the same time as the others, and one that cannot be is told.
func TestReachAll(t *testing.T) {
	t.Parallel()
	both := make(chan struct{})
	probe := func(r Reach, err error) func(context.Context) ([]Reach, error) {
		return func(ctx context.Context) ([]Reach, error) {
			select {
			case both <- struct{}{}:
			case <-both:
			case <-ctx.Done():
				return nil, ctx.Err()
			}
			return []Reach{r}, err
		}
	}
	found := map[string]ProbeLine{}
	reachAll(t.Context(), []*Upstream{
		{Name: "a", Probe: probe(Reach{UpstreamStatus: UpstreamStatus{Name: "a", URL: "http://a", State: StateOK}, Login: true, Identified: true}, nil)},
		{Name: "b", Probe: probe(Reach{UpstreamStatus: UpstreamStatus{Name: "b", State: "limited", Error: "limits pulls", Help: "wait"}}, errors.New("broken"))},
		{Name: "c", Offline: true},
		{Name: "d"}, // which another site has asked
	}, func(l ProbeLine) { found[l.Name+" "+l.State] = l })
	if len(found) != 4 || !strings.Contains(found["a ok"].Text, "accepts the credentials") || found["b limited"].OK || found["b limited"].Help != "wait" ||
		found["b failing"].Text != "broken" || !found["c offline"].OK {
		t.Errorf("%+v", found)
	}
}

// A command says what it could not test, and looks at the storage.
func TestProbeOfACommand(t *testing.T) {
	t.Parallel()
	s, err := storage.Open(t.Context(), storage.Options{Path: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	local := Command(&Store{Store: s, Path: "/there"}, nil)
	probe := func() (lines []ProbeLine) {
		if err := local.Probe(t.Context(), ProbeRequest{}, func(l ProbeLine) { lines = append(lines, l) }); err != nil {
			t.Fatal(err)
		}
		return lines
	}
	lines := probe()
	if len(lines) != 4 || lines[0].Name != "/there" || !lines[0].OK || lines[0].State != StateOK || lines[1].Tested() {
		t.Errorf("%+v", lines)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if lines := probe(); lines[0].OK || !strings.Contains(lines[0].Text, "closed") {
		t.Errorf("closed: %+v", lines[0])
	}
}

func TestHistoryRequest(t *testing.T) {
	t.Parallel()
	q := HistoryRequest{Since: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC), Step: history.Coarse}
	raw := q.Parameters().Encode()
	var read HistoryRequest
	if err := read.Parameters().Decode(raw); err != nil || read != q || raw != "since=2026-03-01T12%3A00%3A00Z&step=hour" {
		t.Errorf("%s is %+v, %v", raw, read, err)
	}
	for _, wrong := range []string{"step=day", "since=yesterday", "until=1"} {
		if err := read.Parameters().Decode(wrong); err == nil {
			t.Errorf("%s is taken", wrong)
		}
	}
}
