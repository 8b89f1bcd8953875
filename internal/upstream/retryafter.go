package upstream

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
	defaultRetryAfter = 30 * time.Second
)

// parseRetryAfter reads a Retry-After header, in seconds or as a date
// (RFC 9110, section 10.2.3).
func parseRetryAfter(value string, now time.Time) time.Duration {
	value = strings.TrimSpace(value)
	after := defaultRetryAfter
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
