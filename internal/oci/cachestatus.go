package oci

import (
	"strconv"
	"time"
)

// Result says how a request was answered. It is a metric label.
type Result string

// The results. An answer that needed the upstream is a miss for the request
// that asked it and joined for every request that waited on or followed it.
const (
	ResultHit    Result = "hit"
	ResultMiss   Result = "miss"
	ResultJoined Result = "joined"
	ResultStale  Result = "stale"
	// ResultPrefetched is a hit for the first request for what looking ahead has brought
	// for the same pull. On the wire it is a hit.
	ResultPrefetched Result = "prefetched"
)

// DetailUnverified says that the answer holds a part of a blob that was not verified
// when it began: that it ends cleanly does not mean that its bytes are right.
const DetailUnverified = "unverified"

// CacheStatus is what the Cache-Status header (RFC 9211) tells of one answer.
// The zero value means that the cache was not looked at: no header.
type CacheStatus struct {
	Result Result
	// Stored says that the content of a miss went into the cache.
	Stored bool
	// ForwardStatus is the upstream's HTTP status where it is worth telling (an
	// error); 0 = not sent.
	ForwardStatus int
	// Detail is a token such as an oci.Class, "negative" or DetailUnverified; what is
	// none, such as the empty string, is not sent.
	// A stale result always sends detail=stale and puts Detail into a Warning.
	Detail string
	// Fresh is set for tags: how long the answer is still fresh, negative when
	// stale.
	Fresh *time.Duration
	// Age is how long ago the upstream last confirmed a tag; sent with Fresh.
	Age time.Duration
}

// String returns the member of the Cache-Status list, such as
// "pullgate; fwd=miss; stored"; "" for the zero value.
func (c CacheStatus) String() string {
	var buffer [64]byte
	b := buffer[:0]
	switch c.Result {
	case ResultHit, ResultPrefetched, ResultStale:
		b = append(b, "pullgate; hit"...)
	case ResultMiss, ResultJoined:
		b = append(b, "pullgate; fwd=miss"...)
	default:
		return ""
	}
	if c.ForwardStatus != 0 {
		b = strconv.AppendInt(append(b, "; fwd-status="...), int64(c.ForwardStatus), 10)
	}
	if c.Stored {
		b = append(b, "; stored"...)
	}
	if c.Result == ResultJoined {
		b = append(b, "; collapsed"...)
	}
	if c.Fresh != nil {
		b = strconv.AppendInt(append(b, "; ttl="...), int64(c.Fresh.Seconds()), 10)
	}
	switch {
	case c.Result == ResultStale:
		b = append(b, "; detail=stale"...)
	case isToken(c.Detail):
		b = append(append(b, "; detail="...), c.Detail...)
	}
	return string(b)
}

// isToken reports whether s is a token of structured fields (RFC 8941, section
// 3.3.4), less the rarer of its characters.
func isToken(s string) bool {
	for i := range len(s) {
		c := s[i]
		letter := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
		if !letter && (i == 0 || (c < '0' || c > '9') && c != '_' && c != '-' && c != '.') {
			return false
		}
	}
	return s != ""
}

// Within reports whether something of that age is fresh. A negative age is that of a
// clock that was set back: nothing is known then.
func Within(age, limit time.Duration) bool { return age >= 0 && age < limit }
