package upstream

import (
	"strings"
	"testing"
)

func TestNextPage(t *testing.T) {
	t.Parallel()
	const unreadable = "?"
	for _, test := range []struct{ headers, want string }{
		{`</v2/x/tags/list?last=b&n=2>; rel="next"`, "last=b&n=2"},
		{`</v2/o/n/tags/list?last=x&n=0>; rel="next"`, "last=x&n=0"}, // ghcr.io
		{`<?last=b>;rel=next`, "last=b"},
		{`?last=b; rel=next`, "last=b"},
		{`<https://a:443/y?last=b>; rel="prev next"`, "last=b"},
		{`<https://a:443/y?last=b>; rel=next prev`, "last=b"},
		{`</p?a=1>; rel="prev", </n?last=c>; title="a,b"; REL=NEXT`, "last=c"},
		{`</n?last=c>; title="x; rel=prev, <y>"; rel="next"`, "last=c"},
		{`</n?last=c>; title="x; rel=next"; rel="prev"`, ""},
		{`</n?last=c>; title="\"; rel=next"; rel="prev"`, ""},
		{`</p?a=1>; rel="first"` + "\n" + `</n?last=c>; rel="next"`, "last=c"},
		{`<http://other:8080/v2?last=b>; rel=next`, "last=b"},
		{`<https://u@a/v2?last=b>; rel=next`, "last=b"},
		{`<//host/v2?last=b>; rel=next`, "last=b"},
		{`< /v2/x?last=b >;  rel = "next" ; n="1"`, "last=b"},
		{`</v2/x?last=b>; rel='next'`, "last=b"},
		{`</v2/x?last=b>; rel="next`, "last=b"},
		{`</v2/x?last=b>;;rel=next;`, "last=b"},
		{`https://host/v2/x/tags/list?n=50&last=x; rel=next`, "last=x&n=50"}, // Cloudflare's
		{`https://host/p?a=1; rel=prev, https://host/n?last=x; rel="next"`, "last=x"},
		{`https://host/v2/x/tags/list?n=50&last=x`, "last=x&n=50"},
		{`</v2/x?last=b>`, "last=b"},
		{`</v2/x?last=b>; title=x`, "last=b"},
		{`</v2/x?last=b#part>; rel=next`, "last=b"},
		{`</v2/x?last=b&n=2&orderby=>; rel="next"`, "last=b&n=2&orderby="}, // ACR
		{`</v2/x?next_page=gAAA%3D%3D&n=5>; rel="next"`, "n=5&next_page=gAAA%3D%3D"},
		{`</v2/x?last=eyJh+b/c==>; rel="next"`, "last=eyJh+b%2Fc%3D%3D"},
		{`</v2/x?last=a%zz>; rel="next"`, "last=a%25zz"},
		{`</v2/x?a;b>; rel=next`, "a%3Bb="},
		{`<:?last=b>; rel=next`, "last=b"},
		{`</v2?asked=1>; rel=next, </v2?last=b>; rel=next`, "last=b"},
		{`</v2?asked=1>; rel=next`, "asked=1"},
		{`</docs>; rel="describedby"`, ""},
		{`</v2/x>; rel=next`, unreadable},
		{`</v2/x?>; rel=next`, unreadable},
		{`<>; rel=next`, unreadable},
		{`<:>; rel=next`, unreadable},
		{`</v2/x?last=b; rel=next`, unreadable},
		{`</p?a=1>; rel=prev, <`, unreadable},
		{`rel=next`, unreadable},
		{`next`, unreadable},
		{`</v2/x?last=` + strings.Repeat("x", maxLinkQuery) + `>; rel=next`, unreadable},
		{`</v2/x?last=` + strings.Repeat("\xdf", maxLinkQuery/3) + `>; rel=next`, unreadable},
		{strings.Repeat(`</v2/x?a=1>; rel=prev, `, maxLink/20), unreadable},
		{``, ""},
		{` , ,`, ""},
	} {
		next, err := nextPage(strings.Split(test.headers, "\n"), values("asked=1"))
		got := next.Encode()
		if err != nil {
			got = unreadable
		}
		if got != test.want {
			t.Errorf("%.100s: %q, want %q", test.headers, got, test.want)
		}
	}
}

func FuzzLink(f *testing.F) {
	for _, seed := range []string{
		`</v2/x?last=b>; rel="next"`, `<a>;rel=next, <b>`, `<`, `>`, `"`, `<>;rel="`, `https://a?b; rel=next, c/d?e`, `<?a>;x="\`, `<?a>;=;=,`, `?;Rel=n`,
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, header string) {
		next, err := nextPage([]string{header}, nil)
		if next != nil && (len(next) == 0 || err != nil || len(next.Encode()) > maxLinkQuery) {
			t.Errorf("%q: query %v, %v", header, next, err)
		}
		if next == nil && err == nil && strings.Contains(header, "?") && !strings.Contains(strings.ToLower(header), "rel") {
			t.Errorf("%q: taken for the end", header)
		}
		again, _ := nextPage([]string{"<?" + next.Encode() + ">; rel=next"}, nil)
		if next != nil && again.Encode() != next.Encode() {
			t.Errorf("%q: %v is not the same again: %v", header, next, again)
		}
	})
}
