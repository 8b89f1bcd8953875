package oci

import (
	"regexp"
	"testing"
	"time"
)

func TestCacheStatusString(t *testing.T) {
	fresh, stale := 90*time.Second, -5*time.Minute
	for _, test := range []struct {
		status CacheStatus
		want   string
	}{
		{CacheStatus{}, ""},
		{CacheStatus{Stored: true, Detail: "x"}, ""},
		{CacheStatus{Result: "nonsense"}, ""},
		{CacheStatus{Result: ResultHit}, "pullgate; hit"},
		{CacheStatus{Result: ResultHit, Fresh: &fresh, Age: time.Second}, "pullgate; hit; ttl=90"},
		{CacheStatus{Result: ResultHit, Detail: "negative"}, "pullgate; hit; detail=negative"},
		{CacheStatus{Result: ResultMiss, Stored: true}, "pullgate; fwd=miss; stored"},
		{CacheStatus{Result: ResultMiss, Detail: "no_space"}, "pullgate; fwd=miss; detail=no_space"},
		{CacheStatus{Result: ResultMiss, ForwardStatus: 404}, "pullgate; fwd=miss; fwd-status=404"},
		{CacheStatus{Result: ResultJoined}, "pullgate; fwd=miss; collapsed"},
		{CacheStatus{Result: ResultJoined, Stored: true}, "pullgate; fwd=miss; stored; collapsed"},
		{CacheStatus{Result: ResultStale, Detail: "timeout", Fresh: &stale}, "pullgate; hit; ttl=-300; detail=stale"},
		{CacheStatus{Result: ResultStale, ForwardStatus: 503}, "pullgate; hit; fwd-status=503; detail=stale"},
		{CacheStatus{Result: ResultHit, Detail: "two words"}, "pullgate; hit"},
		{CacheStatus{Result: ResultHit, Detail: "a\r\nb"}, "pullgate; hit"},
	} {
		if got := test.status.String(); got != test.want {
			t.Errorf("%+v is %q, want %q", test.status, got, test.want)
		}
	}
}

func FuzzCacheStatusString(f *testing.F) {
	f.Add("hit", true, 404, "negative", int64(1e9))
	f.Add("stale", false, 0, "a b", int64(-1))
	member := regexp.MustCompile(`\Apullgate(; [a-z]+(-[a-z]+)?(=-?[A-Za-z0-9][A-Za-z0-9_.-]*)?)+\z`)
	f.Fuzz(func(t *testing.T, result string, stored bool, status int, detail string, nanoseconds int64) {
		fresh := time.Duration(nanoseconds)
		c := CacheStatus{Result: Result(result), Stored: stored, ForwardStatus: status, Detail: detail, Fresh: &fresh}
		if s := c.String(); s != "" && !member.MatchString(s) {
			t.Errorf("%+v is %q", c, s)
		}
	})
}
