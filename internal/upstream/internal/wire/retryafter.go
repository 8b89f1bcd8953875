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

// UsedUp reads what an answer tells of a rate limit: how much of it is left, such
// as "0;w=21600" (Docker Hub, which now and then puts an X before it), and, where it
// is told, when there is more. If nothing is left, it returns for how long not to ask.
func UsedUp(header http.Header, now time.Time) (pause time.Duration, ok bool) {
	for _, prefix := range []string{"Ratelimit-", "X-Ratelimit-"} {
		count, rest, _ := strings.Cut(header.Get(prefix+"Remaining"), ";")
		if left, err := strconv.Atoi(strings.TrimSpace(count)); err != nil || left != 0 {
			continue
		}
		if reset, ok := untilReset(header.Get(prefix+"Reset"), now); ok {
			return min(reset, maxUsedUp), true
		}
		for parameter := range strings.SplitSeq(rest, ";") {
			window, found := strings.CutPrefix(strings.TrimSpace(parameter), "w=")
			if seconds, err := strconv.Atoi(window); found && err == nil && seconds > 0 && seconds < int(maxUsedUp/time.Second) {
				return time.Duration(seconds) * time.Second, true
			}
		}
		return maxUsedUp, true
	}
	return 0, false
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
	return time.Duration(min(max(seconds, 0), maxUsedUp.Seconds()) * float64(time.Second)), true
}
