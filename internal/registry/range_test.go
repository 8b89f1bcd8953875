package registry

import (
	"cmp"
	"math"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
)

func TestParseRange(t *testing.T) {
	t.Parallel()
	whole := func(size int64) span { return span{length: size} }
	part := func(offset, length int64) span { return span{offset: offset, length: length, partial: true} }
	unsatisfiable := span{length: -1}
	for _, test := range []struct {
		header string
		size   int64
		want   span
	}{
		{"bytes=500-1499", 2048, part(500, 1000)},
		{"bytes=500-", 2048, part(500, 1548)},
		{"bytes=-500", 2048, part(1548, 500)},
		{"bytes=2000-5000", 2048, part(2000, 48)},
		{"bytes=2000-2048", 2048, part(2000, 48)}, // regctl's end lies one byte past the last
		{"bytes=0-", 2048, part(0, 2048)},
		{"bytes=0-0", 2048, part(0, 1)},
		{"bytes=2047-", 2048, part(2047, 1)},
		{"bytes=-5000", 2048, part(0, 2048)},
		{"BYTES=1-1", 2048, part(1, 1)},
		{"bytes= 1-2\t", 2048, part(1, 2)},
		{"bytes=00000000000000000000000000001-2", 2048, part(1, 2)},
		{"bytes=1-99999999999999999999999999", 2048, part(1, 2047)},
		{"bytes=-99999999999999999999999999", 2048, part(0, 2048)},
		{"bytes=0-", math.MaxInt64, part(0, math.MaxInt64)},
		// unsatisfiable
		{"bytes=2048-", 2048, unsatisfiable},
		{"bytes=5000-10000", 2048, unsatisfiable},
		{"bytes=10000000000000000000-", 2048, unsatisfiable},
		{"bytes=9223372036854775808-9223372036854775809", math.MaxInt64, unsatisfiable},
		{"bytes=-0", 2048, unsatisfiable},
		{"bytes=500-0", 2048, unsatisfiable}, // the conformance suite wants it so
		{"bytes=5-1", 2048, unsatisfiable},
		// lists of which one range is left
		{"bytes=1-2,", 2048, part(1, 2)},
		{"bytes=,\t,1-2 ,", 2048, part(1, 2)},
		{"bytes=1-2, 9999-", 2048, part(1, 2)},
		{"bytes=5-1,7-8", 2048, part(7, 2)},
		{"bytes=1-5,4-9,0-1", 2048, part(0, 10)},
		{"bytes=1-2,1-2", 2048, part(1, 2)},
		{"bytes=-1,0-", 2048, part(0, 2048)},
		{"bytes=2048-,9999-9999,-0", 2048, unsatisfiable},
		// of empty content everything is the whole
		{"bytes=0-", 0, whole(0)},
		{"bytes=5-", 0, whole(0)},
		{"bytes=-0", 0, whole(0)},
		{"bytes=-1", 0, whole(0)},
		{"bytes=0-1,3-4", 0, whole(0)},
		// ignored
		{"", 2048, whole(2048)},
		{"bytes", 2048, whole(2048)},
		{"bytes=", 2048, whole(2048)},
		{"bytes=-", 2048, whole(2048)},
		{"bytes=a-b", 2048, whole(2048)},
		{"bytes=1-b", 2048, whole(2048)},
		{"bytes=-b", 2048, whole(2048)},
		{"bytes=--1", 2048, whole(2048)},
		{"bytes=1--1", 2048, whole(2048)},
		{"bytes=+1-2", 2048, whole(2048)},
		{"bytes=1 - 2", 2048, whole(2048)},
		{"bytes=1-2-3", 2048, whole(2048)},
		{"bytes =1-2", 2048, whole(2048)},
		{"lines=1-2", 2048, whole(2048)},
		{"bytes=٣-", 2048, whole(2048)},
		{"bytes=,", 2048, whole(2048)},
		{"bytes=1-2,x", 2048, whole(2048)},
		{"bytes=x,1-2", 2048, whole(2048)},
		{"bytes=1-2,-", 2048, whole(2048)},
		{"bytes=1-2;4-5,", 2048, whole(2048)},
		{"bytes=1-2,bytes=4-5", 2048, whole(2048)},
		{"lines=1-2,4-5", 2048, whole(2048)},
	} {
		got, parts, ok := parseRange(test.header, test.size)
		if want := test.want; ok != (want != unsatisfiable) || ok && got != want || parts != nil {
			t.Errorf("parseRange(%q, %d) = %+v, %t, want %+v", test.header, test.size, got, ok, want)
		}
	}
}

func TestRequestedSpan(t *testing.T) {
	t.Parallel()
	const etag = `"sha256:abc"`
	for _, test := range []struct {
		name, method string
		header       http.Header
		partial      bool
	}{
		{"one", http.MethodGet, http.Header{"Range": {"bytes=1-2"}}, true},
		{"none", http.MethodGet, nil, false},
		{"HEAD", http.MethodHead, http.Header{"Range": {"bytes=1-2"}}, false},
		{"two headers", http.MethodGet, http.Header{"Range": {"bytes=1-2", "bytes=4-5"}}, false},
		{"several", http.MethodGet, http.Header{"Range": {"bytes=1-2,4-5"}}, true},
		{"HEAD of several", http.MethodHead, http.Header{"Range": {"bytes=1-2,4-5"}}, false},
		{"If-Range matches several", http.MethodGet, http.Header{"Range": {"bytes=1-2,4-5"}, "If-Range": {etag}}, true},
		{"If-Range differs for several", http.MethodGet, http.Header{"Range": {"bytes=1-2,4-5"}, "If-Range": {`"x"`}}, false},
		{"If-Range matches", http.MethodGet, http.Header{"Range": {"bytes=1-2"}, "If-Range": {etag}}, true},
		{"If-Range differs", http.MethodGet, http.Header{"Range": {"bytes=1-2"}, "If-Range": {`"sha256:abd"`}}, false},
		{"If-Range is weak", http.MethodGet, http.Header{"Range": {"bytes=1-2"}, "If-Range": {"W/" + etag}}, false},
		{"If-Range is a date", http.MethodGet, http.Header{"Range": {"bytes=1-2"}, "If-Range": {"Sat, 21 Nov 2026 12:00:00 GMT"}}, false},
		{"If-Range twice", http.MethodGet, http.Header{"Range": {"bytes=1-2"}, "If-Range": {etag, etag}}, false},
		{"If-Range before what cannot be", http.MethodGet, http.Header{"Range": {"bytes=99-"}, "If-Range": {`"x"`}}, false},
	} {
		r := httptest.NewRequest(test.method, "/", nil)
		r.Header = test.header
		if s, parts, ok := requestedSpan(r, 10, etag); !ok || (s.partial || parts != nil) != test.partial {
			t.Errorf("%s: span is %+v, %v, %t", test.name, s, parts, ok)
		}
	}
}

func FuzzParseRange(f *testing.F) {
	for _, header := range []string{
		"bytes=0-", "bytes=-1", "bytes=5-1", "bytes=1-2,3-4", "lines=1-2", "bytes=99999999999999999999-",
		"bytes=5-6,1-2, -1,,", "bytes=0-0,2-2,0-", "bytes=1-,x", "bytes=" + strings.Repeat("1-2,", 40), "bytes=9-9,7-7,5-5",
	} {
		f.Add(header, int64(10))
		f.Add(header, int64(0))
		f.Add(header, int64(math.MaxInt64))
	}
	f.Fuzz(func(t *testing.T, header string, size int64) {
		if size < 0 {
			return
		}
		s, parts, ok := parseRange(header, size)
		if !ok {
			if size == 0 {
				t.Errorf("parseRange(%q, 0) is not satisfiable", header)
			}
			return
		}
		if parts == nil {
			checkSpan(t, s, size)
			return
		}
		if s != (span{}) || len(parts) < 2 || len(parts) > maxParts || len(parts) > strings.Count(header, ",")+1 {
			t.Errorf("parseRange(%q, %d) = %+v and %d parts", header, size, s, len(parts))
		}
		sorted := slices.Clone(parts)
		slices.SortFunc(sorted, func(a, b span) int { return cmp.Compare(a.offset, b.offset) })
		for i, part := range sorted {
			checkSpan(t, part, size)
			if !part.partial || i > 0 && part.offset < sorted[i-1].offset+sorted[i-1].length {
				t.Errorf("parseRange(%q, %d) has the part %+v", header, size, part)
			}
		}
	})
}

// checkSpan fails unless s lies within the size.
func checkSpan(t *testing.T, s span, size int64) {
	t.Helper()
	if s.offset < 0 || s.length < 0 || s.length > size || s.offset > size-s.length {
		t.Errorf("%+v lies outside of %d", s, size)
	}
	if !s.partial && s != (span{length: size}) || s.partial && s.length == 0 {
		t.Errorf("%+v is no part of %d", s, size)
	}
}

func BenchmarkParseRange(b *testing.B) {
	for name, header := range map[string]string{
		"one":           "bytes=1048576-",
		"many":          "bytes=" + strings.Repeat("1-2,", 1000) + "3-4",
		"many and long": "bytes=" + strings.Repeat("9", 16<<10) + "-",
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				parseRange(header, 1<<30)
			}
		})
	}
}
