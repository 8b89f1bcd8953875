package registrytest

import (
	"regexp"
	"strings"
	"testing"
)

// exchange is one request and its answer. as is an Authorization, or "guest group"
// and "user group", who get a token of the group's repository first. In want,
// "Name: value" is a header, with nothing after the colon one that is missing or
// empty, and everything else the body; * is anything.
type exchange struct {
	ask    string
	as     string
	status int
	want   []string
}

var headerLine = regexp.MustCompile(`^([A-Z][A-Za-z-]*):\s*(.*)$`)

func (w *world) exchange(x exchange) {
	w.t.Helper()
	authorization := w.places(x.as)
	if who, group, found := strings.Cut(x.as, " "); found && (who == "guest" || who == "user") {
		authorization = w.as(map[string]string{"user": basic}[who], group)
	}
	a := w.ask(x.ask, authorization)
	if a.StatusCode != x.status {
		w.t.Errorf("%s as %q: %s, want %d; %.300s", x.ask, x.as, a.Status, x.status, a.body)
	}
	for _, want := range x.want {
		name, got := "body", strings.TrimSpace(a.body)
		if m := headerLine.FindStringSubmatch(want); m != nil {
			name, want, got = m[1], m[2], strings.Join(a.Header.Values(m[1]), " | ")
		}
		pattern := strings.ReplaceAll(regexp.QuoteMeta(w.places(want)), `\*`, ".*")
		if !regexp.MustCompile("(?s)^" + pattern + "$").MatchString(got) {
			w.t.Errorf("%s as %q: %s is\n\t%s, want\n\t%s", x.ask, x.as, name, got, w.places(want))
		}
	}
}

// testExchanges has each exchange with a server of its own.
func testExchanges(t *testing.T, profile string, exchanges []exchange) {
	t.Helper()
	t.Run(profile, func(t *testing.T) {
		for _, x := range exchanges {
			newWorld(t, profile).exchange(x)
		}
	})
}
