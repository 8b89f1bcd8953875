package wire

import (
	"net/http"
	"testing"
	"time"
)

func TestParseRetryAfter(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for value, want := range map[string]time.Duration{
		"": 30 * time.Second, "x": 30 * time.Second, "-5": 30 * time.Second, "1.5": 30 * time.Second,
		"0": time.Second, "5": 5 * time.Second, " 7 ": 7 * time.Second, "1000000000": time.Hour,
		"99999999999999999999999": time.Hour, "Fri, 02 Jan 2026 03:05:05 GMT": time.Minute,
		"Fri, 02 Jan 2020 03:05:05 GMT": time.Second, "Fri, 02 Jan 2037 03:05:05 GMT": time.Hour,
	} {
		if got := parseRetryAfter(value, now); got != want {
			t.Errorf("%q: %v, want %v", value, got, want)
		}
	}
}

func FuzzRetryAfter(f *testing.F) {
	for _, seed := range []string{"", "1", "99999999999999999999", "Fri, 02 Jan 2026 03:05:05 GMT", "-1"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if d := parseRetryAfter(s, time.Now()); d < minRetryAfter || d > maxRetryAfter {
			t.Errorf("%q: %v", s, d)
		}
	})
}

func TestUsedUp(t *testing.T) {
	for value, want := range map[string]time.Duration{
		"": 0, "1": 0, "x": 0, "-1": 0, "100;w=21600": 0, "0": time.Minute, "0;w=21600": time.Minute,
		" 0 ; w=10": 10 * time.Second, "0;w=-1": time.Minute, "0;w=99999999999999999999": time.Minute, "0;q=1;w=5": 5 * time.Second,
	} {
		header := http.Header{"Ratelimit-Remaining": {value}}
		l, ok := ReadRateLimit(header, time.Now())
		if usedUp := ok && l.Remaining == 0; usedUp != (want > 0) || usedUp && l.Pause(time.Now()) != want {
			t.Errorf("%q: %+v, %v, want %v", value, l, ok, want)
		}
	}
}

// What the registry says of when there is more again counts, in whatever spelling.
func TestUsedUpUntilReset(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	for reset, want := range map[string]time.Duration{
		"2": 2 * time.Second, " 2 ": 2 * time.Second, "0": 0, "0.5": 500 * time.Millisecond, "3600": time.Minute,
		"1800000002": 2 * time.Second, "1799999999": 0, "": time.Minute, "soon": time.Minute, "-1": time.Minute, "NaN": time.Minute,
	} {
		for _, prefix := range []string{"Ratelimit-", "X-Ratelimit-"} {
			header := http.Header{prefix + "Remaining": {"0"}, prefix + "Reset": {reset}}
			if l, ok := ReadRateLimit(header, now); !ok || l.Pause(now) != want {
				t.Errorf("%s%q: %+v, %v, want %v", prefix, reset, l, ok, want)
			}
		}
	}
}

func TestReadRateLimit(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	for name, test := range map[string]struct {
		header http.Header
		want   RateLimit
	}{
		"Docker Hub": {
			http.Header{"Ratelimit-Limit": {"100;w=21600"}, "Ratelimit-Remaining": {"76;w=21600"}},
			RateLimit{Remaining: 76, Limit: 100, Window: 6 * time.Hour},
		},
		"with blanks": {
			http.Header{"X-Ratelimit-Limit": {"200 ; w=3600"}, "X-Ratelimit-Remaining": {"0; w=3600"}},
			RateLimit{Limit: 200, Window: time.Hour},
		},
		"GitLab": {
			http.Header{"Ratelimit-Limit": {"60"}, "Ratelimit-Remaining": {"9"}, "Ratelimit-Reset": {"1800000900"}},
			RateLimit{Remaining: 9, Limit: 60, Reset: now.Add(15 * time.Minute)},
		},
		"the lesser of two": {
			http.Header{"Ratelimit-Remaining": {"5"}, "X-Ratelimit-Remaining": {"0"}}, RateLimit{},
		},
	} {
		if got, ok := ReadRateLimit(test.header, now); !ok || got != test.want {
			t.Errorf("%s: %+v, %v", name, got, ok)
		}
	}
}
