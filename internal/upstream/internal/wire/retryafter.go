package wire

import (
	"net/http"
	"strconv"
	"strings"
	"time"
)

// How long a rate limit lasts: what the upstream says, within these bounds, so
// that it can neither make us hammer it nor lock us out for good.
const (
	minRetryAfter     = time.Second
	maxRetryAfter     = time.Hour
	DefaultRetryAfter = 30 * time.Second
)

// parseRetryAfter reads a Retry-After header, in seconds or as a date
// (RFC 9110, section 10.2.3).
func parseRetryAfter(value string, now time.Time) time.Duration {
	value = strings.TrimSpace(value)
	after := DefaultRetryAfter
	if value != "" && strings.Trim(value, "0123456789") == "" {
		after = maxRetryAfter // also for what does not fit an int
		if seconds, err := strconv.Atoi(value); err == nil && seconds < int(maxRetryAfter/time.Second) {
			after = time.Duration(seconds) * time.Second
		}
	} else if date, err := http.ParseTime(value); err == nil {
		after = date.Sub(now)
	}
	return min(max(after, minRetryAfter), maxRetryAfter)
}

// maxUsedUp is how long a limit that is used up is taken at its word. It is one
// of the last hours, in which something is left again any moment.
const maxUsedUp = time.Minute

// RateLimit is what an answer tells of a rate limit.
type RateLimit struct {
	Remaining int
	Limit     int       // 0 = it is not told
	Reset     time.Time // when there is more; zero = it is not told
	// Window is the time that the limit is for; 0 = it is not told.
	Window time.Duration
}

// ReadRateLimit reads how much is left of a rate limit, such as "0;w=21600" (Docker Hub,
// which now and then puts an X before it), and, where it is told, when there is more. Of
// two limits it returns that of which less is left.
func ReadRateLimit(header http.Header, now time.Time) (least RateLimit, ok bool) {
	for _, prefix := range []string{"Ratelimit-", "X-Ratelimit-"} {
		remaining, window, told := readQuota(header.Get(prefix + "Remaining"))
		if !told || ok && remaining >= least.Remaining {
			continue
		}
		least, ok = RateLimit{Remaining: remaining, Window: window}, true
		least.Limit, _, _ = readQuota(header.Get(prefix + "Limit"))
		if reset, told := untilReset(header.Get(prefix+"Reset"), now); told {
			least.Reset = now.Add(reset)
		}
	}
	return least, ok
}

// readQuota reads a number with a window, such as "100;w=21600".
func readQuota(value string) (n int, window time.Duration, ok bool) {
	count, rest, _ := strings.Cut(value, ";")
	n, err := strconv.Atoi(strings.TrimSpace(count))
	if err != nil || n < 0 {
		return 0, 0, false
	}
	for parameter := range strings.SplitSeq(rest, ";") {
		text, found := strings.CutPrefix(strings.TrimSpace(parameter), "w=")
		if seconds, err := strconv.Atoi(text); err == nil && found && seconds > 0 && seconds < aLongTime {
			return n, time.Duration(seconds) * time.Second, true
		}
	}
	return n, 0, true
}

// Pause returns for how long not to ask where nothing is left.
func (l RateLimit) Pause(now time.Time) time.Duration {
	switch {
	case !l.Reset.IsZero():
		return min(l.Reset.Sub(now), maxUsedUp)
	case l.Window > 0:
		return min(l.Window, maxUsedUp)
	}
	return maxUsedUp
}

// aLongTime tells seconds to go from seconds since 1970: both stand in such headers.
const aLongTime = 10 * 365 * 24 * 3600

func untilReset(value string, now time.Time) (time.Duration, bool) {
	seconds, err := strconv.ParseFloat(strings.TrimSpace(value), 64)
	if err != nil || seconds < 0 || seconds != seconds {
		return 0, false
	}
	if seconds > aLongTime {
		seconds -= float64(now.Unix())
	}
	return time.Duration(min(max(seconds, 0), aLongTime) * float64(time.Second)), true
}
